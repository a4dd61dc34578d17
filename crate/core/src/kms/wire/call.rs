//! What one call of a KMS says, whichever provider it goes to.

use alloc::{format, sync::Arc};

use super::{
    answer::WantedJson,
    aws::{self, AwsKey},
    azure::{self, AzureClient, AzureKey},
    credentials::{AzureCredentials, Credentials, GcpCredentials},
    exchange::{Exchange, Outgoing, Wanted},
    gcp::{self, GcpAccount, GcpKey},
    kmip,
    oauth::TokenKey,
    providers::KmsProviders,
    writer::SecretWriter,
};
use crate::{
    error::{Code, Error, Result},
    key_vault::{MasterKey, MasterKeyFields},
    kms::{KmsOperation, ProviderKind},
    secret::SecretBytes,
};

/// An operation, the master key to do it with, and the credentials for that.
pub(super) struct Call {
    pub(super) operation: KmsOperation,
    pub(super) master_key: MasterKey,
    credentials: Arc<Credentials>,
    /// Whether the master key is named also where its provider would find it by itself.
    pub(super) is_bound: bool,
}

/// Where a bearer token comes from.
pub(super) enum TokenSource<'a> {
    /// The provider has none.
    Unused,
    /// The application.
    Given(&'a SecretBytes),
    /// A request to the provider, unless a token for the same use is cached.
    Fetched(TokenKey),
}

impl Call {
    /// Errors: `KMS_PROVIDER_NOT_CONFIGURED`, also for local keys, which need no call.
    pub(super) fn new(
        operation: KmsOperation,
        master_key: MasterKey,
        providers: &KmsProviders,
    ) -> Result<Self> {
        let provider = master_key.provider();
        let credentials = Arc::clone(providers.credentials(provider)?);
        if provider.kind() == ProviderKind::Local {
            let message = format!("KMS provider `{provider}` is not called over a network");
            return Err(
                Error::new(Code::KmsProviderNotConfigured, message).with("provider", provider)
            );
        }
        Ok(Self {
            operation,
            master_key,
            credentials,
            is_bound: false,
        })
    }

