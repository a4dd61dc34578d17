//! Percent-encoding (RFC 3986 section 2.1): everything but unreserved characters, in upper-case hexadecimal.

use super::writer::SecretWriter;

/// Whether the byte stands for itself everywhere in a URI: a letter, a digit or one of `-._~`.
pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends `bytes`, encoded.
pub(super) fn push_encoded(bytes: &[u8], out: &mut SecretWriter) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if is_unreserved(byte) {
            out.push(&[byte]);
        } else {
            out.push(&[
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
    }
}
