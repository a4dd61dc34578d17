//! What passes between a request and its host.

use alloc::string::String;

use super::oauth::TokenCache;
#[cfg(doc)]
use super::request::WireRequest;
use crate::{crypto::Entropy, key_vault::WrappedKeyMaterial, secret::KeyMaterial};

/// What the host lends to a step.
pub struct WireContext<'a> {
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// The host's randomness. Only KMIP needs it.
    pub entropy: &'a mut dyn Entropy,
    /// Bearer tokens of earlier calls.
    pub tokens: &'a mut TokenCache,
}

/// What a request wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireStep {
    /// Send [`WireRequest::message`] to [`WireRequest::endpoint`] over TLS, and hand what comes back to
    /// [`WireRequest::feed`] until [`WireRequest::bytes_needed`] is 0. If the connection fails, call
    /// [`WireRequest::fail`].
    Exchange,
    /// Sleep for [`WireRequest::sleep_us`], call [`WireRequest::resend`] and go on as for [`WireStep::Exchange`].
    Retry,
    /// Sign [`WireRequest::signature_wanted`] and hand the signature to [`WireRequest::provide_signature`].
    NeedSignature,
    /// Take the reply with [`WireRequest::take_reply`].
    Done,
}

/// What to sign: RSASSA-PKCS1-v1_5 with SHA-256 (RS256, RFC 7518 section 3.3).
///
/// The host signs, because WebAssembly has no RSA whose time does not depend on the key.
pub struct SignatureWanted<'a> {
    /// The key as PKCS#8 DER. It is a secret.
    pub private_key: &'a [u8],
    /// The bytes to sign.
    pub input: &'a [u8],
}

/// What a KMS did.
pub enum WireReply {
    /// A data key was wrapped.
    Wrapped {
        /// What is stored.
        material: WrappedKeyMaterial,
        /// The id of the KMIP object that was made for it, if one was.
        kmip_key_id: Option<String>,
    },
    /// A data key was unwrapped.
    Unwrapped(KeyMaterial),
}

impl WireReply {
    /// The bytes that a machine takes. They are key material if something was unwrapped.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Wrapped { material, .. } => material.as_bytes(),
            Self::Unwrapped(material) => material.expose(),
        }
    }

    /// The id of the KMIP object that was made, if one was.
    #[must_use]
    pub fn kmip_key_id(&self) -> Option<&str> {
        match self {
            Self::Wrapped { kmip_key_id, .. } => kmip_key_id.as_deref(),
            Self::Unwrapped(_) => None,
        }
    }
}
