//! What an answer over HTTP says: a status to complain about, or the one thing that was asked for.

use alloc::{format, string::String};

use super::{
    base64,
    json::{Member, members, text},
    retry::aws_error_type,
    writer::SecretWriter,
};
use crate::{
    error::{Code, Error, Result},
    secret::SecretBytes,
};

/// Longest part of a body that goes into an error message.
/// DIFFERS: libmongocrypt quotes all of it, up to 16 MiB.
const MAX_QUOTED_LEN: usize = 4096;

/// What a request over HTTP asks for.
#[derive(Clone, Copy)]
pub(super) enum WantedJson {
    /// Bytes in base64 under this name, in the standard alphabet.
    Standard(&'static str),
    /// Bytes in base64 under this name, in the URL-safe alphabet.
    Url(&'static str),
    /// A bearer token.
    Token,
}

impl WantedJson {
    /// Where it is looked for.
    const fn field(self) -> &'static str {
        match self {
            Self::Standard(field) | Self::Url(field) => field,
            Self::Token => "access_token",
        }
    }
}

/// What came back.
pub(super) enum JsonAnswer {
    Bytes(SecretBytes),
    Token(Token),
}

/// A bearer token, fresh from the server.
pub(super) struct Token {
    pub(super) value: SecretBytes,
    pub(super) lifetime_s: u64,
}

/// An answer with all that is needed to word a complaint about it.
pub(super) struct HttpAnswer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    pub(super) wanted: WantedJson,
    /// The request, whose secrets are not to be quoted from an echo.
    pub(super) request: &'a SecretWriter,
    /// Whether a successful answer holds a secret: key material or a token.
    pub(super) is_secret: bool,
}

impl HttpAnswer<'_> {
    /// The complaint about a status other than 200.
    ///
    /// DIFFERS: libmongocrypt reads what Azure and the token endpoints send before it looks at the status, so that it
    /// complains about the JSON of an error page, or about its being empty, instead of the status.
    pub(super) fn status_error(&self) -> Error {
        let Self { status, body, .. } = self;
        let message = match (status, body.is_empty()) {
            (400.., true) => format!("Error in KMS response. HTTP status={status}. Empty body."),
            (400.., false) => format!("Error in KMS response. {}", self.quoted()),
            (..400, _) => format!("Unsupported HTTP code in KMS response. {}", self.quoted()),
        };
        let error = Error::new(Code::KmsErrorStatus, message).with("status", status);
        match aws_error_type(body) {
            Some(kind) => error.with("errorType", kind),
            None => error,
        }
    }

    /// Takes the one thing out of a successful answer.
    ///
    /// Errors: `KMS_RESPONSE_MALFORMED`.
    pub(super) fn read(&self) -> Result<JsonAnswer> {
        match self.wanted {
            WantedJson::Standard(field) => {
                let raw = self.text_member(field)?;
                self.decoded(base64::decode_standard(text(raw).expose()))
            }
            WantedJson::Url(field) => {
                self.refuse_empty()?;
                let raw = self.text_member(field)?;
                self.decoded(base64::decode_url(text(raw).expose()))
            }
            WantedJson::Token => {
                self.refuse_empty()?;
                self.read_token().map(JsonAnswer::Token)
            }
        }
    }

    fn refuse_empty(&self) -> Result<()> {
        if self.body.is_empty() {
            let status = self.status;
            return Err(self.malformed(format!("Empty KMS response. HTTP status={status}")));
        }
        Ok(())
    }

    fn members<const N: usize>(&self, names: [&str; N]) -> Result<[Option<Member<'_>>; N]> {
        members(self.body, names).map_err(|complaint| {
            self.malformed(format!(
                "Error parsing JSON in KMS response '{complaint}'. {}",
                self.quoted()
            ))
        })
    }

    fn text_member(&self, field: &'static str) -> Result<&str> {
        match self.members([field])? {
            [Some(Member::Text(raw))] => Ok(raw),
            _ => Err(self.malformed(self.missing(field))),
        }
    }

    fn missing(&self, field: &str) -> String {
        format!(
            "KMS JSON response does not include field '{field}'. {}",
            self.quoted()
        )
    }

    fn decoded(&self, bytes: Option<SecretBytes>) -> Result<JsonAnswer> {
        bytes.map(JsonAnswer::Bytes).ok_or_else(|| {
            self.malformed(format!(
                "Failed to base64 decode response. {}",
                self.quoted()
            ))
        })
    }

    /// DIFFERS: a lifetime that is negative is refused, and so is a token that could split a request or is empty;
    /// libmongocrypt puts the token into a header as it is.
    fn read_token(&self) -> Result<Token> {
        let [value, expires_in] = self.members(["access_token", "expires_in"])?;
        let value = match value {
            Some(Member::Text(raw)) => text(raw),
            _ => SecretBytes::copy_from(b""),
        };
        if value.expose().is_empty() || value.expose().iter().any(u8::is_ascii_control) {
            let missing = self.missing("access_token");
            return Err(self.malformed(format!("Invalid KMS response. {missing}")));
        }
        let lifetime_s = match expires_in {
            Some(Member::Integer(seconds)) => u64::try_from(seconds).ok(),
            _ => None,
        };
        let lifetime_s = lifetime_s.ok_or_else(|| {
            let message = "OAuth response invalid, no 'expires_in' field.";
            self.malformed(String::from(message))
        })?;
        Ok(Token { value, lifetime_s })
    }

    fn malformed(&self, message: String) -> Error {
        Error::new(Code::KmsResponseMalformed, message).with("status", self.status)
    }

    /// Status and body, as far as it may be shown.
    ///
    /// DIFFERS: libmongocrypt always shows the body, also one that holds a data key under another name than the
    /// expected one. An echo of the request's secrets is not shown either.
    fn quoted(&self) -> String {
        let Self {
            status,
            body,
            wanted,
            request,
            is_secret,
        } = self;
        let shown = &body[..body.len().min(MAX_QUOTED_LEN)];
        let searched = &body[..body.len().min(MAX_QUOTED_LEN + request.len())];
        // What was asked for may come with any status, and an explanation of a failure has no use for its name.
        let field = wanted.field().as_bytes();
        let is_there = || {
            shown
                .windows(field.len() + 1)
                .any(|part| part[0] == b'"' && part[1..] == *field)
        };
        if (*is_secret && (*status < 300 || is_there())) || request.is_echoed_in(searched) {
            let len = body.len();
            return format!(
                "HTTP status={status}. Response body=\n({len} bytes, not shown because they may hold a secret)"
            );
        }
        let text = String::from_utf8_lossy(shown);
        format!("HTTP status={status}. Response body=\n{text}")
    }
}
