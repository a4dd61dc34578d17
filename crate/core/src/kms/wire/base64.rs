//! Base64 (RFC 4648) without tables indexed by secrets, into and out of wiped memory.

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};

use super::writer::SecretWriter;
use crate::secret::SecretBytes;

/// Appends `bytes` in the standard alphabet, padded.
pub(super) fn push_standard(bytes: &[u8], out: &mut SecretWriter) {
    push::<Base64>(bytes, out);
}

/// Appends `bytes` in the URL-safe alphabet, padded as libmongocrypt pads.
pub(super) fn push_url(bytes: &[u8], out: &mut SecretWriter) {
    push::<Base64Url>(bytes, out);
}

fn push<E: Encoding>(bytes: &[u8], out: &mut SecretWriter) {
    let space = out.space(bytes.len().div_ceil(3) * 4);
    E::encode(bytes, space).expect("padded base64 has four characters for every three bytes");
}

/// Reads the standard alphabet with padding; white space is skipped.
///
/// COMPAT: libmongocrypt skips white space too, and KMS answers are short enough to do so.
pub(super) fn decode_standard(text: &[u8]) -> Option<SecretBytes> {
    let text = without_white_space(text);
    decode::<Base64>(text.expose())
}

/// Reads the URL-safe alphabet with or without padding. COMPAT: the standard alphabet is taken as well.
pub(super) fn decode_url(text: &[u8]) -> Option<SecretBytes> {
    let mut text = without_white_space(text);
    let bytes = text.expose_mut();
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 || (padding > 0 && !bytes.len().is_multiple_of(4)) {
        return None;
    }
    bytes.truncate(bytes.len() - padding);
    if bytes.iter().any(|byte| matches!(byte, b'+' | b'/')) {
        decode::<Base64Unpadded>(bytes)
    } else {
        decode::<Base64UrlUnpadded>(bytes)
    }
}

fn decode<E: Encoding>(text: &[u8]) -> Option<SecretBytes> {
    let mut out = SecretBytes::with_capacity(text.len());
    out.expose_mut().resize(text.len(), 0);
    let len = E::decode(text, out.expose_mut()).ok()?.len();
    out.expose_mut().truncate(len);
    Some(out)
}

fn without_white_space(text: &[u8]) -> SecretBytes {
    let mut kept = SecretBytes::with_capacity(text.len());
    for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        kept.expose_mut().push(*byte);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn standard(text: &str) -> Option<Vec<u8>> {
        decode_standard(text.as_bytes()).map(|bytes| bytes.expose().to_vec())
    }

    fn url(text: &str) -> Option<Vec<u8>> {
        decode_url(text.as_bytes()).map(|bytes| bytes.expose().to_vec())
    }

    #[test]
    fn what_was_encoded_decodes() {
        for len in 0..70u8 {
            let bytes: Vec<u8> = (0..len).map(|i| i.wrapping_mul(37) ^ 0xf3).collect();
            let mut out = SecretWriter::new();
            push_standard(&bytes, &mut out);
            assert_eq!(
                decode_standard(out.expose()).unwrap().expose(),
                bytes.as_slice()
            );
            let mut out = SecretWriter::new();
            push_url(&bytes, &mut out);
            assert_eq!(decode_url(out.expose()).unwrap().expose(), bytes.as_slice());
        }
    }

    #[test]
    fn the_standard_alphabet_wants_padding_and_skips_white_space() {
        assert_eq!(standard(" a\r\nGk= "), Some(b"hi".to_vec()));
        assert_eq!(standard(""), Some(Vec::new()));
        for text in [
            "aGk", "aG", "a", "====", "aGk==", "aGk=aGk=", "_-==", "AB==", "!!!!", "é",
        ] {
            assert_eq!(standard(text), None, "{text}");
        }
    }

    #[test]
    fn the_url_alphabet_takes_both_spellings_with_and_without_padding() {
        for text in ["_-8=", "_-8", "/+8=", "/+8"] {
            assert_eq!(url(text), Some(b"\xff\xef".to_vec()), "{text}");
        }
        for text in ["_-8==", "_+8=", "_-", "a===", "====", "=", "AB", "!!"] {
            assert_eq!(url(text), None, "{text}");
        }
    }
}
