//! Endpoints of key management services, reduced to `host[:port]`.

use alloc::{format, string::String};
use core::fmt;

use crate::error::{Code, Error, Result};

/// Where a KMS listens: `host[:port]`, as key documents store it.
///
/// Two endpoints are equal when their stored texts are; a missing port is not filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    stored: String,
    /// Bytes of `stored` that are the host.
    host_len: usize,
}

impl Endpoint {
    /// Reads `[scheme://]host[:port][/path][?query]` and keeps host and port; the case is preserved.
    ///
    /// `allow_dotless` accepts a host without a dot, such as `localhost`; only KMIP does. The port's range is not
    /// checked, and IPv6 literals are refused.
    ///
    /// Errors: `KMS_ENDPOINT_INVALID`, with the offset where one character is to blame. The checks close a
    /// request-splitting hole: hosts put the endpoint into request lines and headers.
    ///
    /// DIFFERS: libmongocrypt stops reading at a NUL byte; here NUL is a character that is refused.
    pub fn parse(text: &str, allow_dotless: bool) -> Result<Self> {
        check_characters(text)?;
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let Some(dot) = authority.find('.').or(allow_dotless.then_some(0)) else {
            return Err(invalid(format!(
                "Invalid endpoint, expected dot separator in host, but got: {text}"
            )));
        };
        // COMPAT: host, path and query are told apart after the first dot only, so that in `a/x.b` the host is `a/x.b`
        // and refused for its slash rather than `a` and refused for want of a dot.
        let authority = authority[dot..]
            .find(['/', '?'])
            .map_or(authority, |end| &authority[..dot + end]);
        let host_len = authority[dot..]
            .find(':')
            .map_or(authority.len(), |colon| dot + colon);
        let (host, port) = authority.split_at(host_len);
        if let Some(byte) = host.bytes().find(|&b| !is_host_character(b)) {
            return Err(invalid(format!(
                "Invalid character in endpoint host: 0x{byte:02x}"
            )));
        }
        if port == ":" {
            return Err(invalid(String::from(
                "Invalid endpoint, expected a port after the colon",
            )));
        }
        if let Some(byte) = port.bytes().skip(1).find(|b| !b.is_ascii_digit()) {
            return Err(invalid(format!(
                "Invalid character in endpoint port: 0x{byte:02x}"
            )));
        }
        Ok(Self {
            stored: String::from(authority),
            host_len,
        })
    }

    /// `host[:port]`, the form in key documents.
    #[must_use]
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// `host:port`, with `default_port` where the endpoint names none (443; KMIP 5696).
    #[must_use]
    pub fn connect(&self, default_port: u16) -> String {
        match self.port() {
            Some(_) => self.stored.clone(),
            None => format!("{}:{default_port}", self.stored),
        }
    }

    /// The host alone.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.stored[..self.host_len]
    }

    /// The digits after the colon, if the endpoint names a port.
    #[must_use]
    pub fn port(&self) -> Option<&str> {
        self.stored[self.host_len..].strip_prefix(':')
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stored)
    }
}

/// Refuses what RFC 3986 allows nowhere in a URI: everything but unreserved, reserved and percent-encoded characters.
fn check_characters(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    for (offset, &byte) in bytes.iter().enumerate() {
        if byte == b'%' {
            for digit in offset + 1..offset + 3 {
                // COMPAT: the end of the text is reported as a NUL byte.
                let found = bytes.get(digit).copied().unwrap_or(0);
                if !found.is_ascii_hexdigit() {
                    return Err(invalid(format!(
                        "Invalid percent-encoding in endpoint at offset {digit}: 0x{found:02x}"
                    ))
                    .with("offset", digit));
                }
            }
        } else if !is_uri_character(byte) {
            return Err(invalid(format!(
                "Invalid character in endpoint at offset {offset}: 0x{byte:02x}"
            ))
            .with("offset", offset));
        }
    }
    Ok(())
}

const fn is_uri_character(byte: u8) -> bool {
    is_host_character(byte) || matches!(byte, b':' | b'/' | b'?' | b'#' | b'[' | b']' | b'@')
}

/// reg-name of RFC 3986 section 3.2.2: unreserved, sub-delims and, checked before, percent-encoded octets.
const fn is_host_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
        || byte == b'%'
}

