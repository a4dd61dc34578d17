//! Writing a request.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use crate::{
    error::{Code, Error, Result},
    kms::wire::writer::SecretWriter,
    secret::SecretBytes,
};

/// A POST request. Everything that goes into its head is checked here, so that no value splits the request.
pub(in crate::kms::wire) struct HttpRequest {
    path: String,
    headers: Vec<Header>,
    body: SecretWriter,
}

struct Header {
    name: &'static str,
    value: SecretBytes,
    is_secret: bool,
}

impl HttpRequest {
    /// A request with the headers that every one has: `Connection`, `Content-Length`, `Content-Type`, `Host`.
    ///
    /// Errors: `KMS_REQUEST_INVALID` when `path` or `host` could not stand in a request line or a header, or when `path`
    /// leads elsewhere.
    pub(in crate::kms::wire) fn post(
        path: &str,
        host: &str,
        content_type: &str,
        body: SecretWriter,
    ) -> Result<Self> {
        if !path.starts_with('/') || path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(invalid(
                "the request path holds a space or a control character",
            ));
        }
        // DIFFERS: libmongocrypt sends them, and servers resolve them (RFC 3986 section 5.2.4) to another path.
        if path
            .split(['/', '?'])
            .any(|part| matches!(part, "." | ".."))
        {
            return Err(invalid("a part of the request path is a dot segment"));
        }
        let length = body.len().to_string();
        let request = Self {
            path: String::from(path),
            headers: Vec::new(),
            body,
        };
        request
            .header("Connection", "close")?
            .header("Content-Length", &length)?
            .header("Content-Type", content_type)?
            .header("Host", host)
    }

    /// Adds a header.
    ///
    /// Errors: `KMS_REQUEST_INVALID` when the value holds a control character.
    pub(in crate::kms::wire) fn header(self, name: &'static str, value: &str) -> Result<Self> {
        self.add(name, value.as_bytes(), false)
    }

    /// Adds a header whose value is a credential after a public `prefix`.
    ///
    /// Errors: `KMS_REQUEST_INVALID` when the value holds a control character.
    pub(in crate::kms::wire) fn secret_header(
        self,
        name: &'static str,
        prefix: &str,
        value: &[u8],
    ) -> Result<Self> {
        let mut whole = SecretBytes::with_capacity(prefix.len() + value.len());
        whole.expose_mut().extend_from_slice(prefix.as_bytes());
        whole.expose_mut().extend_from_slice(value);
        self.add(name, whole.expose(), true)
    }

    fn add(mut self, name: &'static str, value: &[u8], is_secret: bool) -> Result<Self> {
        if value.iter().any(u8::is_ascii_control) {
            return Err(invalid(&format!(
                "the value of the header {name} holds a control character"
            )));
        }
        let header = Header {
            name,
            value: SecretBytes::copy_from(value),
            is_secret,
        };
        // Sorted without regard to case. COMPAT: the order libmongocrypt writes headers in.
        let place = self
            .headers
            .partition_point(|known| known.name.to_ascii_lowercase() <= name.to_ascii_lowercase());
        self.headers.insert(place, header);
        Ok(self)
    }

    /// Names and values of the headers, in the order they are written.
    pub(in crate::kms::wire) fn headers(&self) -> Vec<(&str, &[u8])> {
        self.headers
            .iter()
            .map(|Header { name, value, .. }| (*name, value.expose()))
            .collect()
    }

    pub(in crate::kms::wire) fn body(&self) -> &[u8] {
        self.body.expose()
    }

    /// The bytes to send.
    pub(in crate::kms::wire) fn write(&self) -> SecretWriter {
        self.write_with(None)
    }

    /// The bytes to send, signed. COMPAT: this header comes last, and alone has a space after its colon.
    pub(in crate::kms::wire) fn write_signed(&self, authorization: &str) -> SecretWriter {
        self.write_with(Some(authorization))
    }

    fn write_with(&self, authorization: Option<&str>) -> SecretWriter {
        let mut out = SecretWriter::new();
        out.push(b"POST ");
        out.push(self.path.as_bytes());
        out.push(b" HTTP/1.1\r\n");
        for Header {
            name,
            value,
            is_secret,
        } in &self.headers
        {
            out.push(name.as_bytes());
            out.push(b":");
            if *is_secret {
                out.push_secret(value.expose());
            } else {
                out.push(value.expose());
            }
            out.push(b"\r\n");
        }
        if let Some(authorization) = authorization {
            out.push(b"Authorization: ");
            out.push(authorization.as_bytes());
            out.push(b"\r\n");
        }
        out.push(b"\r\n");
        out.append(&self.body);
        out
    }
}

fn invalid(message: &str) -> Error {
    Error::new(Code::KmsRequestInvalid, String::from(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> SecretWriter {
        let mut body = SecretWriter::new();
        body.push(text.as_bytes());
        body
    }

    #[test]
    fn headers_are_sorted_and_have_no_space() {
        let request = HttpRequest::post("/a/b?c=d", "h.x", "text/plain", body("xyz"))
            .and_then(|request| request.header("X-Amz-Target", "t"))
            .and_then(|request| request.secret_header("authorization", "Bearer ", b"token"))
            .and_then(|request| request.header("Accept", "a/b"))
            .unwrap();
        assert_eq!(
            core::str::from_utf8(request.write().expose()).unwrap(),
            "POST /a/b?c=d HTTP/1.1\r\nAccept:a/b\r\nauthorization:Bearer token\r\nConnection:close\r\n\
             Content-Length:3\r\nContent-Type:text/plain\r\nHost:h.x\r\nX-Amz-Target:t\r\n\r\nxyz"
        );
        assert!(request.write().is_echoed_in(b"no Bearer token here"));
    }

    #[test]
    fn nothing_splits_a_request() {
        let refusal = |request: Result<HttpRequest>| request.err().unwrap().code();
        for text in ["a\r\nX: y", "a\n", "a\0", "a\u{7f}", "\ta"] {
            for request in [
                HttpRequest::post("/", text, "t", body("")),
                HttpRequest::post(&format!("/{text}"), "h", "t", body("")),
                HttpRequest::post("/", "h", "t", body("")).and_then(|r| r.header("X", text)),
                HttpRequest::post("/", "h", "t", body(""))
                    .and_then(|r| r.secret_header("X", "", text.as_bytes())),
            ] {
                assert_eq!(refusal(request), Code::KmsRequestInvalid);
            }
        }
        for path in ["", "a", "/a b", "/..", "/a/../b", "/a/./b", "/a/..?b", "/."] {
            assert_eq!(
                refusal(HttpRequest::post(path, "h", "t", body(""))),
                Code::KmsRequestInvalid
            );
        }
    }
}
