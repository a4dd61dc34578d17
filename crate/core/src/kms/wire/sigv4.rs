//! AWS Signature Version 4: canonical request, string to sign, signature.
//!
//! Source: "AWS Signature Version 4 for API requests" in the AWS IAM User Guide; the published test suite passes.

use alloc::{format, string::String, vec::Vec};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{percent::push_encoded, writer::SecretWriter};
use crate::secret::{SecretBytes, scrub_stack, wipe};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// Not signed: proxies may change the one, and the other holds the signature.
const UNSIGNED: [&str; 2] = ["connection", "authorization"];

/// What is signed.
pub struct Request<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// The path as it is meant, not encoded.
    pub path: &'a str,
    /// What follows the question mark, encoded or not; empty without one.
    pub query: &'a str,
    /// Names and values. A value of several lines is a folded one.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body.
    pub body: &'a [u8],
}

/// What a signature is valid for.
pub struct Scope<'a> {
    /// The value of the header `X-Amz-Date`: `YYYYMMDDTHHMMSSZ`.
    pub date_time: &'a str,
    /// Region, such as `us-east-1`.
    pub region: &'a str,
    /// Service, such as `kms`.
    pub service: &'a str,
}

impl Scope<'_> {
    fn date(&self) -> &str {
        self.date_time.get(..8).unwrap_or(self.date_time)
    }

    fn text(&self) -> String {
        let Self {
            region, service, ..
        } = self;
        format!("{}/{region}/{service}/{TERMINATOR}", self.date())
    }
}

/// The request in the form that both sides compute. It holds a session token, if the request does.
///
/// Shape: method, path, query, headers, names of the headers and the digest of the body, each on a line of its own.
#[must_use]
pub fn canonical_request(request: &Request<'_>) -> SecretBytes {
    let mut out = SecretWriter::new();
    out.push(request.method.as_bytes());
    out.push(b"\n");
    push_path(request.path, &mut out);
    out.push(b"\n");
    push_query(request.query, &mut out);
    out.push(b"\n");
    for (name, values) in canonical_headers(request) {
        out.push(name.as_bytes());
        for (index, value) in values.into_iter().enumerate() {
            out.push(if index == 0 { b":" } else { b"," });
            push_collapsed(value, &mut out);
        }
        out.push(b"\n");
    }
    out.push(b"\n");
    out.push(signed_headers(request).as_bytes());
    out.push(b"\n");
    out.push(hex(&Sha256::digest(request.body)).as_bytes());
    out.into_bytes()
}

/// The names of the signed headers, joined by semicolons.
#[must_use]
pub fn signed_headers(request: &Request<'_>) -> String {
    let names: Vec<String> = canonical_headers(request)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.join(";")
}

/// What the signature is computed over.
///
/// Shape: algorithm, time, scope and the digest of the canonical request, each on a line of its own.
#[must_use]
pub fn string_to_sign(canonical_request: &[u8], scope: &Scope<'_>) -> String {
    format!(
        "{ALGORITHM}\n{}\n{}\n{}",
        scope.date_time,
        scope.text(),
        hex(&Sha256::digest(canonical_request))
    )
}

/// The value of the header `Authorization`.
#[must_use]
pub fn authorization(
    access_key_id: &str,
    secret_access_key: &[u8],
    request: &Request<'_>,
    scope: &Scope<'_>,
) -> String {
    let text = string_to_sign(canonical_request(request).expose(), scope);
    let signature = sign(secret_access_key, scope, &text);
    scrub_stack();
    format!(
        "{ALGORITHM} Credential={access_key_id}/{}, SignedHeaders={}, Signature={}",
        scope.text(),
        signed_headers(request),
        hex(&signature)
    )
}

/// HMAC chain: "AWS4" ‖ secret → date → region → service → terminator → text. Every link but the last is a key.
#[inline(never)]
fn sign(secret_access_key: &[u8], scope: &Scope<'_>, text: &str) -> [u8; 32] {
    let mut first = SecretWriter::new();
    first.push(b"AWS4");
    first.push(secret_access_key);
    let mut key = hmac(first.expose(), scope.date());
    for part in [scope.region, scope.service, TERMINATOR, text] {
        let next = hmac(&key, part);
        wipe(&mut key);
        key = next;
    }
    key
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case names in order, each with its values in the order of the request.
fn canonical_headers<'a>(request: &Request<'a>) -> Vec<(String, Vec<&'a [u8]>)> {
    let mut headers: Vec<(String, Vec<&[u8]>)> = Vec::new();
    for (name, value) in request.headers {
        let name = name.to_ascii_lowercase();
        if UNSIGNED.contains(&name.as_str()) {
            continue;
        }
        let values = value.split(|byte| *byte == b'\n');
        match headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.extend(values),
            None => headers.push((name, values.collect())),
        }
    }
    headers.sort_by(|(left, _), (right, _)| left.cmp(right));
    headers
}

/// Trims, and makes one space of several, also between quotes.
fn push_collapsed(value: &[u8], out: &mut SecretWriter) {
    let words = value
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(b" ");
        }
        out.push(word);
    }
}

/// Resolves `.`, `..` and empty segments (RFC 3986 section 5.2.4) and encodes the others.
fn push_path(path: &str, out: &mut SecretWriter) {
    let mut segments = Vec::new();
    let mut ends_in_folder = true;
    for segment in path.split('/') {
        ends_in_folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push(b"/");
        push_encoded(segment.as_bytes(), out);
    }
    if ends_in_folder {
        out.push(b"/");
    }
}

/// Encodes names and values and sorts by both.
fn push_query(query: &str, out: &mut SecretWriter) {
    let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (encoded(name), encoded(value))
        })
        .collect();
    parameters.sort();
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            out.push(b"&");
        }
        out.push(name);
        out.push(b"=");
        out.push(value);
    }
}

fn encoded(text: &str) -> Vec<u8> {
    let mut out = SecretWriter::new();
    push_encoded(&decoded(text), &mut out);
    out.expose().to_vec()
}

/// Resolves percent-encoding, so that what was encoded before is not encoded twice.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail
            .get(..2)
            .filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| core::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn canonical(path: &str, query: &str) -> (String, String) {
        let request = Request {
            method: "GET",
            path,
            query,
            headers: &[],
            body: b"",
        };
        let canonical = canonical_request(&request);
        let text = core::str::from_utf8(canonical.expose()).unwrap();
        let mut lines = text.lines().skip(1).map(ToString::to_string);
        (lines.next().unwrap(), lines.next().unwrap())
    }

    // The published suite is in tests/kms_wire_sigv4.rs. These are cases it lacks.

    #[test]
    fn paths_keep_their_last_slash_and_never_leave_the_root() {
        for (path, expected) in [
            ("", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/a%20b", "/a%2520b"),
        ] {
            assert_eq!(canonical(path, "").0, expected, "{path}");
        }
    }

    #[test]
    fn query_parameters_are_encoded_once() {
        for (query, expected) in [
            ("", ""),
            ("b&a", "a=&b="),
            ("a=b=c", "a=b%3Dc"),
            ("a=%2f&a=+", "a=%2B&a=%2F"),
            ("a=%2&b=%zz%", "a=%252&b=%25zz%25"),
            ("&&a", "a="),
        ] {
            assert_eq!(canonical("/", query).1, expected, "{query}");
        }
    }

    #[test]
    fn short_times_do_not_panic() {
        let scope = Scope {
            date_time: "2015",
            region: "r",
            service: "s",
        };
        assert!(string_to_sign(b"", &scope).contains("2015/r/s/aws4_request"));
    }
}