    pub(super) fn token_source(&self) -> TokenSource<'_> {
        let provider = self.master_key.provider();
        match &*self.credentials {
            Credentials::Azure(AzureCredentials::AccessToken(token))
            | Credentials::Gcp(GcpCredentials::AccessToken(token)) => TokenSource::Given(token),
            _ => match (self.azure_client(), self.gcp_account()) {
                (Some(client), _) => TokenSource::Fetched(client.token_key(provider)),
                (_, Some(account)) => TokenSource::Fetched(account.token_key(provider)),
                (None, None) => TokenSource::Unused,
            },
        }
    }

    /// What the host signs before the token can be asked for.
    pub(super) fn signing_input(&self, now_ms: i64) -> Option<SecretWriter> {
        self.gcp_account()
            .map(|account| account.signing_input(now_ms))
    }

    /// The key to sign with.
    pub(super) fn signing_key(&self) -> Option<&SecretBytes> {
        match &*self.credentials {
            Credentials::Gcp(GcpCredentials::ServiceAccount { private_key, .. }) => {
                Some(private_key)
            }
            _ => None,
        }
    }

    /// The request for a token, without a signature.
    ///
    /// Errors: `KMS_REQUEST_INVALID`.
    pub(super) fn token_exchange(&self) -> Result<Exchange> {
        let client = self.azure_client().ok_or_else(not_the_providers)?;
        Ok(self.token(client.token_request()?))
    }

    /// The request for a token, with the signature of [`Self::signing_input`].
    ///
    /// Errors: `KMS_SIGNATURE_FAILED`, `KMS_REQUEST_INVALID`.
    pub(super) fn signed_token_exchange(
        &self,
        signing_input: &SecretWriter,
        signature: &[u8],
    ) -> Result<Exchange> {
        let account = self.gcp_account().ok_or_else(not_the_providers)?;
        Ok(self.token(account.token_request(signing_input, signature)?))
    }

    /// The request for the operation itself.
    ///
    /// Errors: `KMS_REQUEST_INVALID`.
    pub(super) fn exchange(&self, token: &[u8], now_ms: i64) -> Result<Exchange> {
        let (outgoing, field) = match (self.master_key.fields(), &*self.credentials) {
            (
                MasterKeyFields::Aws {
                    region,
                    key,
                    endpoint,
                },
                Credentials::Aws(credentials),
            ) => {
                let key = AwsKey {
                    region,
                    key,
                    endpoint: endpoint.as_ref(),
                    is_bound: self.is_bound,
                };
                aws::request(&self.operation, &key, credentials, now_ms)
            }
            (
                MasterKeyFields::Azure {
                    key_vault_endpoint,
                    key_name,
                    key_version,
                },
                Credentials::Azure(_),
            ) => {
                let key = AzureKey {
                    endpoint: key_vault_endpoint,
                    name: key_name,
                    version: key_version.as_deref(),
                };
                azure::request(&self.operation, &key, token)
            }
            (
                MasterKeyFields::Gcp {
                    project_id,
                    location,
                    key_ring,
                    key_name,
                    key_version,
                    endpoint,
                },
                Credentials::Gcp(_),
            ) => {
                let key = GcpKey {
                    project_id,
                    location,
                    key_ring,
                    key_name,
                    key_version: key_version.as_deref(),
                    endpoint: endpoint.as_ref(),
                };
                gcp::request(&self.operation, &key, token)
            }
            _ => Err(not_the_providers()),
        }?;
        let is_secret = matches!(self.operation, KmsOperation::Unwrap(_));
        Ok(self.json(outgoing, field, is_secret))
    }

    /// The call as KMIP operations, and where they go.
    pub(super) fn kmip(&self) -> Option<kmip::Call<'_>> {
        match self.master_key.fields() {
            MasterKeyFields::Kmip {
                key_id, delegated, ..
            } => Some(kmip::Call {
                operation: &self.operation,
                is_delegated: *delegated,
                key_id: key_id.as_deref(),
            }),
            _ => None,
        }
    }

    pub(super) fn kmip_exchange(
        &self,
        message: SecretWriter,
        wanted: kmip::WantedKmip,
    ) -> Result<Exchange> {
        let (MasterKeyFields::Kmip { endpoint, .. }, Credentials::Kmip { endpoint: default }) =
            (self.master_key.fields(), &*self.credentials)
        else {
            return Err(not_the_providers());
        };
        let endpoint = endpoint.as_ref().unwrap_or(default).connect(KMIP_PORT);
        let outgoing = Outgoing { endpoint, message };
        Ok(Exchange::new(
            ProviderKind::Kmip,
            outgoing,
            Wanted::Kmip(wanted),
        ))
    }

    fn token(&self, outgoing: Outgoing) -> Exchange {
        self.json(outgoing, WantedJson::Token, true)
    }

    fn json(&self, outgoing: Outgoing, field: WantedJson, is_secret: bool) -> Exchange {
        let wanted = Wanted::Json { field, is_secret };
        Exchange::new(self.master_key.provider().kind(), outgoing, wanted)
    }

    fn azure_client(&self) -> Option<AzureClient<'_>> {
        match (&*self.credentials, self.master_key.fields()) {
            (
                Credentials::Azure(AzureCredentials::Client {
                    tenant_id,
                    client_id,
                    client_secret,
                    identity_platform_endpoint,
                }),
                MasterKeyFields::Azure {
                    key_vault_endpoint, ..
                },
            ) => Some(AzureClient {
                tenant_id,
                client_id,
                client_secret: client_secret.expose(),
                identity_platform_endpoint: identity_platform_endpoint.as_ref(),
                key_vault_endpoint,
            }),
            _ => None,
        }
    }

    fn gcp_account(&self) -> Option<GcpAccount<'_>> {
        match (&*self.credentials, self.master_key.fields()) {
            (
                Credentials::Gcp(GcpCredentials::ServiceAccount {
                    email, endpoint, ..
                }),
                MasterKeyFields::Gcp {
                    endpoint: kms_endpoint,
                    ..
                },
            ) => Some(GcpAccount {
                email,
                token_endpoint: endpoint.as_ref(),
                kms_endpoint: kms_endpoint.as_ref(),
            }),
            _ => None,
        }
    }
}

const KMIP_PORT: u16 = 5696;

/// Unreachable: credentials are looked up by the provider that the master key names.
fn not_the_providers() -> Error {
    Error::new(
        Code::MachineOutOfOrder,
        "the credentials are those of another provider",
    )
}
