//! What a KMS wants to see before it does something, in memory that is wiped.

use alloc::string::String;

use crate::{
    kms::{Endpoint, ProviderKind},
    secret::{KeyMaterial, SecretBytes},
};

/// The credentials of one provider. There is no `Debug`; dropping them wipes the secrets.
pub enum Credentials {
    /// AWS.
    Aws(AwsCredentials),
    /// Azure.
    Azure(AzureCredentials),
    /// Google Cloud.
    Gcp(GcpCredentials),
    /// A KMIP server. The credentials are the host's: client certificate and key of the TLS connection.
    Kmip {
        /// Where it listens, unless a master key says otherwise.
        endpoint: Endpoint,
    },
    /// The master key itself.
    Local(KeyMaterial),
}

/// An access key of AWS.
pub struct AwsCredentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: SecretBytes,
    pub(super) session_token: Option<SecretBytes>,
}

/// A token, or what buys one.
pub enum AzureCredentials {
    /// A bearer token that the application got elsewhere.
    AccessToken(SecretBytes),
    /// A registered application.
    Client {
        /// Directory.
        tenant_id: String,
        /// Application.
        client_id: String,
        /// Its secret.
        client_secret: SecretBytes,
        /// Where tokens are had, if not from Microsoft's public cloud.
        identity_platform_endpoint: Option<Endpoint>,
    },
}

/// A token, or what buys one.
pub enum GcpCredentials {
    /// A bearer token that the application got elsewhere.
    AccessToken(SecretBytes),
    /// A service account.
    ServiceAccount {
        /// Its address.
        email: String,
        /// Its RSA key, PKCS#8 DER.
        private_key: SecretBytes,
        /// Where tokens are had, if not from Google.
        endpoint: Option<Endpoint>,
    },
}

impl Credentials {
    /// The type of provider they are for.
    #[must_use]
    pub const fn kind(&self) -> ProviderKind {
        match self {
            Self::Aws(_) => ProviderKind::Aws,
            Self::Azure(_) => ProviderKind::Azure,
            Self::Gcp(_) => ProviderKind::Gcp,
            Self::Kmip { .. } => ProviderKind::Kmip,
            Self::Local(_) => ProviderKind::Local,
        }
    }
}
