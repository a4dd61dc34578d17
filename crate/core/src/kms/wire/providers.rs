//! The `kmsProviders` document.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use bson::raw::RawDocument;

use super::{
    credentials::{AwsCredentials, AzureCredentials, Credentials, GcpCredentials},
    provider_fields::ProviderFields,
};
use crate::{
    error::{Code, Error, Result},
    kms::{KmsProvider, ProviderKind},
};

/// Which providers are configured, and with which credentials.
pub struct KmsProviders {
    configured: Vec<(KmsProvider, Arc<Credentials>)>,
    on_demand: Vec<KmsProvider>,
}

impl KmsProviders {
    /// Reads `{ "<provider>": {...}, ... }`.
    ///
    /// An empty document under an unnamed provider means that its credentials are asked for when they are needed.
    /// DIFFERS: a provider that is there twice is always refused; libmongocrypt lets an empty document be one of the two.
    ///
    /// Errors: `KMS_PROVIDERS_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`; details name provider and
    /// field, never a value.
    pub fn parse(document: &[u8]) -> Result<Self> {
        let malformed = || invalid(String::from("invalid BSON"));
        let document = RawDocument::from_bytes(document).map_err(|_| malformed())?;
        let mut providers = Self {
            configured: Vec::new(),
            on_demand: Vec::new(),
        };
        for element in document {
            let (identifier, value) = element.map_err(|_| malformed())?;
            let provider = KmsProvider::parse(identifier.as_str())?;
            let fields = value.as_document().ok_or_else(|| {
                invalid(format!("expected BSON document for field: {identifier}"))
                    .with("provider", &provider)
            })?;
            providers.add(provider, fields)?;
        }
        if providers.configured.is_empty() && providers.on_demand.is_empty() {
            return Err(invalid(String::from("no kms provider set")));
        }
        Ok(providers)
    }

    fn add(&mut self, provider: KmsProvider, fields: &RawDocument) -> Result<()> {
        if self.is_known(&provider) {
            let message = match provider.name() {
                None => format!("{provider} KMS provider already set"),
                Some(_) => {
                    format!("Got unexpected duplicate entry for KMS provider: `{provider}`")
                }
            };
            return Err(invalid(message).with("provider", &provider));
        }
        if fields.iter_elements().next().is_none() {
            if provider.name().is_some() {
                return Err(invalid(format!(
                    "Unexpected empty document for named KMS provider: '{provider}'. On-demand credentials are not \
                     supported for named KMS providers."
                ))
                .with("provider", &provider));
            }
            self.on_demand.push(provider);
            return Ok(());
        }
        let credentials = parse_credentials(provider.kind(), fields).map_err(|error| {
            let mut whole = Error::new(
                error.code(),
                format!("Failed to parse KMS provider `{provider}`: {error}"),
            )
            .with("provider", &provider);
            for (name, value) in error.details() {
                whole = whole.with(name, value);
            }
            whole
        })?;
        self.configured.push((provider, Arc::new(credentials)));
        Ok(())
    }

    fn is_known(&self, provider: &KmsProvider) -> bool {
        self.on_demand.contains(provider)
            || self.configured.iter().any(|(known, _)| known == provider)
    }

    /// The credentials of a provider.
    ///
    /// Errors: `KMS_PROVIDER_NOT_CONFIGURED`, also for one whose credentials are still to be asked for.
    pub fn credentials(&self, provider: &KmsProvider) -> Result<&Arc<Credentials>> {
        self.configured
            .iter()
            .find(|(known, _)| known == provider)
            .map(|(_, credentials)| credentials)
            .ok_or_else(|| {
                Error::new(
                    Code::KmsProviderNotConfigured,
                    format!("KMS provider `{provider}` is not configured"),
                )
                .with("provider", provider)
            })
    }

    /// The providers that have credentials.
    pub fn configured(&self) -> impl Iterator<Item = (&KmsProvider, &Arc<Credentials>)> {
        self.configured
            .iter()
            .map(|(provider, credentials)| (provider, credentials))
    }

    /// The providers whose credentials are asked for when they are needed.
    #[must_use]
    pub fn on_demand(&self) -> &[KmsProvider] {
        &self.on_demand
    }

    /// These providers with what the host answered when it was asked for credentials.
    ///
    /// The answer's unnamed providers replace those known here. Named ones always stay as they were configured.
    #[must_use]
    pub fn with_answer(&self, answer: &Self) -> Self {
        let answered = |provider: &KmsProvider| {
            provider.name().is_none() && answer.configured().any(|(known, _)| known == provider)
        };
        let kept = self.configured.iter().filter(|(p, _)| !answered(p));
        let new = answer.configured.iter().filter(|(p, _)| answered(p));
        Self {
            configured: kept.chain(new).cloned().collect(),
            on_demand: self
                .on_demand
                .iter()
                .filter(|provider| !answered(provider))
                .cloned()
                .collect(),
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(Code::KmsProvidersInvalid, message)
}

fn parse_credentials(kind: ProviderKind, document: &RawDocument) -> Result<Credentials> {
    let fields = ProviderFields::new(document);
    match kind {
        ProviderKind::Local => {
            let key = fields.key_material("key")?;
            fields.expect_only(&["key"])?;
            Ok(Credentials::Local(key))
        }
        ProviderKind::Aws => {
            let credentials = AwsCredentials {
                access_key_id: fields.text("accessKeyId")?,
                secret_access_key: fields.secret_text("secretAccessKey")?,
                session_token: fields.optional_secret_text("sessionToken")?,
            };
            fields.expect_only(&["accessKeyId", "secretAccessKey", "sessionToken"])?;
            Ok(Credentials::Aws(credentials))
        }
        ProviderKind::Azure => parse_azure(&fields).map(Credentials::Azure),
        ProviderKind::Gcp => parse_gcp(&fields).map(Credentials::Gcp),
        ProviderKind::Kmip => {
            let endpoint = fields
                .optional_endpoint("endpoint", true)?
                .ok_or_else(|| fields.missing_endpoint("endpoint"))?;
            fields.expect_only(&["endpoint"])?;
            Ok(Credentials::Kmip { endpoint })
        }
    }
}

fn parse_azure(fields: &ProviderFields<'_>) -> Result<AzureCredentials> {
    if let Some(token) = fields.optional_secret_text("accessToken")? {
        fields.expect_only(&["accessToken"])?;
        return Ok(AzureCredentials::AccessToken(token));
    }
    let credentials = AzureCredentials::Client {
        tenant_id: fields.text("tenantId")?,
        client_id: fields.text("clientId")?,
        client_secret: fields.secret_text("clientSecret")?,
        identity_platform_endpoint: fields.optional_endpoint("identityPlatformEndpoint", false)?,
    };
    fields.expect_only(&[
        "tenantId",
        "clientId",
        "clientSecret",
        "identityPlatformEndpoint",
    ])?;
    Ok(credentials)
}

fn parse_gcp(fields: &ProviderFields<'_>) -> Result<GcpCredentials> {
    if let Some(token) = fields.optional_secret_text("accessToken")? {
        fields.expect_only(&["accessToken"])?;
        return Ok(GcpCredentials::AccessToken(token));
    }
    let credentials = GcpCredentials::ServiceAccount {
        email: fields.text("email")?,
        private_key: fields.secret_bytes("privateKey")?,
        endpoint: fields.optional_endpoint("endpoint", false)?,
    };
    fields.expect_only(&["email", "privateKey", "endpoint"])?;
    Ok(credentials)
}
