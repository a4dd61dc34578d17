//! Google Cloud KMS: a token for a signed assertion, then encrypt or decrypt.
//!
//! Source: "Using OAuth 2.0 for Server to Server Applications" (RFC 7523); Cloud KMS REST API v1, cryptoKeys.

use alloc::{format, string::String};

use super::{
    answer::WantedJson,
    base64::{push_standard, push_url},
    exchange::Outgoing,
    http::HttpRequest,
    json::push_string,
    oauth::TokenKey,
    percent::is_unreserved,
    writer::SecretWriter,
};
use crate::{
    error::{Code, Error, Result},
    kms::{Endpoint, KmsOperation, KmsProvider},
};

const TOKEN_HOST: &str = "oauth2.googleapis.com";
const KMS_HOST: &str = "cloudkms.googleapis.com";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
/// base64url of `{"alg":"RS256","typ":"JWT"}`.
const JWT_HEADER: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
const ASSERTION_LIFETIME_S: i64 = 300;
/// RSA keys of 16384 bits have signatures of this length; there are no longer ones in use.
const MAX_SIGNATURE_LEN: usize = 2048;

/// Who asks for a token, and for which KMS.
pub(super) struct GcpAccount<'a> {
    pub(super) email: &'a str,
    pub(super) token_endpoint: Option<&'a Endpoint>,
    /// The endpoint of the master key, if it has one.
    pub(super) kms_endpoint: Option<&'a Endpoint>,
}

impl GcpAccount<'_> {
    fn host(&self) -> &str {
        self.token_endpoint.map_or(TOKEN_HOST, Endpoint::host)
    }

    fn connect(&self) -> String {
        self.token_endpoint
            .map_or_else(|| format!("{TOKEN_HOST}:443"), |e| e.connect(443))
    }

    fn scope(&self) -> String {
        let host = self.kms_endpoint.map_or(KMS_HOST, Endpoint::host);
        let domain = host.split_once('.').map_or(host, |(_, domain)| domain);
        format!("https://www.{domain}/auth/cloudkms")
    }

    pub(super) fn token_key(&self, provider: &KmsProvider) -> TokenKey {
        TokenKey {
            provider: provider.clone(),
            endpoint: format!("{}/token", self.connect()),
            scope: self.scope(),
            subject: String::from(self.email),
        }
    }

    /// Header and claims of the assertion: what is signed with RS256.
    ///
    /// COMPAT: the claims are spaced, and base64 is padded, as in libmongocrypt. DIFFERS: the email is escaped.
    pub(super) fn signing_input(&self, now_ms: i64) -> SecretWriter {
        let now_s = now_ms.div_euclid(1000);
        let mut claims = SecretWriter::new();
        let audience = format!("https://{}/token", self.host());
        for (name, value) in [
            ("{\"iss\": ", self.email),
            (", \"aud\": ", &audience),
            (", \"scope\": ", &self.scope()),
        ] {
            claims.push(name.as_bytes());
            push_string(value, &mut claims);
        }
        let end_s = now_s.saturating_add(ASSERTION_LIFETIME_S);
        claims.push(format!(", \"iat\": {now_s}, \"exp\": {end_s}}}").as_bytes());
        let mut input = SecretWriter::new();
        input.push(JWT_HEADER.as_bytes());
        input.push(b".");
        push_url(claims.expose(), &mut input);
        input
    }

    /// Builds the request for a token.
    ///
    /// DIFFERS: signatures of any RSA key are taken; libmongocrypt assumes keys of 2048 bits.
    ///
    /// Errors: `KMS_SIGNATURE_FAILED`, `KMS_REQUEST_INVALID`.
    pub(super) fn token_request(
        &self,
        signing_input: &SecretWriter,
        signature: &[u8],
    ) -> Result<Outgoing> {
        if !(1..=MAX_SIGNATURE_LEN).contains(&signature.len()) {
            return Err(signature_failed());
        }
        let mut body = SecretWriter::new();
        body.push(b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
        body.append(signing_input);
        body.push(b".");
        body.mark_secret(|body| push_url(signature, body));
        let request =
            HttpRequest::post("/token", self.host(), FORM, body)?.header("Accept", JSON)?;
        Ok(Outgoing {
            endpoint: self.connect(),
            message: request.write(),
        })
    }
}

/// The host could not sign the assertion.
pub(super) fn signature_failed() -> Error {
    let message = "error constructing KMS message: Failed to create GCP oauth request signature";
    Error::new(Code::KmsSignatureFailed, message)
}

/// The master key of a call.
pub(super) struct GcpKey<'a> {
    pub(super) project_id: &'a str,
    pub(super) location: &'a str,
    pub(super) key_ring: &'a str,
    pub(super) key_name: &'a str,
    pub(super) key_version: Option<&'a str>,
    pub(super) endpoint: Option<&'a Endpoint>,
}

/// Builds the request.
///
/// Errors: `KMS_REQUEST_INVALID` when an identifier holds other characters than `A-Za-z0-9-._~`.
pub(super) fn request(
    operation: &KmsOperation,
    key: &GcpKey<'_>,
    token: &[u8],
) -> Result<(Outgoing, WantedJson)> {
    let verb = match operation {
        KmsOperation::Wrap(_) => "encrypt",
        KmsOperation::Unwrap(_) => "decrypt",
    };
    // The ciphertext names its version, so that decrypting never does.
    let version = key
        .key_version
        .filter(|version| !version.is_empty() && matches!(operation, KmsOperation::Wrap(_)));
    for (name, value) in [
        ("projectId", key.project_id),
        ("location", key.location),
        ("keyRing", key.key_ring),
        ("keyName", key.key_name),
        ("keyVersion", version.unwrap_or_default()),
    ] {
        if !value.bytes().all(is_unreserved) {
            let message = format!(
                "error constructing GCP KMS {verb} message: Invalid character in GCP KMS key identifier: {name}"
            );
            return Err(Error::new(Code::KmsRequestInvalid, message).with("field", name));
        }
    }
    let GcpKey {
        project_id,
        location,
        key_ring,
        key_name,
        ..
    } = key;
    let version = version.map_or_else(String::new, |version| {
        format!("/cryptoKeyVersions/{version}")
    });
    let path = format!(
        "/v1/projects/{project_id}/locations/{location}/keyRings/{key_ring}/cryptoKeys/{key_name}{version}:{verb}"
    );
    let mut body = SecretWriter::new();
    let wanted = match operation {
        KmsOperation::Wrap(material) => {
            body.push(b"{\"plaintext\": \"");
            body.mark_secret(|body| push_standard(material.expose(), body));
            "ciphertext"
        }
        KmsOperation::Unwrap(wrapped) => {
            body.push(b"{\"ciphertext\": \"");
            push_standard(wrapped.as_bytes(), &mut body);
            "plaintext"
        }
    };
    body.push(b"\"}");
    let host = key.endpoint.map_or(KMS_HOST, Endpoint::host);
    let request = HttpRequest::post(&path, host, JSON, body)?
        .header("Accept", JSON)?
        .secret_header("Authorization", "Bearer ", token)?;
    let outgoing = Outgoing {
        endpoint: key
            .endpoint
            .map_or_else(|| format!("{KMS_HOST}:443"), |e| e.connect(443)),
        message: request.write(),
    };
    Ok((outgoing, WantedJson::Standard(wanted)))
}