fn invalid(message: String) -> Error {
    Error::new(Code::KmsEndpointInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn refusal(text: &str, allow_dotless: bool) -> String {
        let error =
            Endpoint::parse(text, allow_dotless).expect_err("the endpoint is not acceptable");
        assert_eq!(error.code(), Code::KmsEndpointInvalid);
        error.message().to_string()
    }

    // Every expectation here was observed with libmongocrypt 1.21.0.

    #[test]
    fn parse_keeps_host_and_port_only() {
        for (text, stored, connect) in [
            ("a.b", "a.b", "a.b:443"),
            ("https://a.b:1", "a.b:1", "a.b:1"),
            ("1x://A.b", "A.b", "A.b:443"),
            ("://a.b", "a.b", "a.b:443"),
            ("a.b/", "a.b", "a.b:443"),
            ("a.b//", "a.b", "a.b:443"),
            ("a.b/p:1", "a.b", "a.b:443"),
            ("a.b:1/p/", "a.b:1", "a.b:1"),
            ("a.b:1?x/y:2", "a.b:1", "a.b:1"),
            ("a.b?x/y", "a.b", "a.b:443"),
            ("a.b?:x", "a.b", "a.b:443"),
            ("a.b/%20#f[x]@", "a.b", "a.b:443"),
            ("a%2e.b", "a%2e.b", "a%2e.b:443"),
            (
                "a_b.c-d~!$&'()*+,;=",
                "a_b.c-d~!$&'()*+,;=",
                "a_b.c-d~!$&'()*+,;=:443",
            ),
            ("a.b.c.d:99999999", "a.b.c.d:99999999", "a.b.c.d:99999999"),
            (".", ".", ".:443"),
        ] {
            let endpoint = Endpoint::parse(text, false).expect("the endpoint is acceptable");
            assert_eq!(
                (endpoint.stored(), endpoint.connect(443).as_str()),
                (stored, connect),
                "{text}"
            );
            assert_eq!(endpoint.to_string(), stored);
            assert_eq!(Endpoint::parse(stored, false).as_ref(), Ok(&endpoint));
        }
    }

    #[test]
    fn parse_splits_host_from_port() {
        let endpoint =
            Endpoint::parse("https://a.b:8443/p", false).expect("the endpoint is acceptable");
        assert_eq!((endpoint.host(), endpoint.port()), ("a.b", Some("8443")));
        let endpoint = Endpoint::parse("a.b", false).expect("the endpoint is acceptable");
        assert_eq!((endpoint.host(), endpoint.port()), ("a.b", None));
    }

    #[test]
    fn parse_accepts_hosts_without_a_dot_only_when_allowed() {
        for (text, connect) in [
            ("localhost", "localhost:5696"),
            ("localhost:1", "localhost:1"),
            ("x://localhost/a:1", "localhost:5696"),
            ("localhost?x", "localhost:5696"),
            ("a.b/://x", "x:5696"),
            ("", ":5696"),
        ] {
            let endpoint = Endpoint::parse(text, true).expect("the endpoint is acceptable");
            assert_eq!(endpoint.connect(5696), connect);
            assert_eq!(
                refusal(text, false),
                format!("Invalid endpoint, expected dot separator in host, but got: {text}")
            );
        }
    }

    #[test]
    fn parse_rejects_characters_that_no_uri_holds() {
        for (text, offset, byte) in [
            ("a b.c", 1, "20"),
            ("ht tp://a.b", 2, "20"),
            ("a.b\r\nX: y", 3, "0d"),
            ("a.b/\n", 4, "0a"),
            ("a.b?\u{1}", 4, "01"),
            ("a.b\0", 3, "00"),
            ("a.b\u{7f}", 3, "7f"),
            ("\u{e9}.b", 0, "c3"),
            ("a.b\\", 3, "5c"),
            ("a.b\"", 3, "22"),
            ("a.b/<", 4, "3c"),
            ("a.b>", 3, "3e"),
            ("a.b/^", 4, "5e"),
            ("a.b`", 3, "60"),
            ("a.b/{", 4, "7b"),
            ("a.b|", 3, "7c"),
            ("a.b}", 3, "7d"),
            ("local host", 5, "20"),
        ] {
            for allow_dotless in [false, true] {
                assert_eq!(
                    refusal(text, allow_dotless),
                    format!("Invalid character in endpoint at offset {offset}: 0x{byte}")
                );
            }
        }
    }

    #[test]
    fn parse_rejects_broken_percent_encoding() {
        for (text, offset, byte) in [
            ("a.b/%zz", 5, "7a"),
            ("a.b/%2", 6, "00"),
            ("a.b?a%z", 6, "7a"),
            ("%", 1, "00"),
            ("a%zz b.c", 2, "7a"),
        ] {
            assert_eq!(
                refusal(text, false),
                format!("Invalid percent-encoding in endpoint at offset {offset}: 0x{byte}")
            );
        }
    }

    #[test]
    fn parse_rejects_delimiters_in_the_host() {
        for (text, byte) in [
            ("u@a.b:x", "40"),
            ("a.b#f", "23"),
            ("http://https://a.b", "3a"),
            ("localhost/a.b", "2f"),
            ("localhost?a.b", "3f"),
            ("a:1.c", "3a"),
            ("a.b]", "5d"),
        ] {
            for allow_dotless in [false, true] {
                assert_eq!(
                    refusal(text, allow_dotless),
                    format!("Invalid character in endpoint host: 0x{byte}")
                );
            }
        }
        assert_eq!(
            refusal("[::1]:5", true),
            "Invalid character in endpoint host: 0x5b"
        );
    }

    #[test]
    fn parse_rejects_bad_ports() {
        for text in ["a.b:", "a.b:/p", "a.b:?x"] {
            assert_eq!(
                refusal(text, false),
                "Invalid endpoint, expected a port after the colon"
            );
        }
        assert_eq!(
            refusal("localhost:", true),
            "Invalid endpoint, expected a port after the colon"
        );
        for (text, byte) in [
            ("a.b:x", "78"),
            ("a.b:1x", "78"),
            ("a.b:1:2", "3a"),
            ("a.b:-1", "2d"),
            ("a.b:1.5", "2e"),
            ("a.b:1#", "23"),
        ] {
            assert_eq!(
                refusal(text, false),
                format!("Invalid character in endpoint port: 0x{byte}")
            );
        }
        assert_eq!(
            refusal("::1", true),
            "Invalid character in endpoint port: 0x3a"
        );
    }
}
