//! What is asked of a key management service, as meaning rather than as HTTP.

use alloc::{string::String, vec::Vec};

use crate::{
    key_vault::{KeyId, MasterKey, WrappedKeyMaterial},
    secret::KeyMaterial,
};

/// One call a machine wants made.
///
/// There is no `Debug`: a wrap request owns the plaintext of a data key.
pub struct KmsRequest {
    /// Number of the request within its machine; the answer carries it.
    pub id: u32,
    /// What to do, with its input.
    pub operation: KmsOperation,
    /// The master key to do it with.
    pub master_key: MasterKey,
    /// The data key this is about, for logs and error messages of the host.
    pub key_id: Option<KeyId>,
    /// Its alternate names, for the same purpose.
    pub key_alt_names: Vec<String>,
}

/// The two things a key management service does with key material.
pub enum KmsOperation {
    /// Encrypt these 96 bytes under the master key.
    Wrap(KeyMaterial),
    /// Decrypt what an earlier wrap returned.
    Unwrap(WrappedKeyMaterial),
}

impl KmsOperation {
    /// `wrap` or `unwrap`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Wrap(_) => "wrap",
            Self::Unwrap(_) => "unwrap",
        }
    }
}
