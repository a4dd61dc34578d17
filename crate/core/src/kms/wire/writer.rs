//! Messages in the making: wiped memory that remembers where its secrets are.

use alloc::vec::Vec;
use core::{fmt, ops::Range};

use crate::secret::SecretBytes;

/// Bytes of a message. Growing never leaves a copy behind.
///
/// Secrets are pushed as such, so that an answer that echoes one can be kept out of error messages.
pub(super) struct SecretWriter {
    bytes: SecretBytes,
    secrets: Vec<Range<usize>>,
}

impl SecretWriter {
    /// Room for a request of usual size.
    pub(super) fn new() -> Self {
        Self {
            bytes: SecretBytes::with_capacity(512),
            secrets: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.expose().len()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.reserve(bytes.len());
        self.bytes.expose_mut().extend_from_slice(bytes);
    }

    pub(super) fn push_secret(&mut self, bytes: &[u8]) {
        self.mark_secret(|writer| writer.push(bytes));
    }

    /// Takes everything that `write` pushes for one secret.
    pub(super) fn mark_secret(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.len();
        write(self);
        self.secrets.push(start..self.len());
    }

    /// Appends `len` zero bytes and lends them out for writing.
    pub(super) fn space(&mut self, len: usize) -> &mut [u8] {
        let start = self.len();
        self.bytes.reserve(len);
        let bytes = self.bytes.expose_mut();
        bytes.resize(start + len, 0);
        &mut bytes[start..]
    }

    /// Appends another message with its secrets.
    pub(super) fn append(&mut self, other: &Self) {
        let start = self.len();
        self.push(other.expose());
        let moved = other.secrets.iter();
        self.secrets
            .extend(moved.map(|range| range.start + start..range.end + start));
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.bytes.expose()
    }

    /// Whether `text` quotes one of the secrets.
    pub(super) fn is_echoed_in(&self, text: &[u8]) -> bool {
        let bytes = self.expose();
        self.secrets.iter().any(|range| {
            let secret = &bytes[range.clone()];
            // Shorter ones would be found in texts that say nothing about them.
            secret.len() >= 4 && text.windows(secret.len()).any(|part| part == secret)
        })
    }

    pub(super) fn into_bytes(self) -> SecretBytes {
        self.bytes
    }
}

impl fmt::Write for SecretWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn an_appended_message_keeps_its_secrets() {
        let mut body = SecretWriter::new();
        body.push(b"key=");
        body.push_secret(b"hush!");
        let mut message = SecretWriter::new();
        message.push(&vec![b'x'; 2000]);
        message.append(&body);
        assert!(message.is_echoed_in(b"you sent hush! to me"));
        assert!(!message.is_echoed_in(b"you sent key= to me"));
        assert_eq!(message.len(), 2009);
    }

    #[test]
    fn space_is_zeroed_and_writable() {
        let mut message = SecretWriter::new();
        message.push(b"ab");
        let space = message.space(3);
        assert_eq!(space, [0; 3]);
        space.copy_from_slice(b"cde");
        assert_eq!(message.into_bytes().expose(), b"abcde");
    }
}
