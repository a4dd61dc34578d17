//! AWS KMS: Encrypt and Decrypt, signed.
//!
//! Source: "AWS Key Management Service API Reference", Encrypt and Decrypt; protocol `application/x-amz-json-1.1`.

use alloc::{format, string::String};

use super::{
    answer::WantedJson,
    base64::push_standard,
    credentials::AwsCredentials,
    exchange::Outgoing,
    http::HttpRequest,
    json::push_string,
    sigv4::{self, Scope},
    timestamp::iso_basic,
    writer::SecretWriter,
};
use crate::{
    error::{Code, Error, Result},
    kms::{Endpoint, KmsOperation},
};

/// The master key of a call.
pub(super) struct AwsKey<'a> {
    pub(super) region: &'a str,
    pub(super) key: &'a str,
    pub(super) endpoint: Option<&'a Endpoint>,
    /// Whether to decrypt with this key alone, rather than with the one that the ciphertext names.
    pub(super) is_bound: bool,
}

/// Builds the request.
///
/// DIFFERS: libmongocrypt puts `region` and `key` of a key document into headers and JSON as they are. Here a region is
/// part of a host name or refused, and a key is escaped.
///
/// Errors: `KMS_REQUEST_INVALID`.
pub(super) fn request(
    operation: &KmsOperation,
    key: &AwsKey<'_>,
    credentials: &AwsCredentials,
    now_ms: i64,
) -> Result<(Outgoing, WantedJson)> {
    for (value, name) in [
        (credentials.access_key_id.as_bytes(), "Access key ID"),
        (key.region.as_bytes(), "Region"),
        (credentials.secret_access_key.expose(), "Secret key"),
    ] {
        if value.is_empty() {
            return Err(invalid(format!("{name} not set")));
        }
    }
    let default_endpoint = default_endpoint(key.region)?;
    let endpoint = key.endpoint.unwrap_or(&default_endpoint);
    let mut body = SecretWriter::new();
    let names_key = key.is_bound || matches!(operation, KmsOperation::Wrap(_));
    if names_key && key.key.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(invalid(String::from("the key holds a control character")));
    }
    let (target, host, wanted) = match operation {
        KmsOperation::Wrap(material) => {
            body.push(b"{\"Plaintext\": \"");
            body.mark_secret(|body| push_standard(material.expose(), body));
            body.push(b"\", \"KeyId\": ");
            push_string(key.key, &mut body);
            body.push(b"}");
            let wanted = WantedJson::Standard("CiphertextBlob");
            ("TrentService.Encrypt", endpoint.host(), wanted)
        }
        KmsOperation::Unwrap(wrapped) => {
            body.push(b"{\"CiphertextBlob\": \"");
            push_standard(wrapped.as_bytes(), &mut body);
            body.push(b"\"");
            if key.is_bound {
                body.push(b", \"KeyId\": ");
                push_string(key.key, &mut body);
            }
            body.push(b"}");
            // COMPAT: the port is part of the host here, and not above.
            let wanted = WantedJson::Standard("Plaintext");
            ("TrentService.Decrypt", endpoint.stored(), wanted)
        }
    };
    let date_time = iso_basic(now_ms);
    let mut request = HttpRequest::post("/", host, "application/x-amz-json-1.1", body)?
        .header("X-Amz-Date", &date_time)?
        .header("X-Amz-Target", target)?;
    if let Some(token) = &credentials.session_token {
        request = request.secret_header("X-Amz-Security-Token", "", token.expose())?;
    }
    if credentials
        .access_key_id
        .bytes()
        .any(|b| b.is_ascii_control())
    {
        return Err(invalid(String::from(
            "the access key ID holds a control character",
        )));
    }
    let authorization = sigv4::authorization(
        &credentials.access_key_id,
        credentials.secret_access_key.expose(),
        &sigv4::Request {
            method: "POST",
            path: "/",
            query: "",
            headers: &request.headers(),
            body: request.body(),
        },
        &Scope {
            date_time: &date_time,
            region: key.region,
            service: "kms",
        },
    );
    let outgoing = Outgoing {
        endpoint: endpoint.connect(443),
        message: request.write_signed(&authorization),
    };
    Ok((outgoing, wanted))
}

/// `kms.<region>.amazonaws.com`, for a region that is nothing but a part of a host name.
fn default_endpoint(region: &str) -> Result<Endpoint> {
    let host = format!("kms.{region}.amazonaws.com");
    Endpoint::parse(&host, false)
        .ok()
        .filter(|endpoint| endpoint.host() == host)
        .ok_or_else(|| invalid(String::from("the region is not part of a host name")))
}

fn invalid(complaint: String) -> Error {
    let message = format!("failed to create KMS message: {complaint}");
    Error::new(Code::KmsRequestInvalid, message)
}
