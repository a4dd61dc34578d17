//! Azure Key Vault: a token from the identity platform, then wrapkey or unwrapkey.
//!
//! Source: "Microsoft identity platform and the OAuth 2.0 client credentials flow"; Key Vault REST API 7.1, Wrap Key.

use alloc::{format, string::String};

use super::{
    answer::WantedJson, base64::push_url, exchange::Outgoing, http::HttpRequest, oauth::TokenKey,
    percent::push_encoded, writer::SecretWriter,
};
use crate::{
    error::Result,
    kms::{Endpoint, KmsOperation, KmsProvider},
};

const IDENTITY_PLATFORM: &str = "login.microsoftonline.com";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Who asks for a token, and for which vault.
pub(super) struct AzureClient<'a> {
    pub(super) tenant_id: &'a str,
    pub(super) client_id: &'a str,
    pub(super) client_secret: &'a [u8],
    pub(super) identity_platform_endpoint: Option<&'a Endpoint>,
    pub(super) key_vault_endpoint: &'a Endpoint,
}

impl AzureClient<'_> {
    fn host(&self) -> &str {
        self.identity_platform_endpoint
            .map_or(IDENTITY_PLATFORM, Endpoint::host)
    }

    fn connect(&self) -> String {
        self.identity_platform_endpoint
            .map_or_else(|| format!("{IDENTITY_PLATFORM}:443"), |e| e.connect(443))
    }

    fn path(&self) -> String {
        format!("/{}/oauth2/v2.0/token", encoded(self.tenant_id))
    }

    fn scope(&self) -> String {
        let host = self.key_vault_endpoint.host();
        let domain = host.split_once('.').map_or(host, |(_, domain)| domain);
        format!("https://{domain}/.default")
    }

    pub(super) fn token_key(&self, provider: &KmsProvider) -> TokenKey {
        TokenKey {
            provider: provider.clone(),
            endpoint: format!("{}{}", self.connect(), self.path()),
            scope: self.scope(),
            subject: String::from(self.client_id),
        }
    }

    /// Builds the request for a token.
    ///
    /// DIFFERS: libmongocrypt puts tenant, client and secret into the form as they are, so that a secret with `&`, `+`
    /// or `%` does not arrive. Here they are encoded.
    ///
    /// Errors: `KMS_REQUEST_INVALID`.
    pub(super) fn token_request(&self) -> Result<Outgoing> {
        let mut body = SecretWriter::new();
        body.push(b"client_id=");
        push_encoded(self.client_id.as_bytes(), &mut body);
        body.push(b"&scope=");
        push_encoded(self.scope().as_bytes(), &mut body);
        body.push(b"&client_secret=");
        body.mark_secret(|body| push_encoded(self.client_secret, body));
        body.push(b"&grant_type=client_credentials");
        let request =
            HttpRequest::post(&self.path(), self.host(), FORM, body)?.header("Accept", JSON)?;
        Ok(Outgoing {
            endpoint: self.connect(),
            message: request.write(),
        })
    }
}

/// The master key of a call.
pub(super) struct AzureKey<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
}

/// Builds the request.
///
/// DIFFERS: libmongocrypt puts name and version of a key document into the path as they are. Here they are encoded.
///
/// Errors: `KMS_REQUEST_INVALID`.
pub(super) fn request(
    operation: &KmsOperation,
    key: &AzureKey<'_>,
    token: &[u8],
) -> Result<(Outgoing, WantedJson)> {
    let mut body = SecretWriter::new();
    body.push(b"{\"alg\": \"RSA-OAEP-256\", \"value\": \"");
    let verb = match operation {
        KmsOperation::Wrap(material) => {
            body.mark_secret(|body| push_url(material.expose(), body));
            "wrapkey"
        }
        KmsOperation::Unwrap(wrapped) => {
            push_url(wrapped.as_bytes(), &mut body);
            "unwrapkey"
        }
    };
    body.push(b"\"}");
    let name = encoded(key.name);
    // COMPAT: without a version the segment is empty.
    let version = encoded(key.version.unwrap_or_default());
    let path = format!("/keys/{name}/{version}/{verb}?api-version=7.1");
    let request = HttpRequest::post(&path, key.endpoint.host(), JSON, body)?
        .header("Accept", JSON)?
        .secret_header("Authorization", "Bearer ", token)?;
    let outgoing = Outgoing {
        endpoint: key.endpoint.connect(443),
        message: request.write(),
    };
    Ok((outgoing, WantedJson::Url("value")))
}

fn encoded(text: &str) -> String {
    let mut out = SecretWriter::new();
    push_encoded(text.as_bytes(), &mut out);
    String::from_utf8_lossy(out.expose()).into_owned()
}
