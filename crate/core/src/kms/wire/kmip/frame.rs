//! One answer on the wire: a header that announces the length of the rest.

use crate::{
    error::{Code, Error, Result},
    secret::SecretBytes,
};

const HEADER_LEN: usize = 8;
/// As much as an HTTP body may have.
const MAX_LEN: usize = 16 * 1024 * 1024;
/// Most bytes asked for at once.
const MAX_NEED: usize = 1024;

/// Collects an answer. Memory grows with what has arrived, never with what was announced.
pub(in crate::kms::wire) struct FrameReader(SecretBytes);

impl FrameReader {
    pub(in crate::kms::wire) fn new() -> Self {
        Self(SecretBytes::with_capacity(MAX_NEED))
    }

    pub(in crate::kms::wire) fn bytes_needed(&self) -> usize {
        let bytes = self.0.expose();
        match self.announced_len() {
            None => HEADER_LEN - bytes.len(),
            Some(len) => (HEADER_LEN + len - bytes.len()).min(MAX_NEED),
        }
    }

    fn announced_len(&self) -> Option<usize> {
        let field = self.0.expose().get(4..HEADER_LEN)?;
        field
            .try_into()
            .ok()
            .map(|field| u32::from_be_bytes(field) as usize)
    }

    /// Takes at most as many bytes as are needed.
    ///
    /// Errors: `KMS_RESPONSE_TOO_LARGE`, from the header on.
    pub(in crate::kms::wire) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.reserve(bytes.len());
        self.0.expose_mut().extend_from_slice(bytes);
        match self.announced_len() {
            Some(len) if len > MAX_LEN => Err(Error::new(
                Code::KmsResponseTooLarge,
                "KMS response parser error with error: 'KMS KMIP response too large'",
            )),
            _ => Ok(()),
        }
    }

    /// Everything read so far. It may hold key material.
    pub(in crate::kms::wire) fn message(&self) -> &[u8] {
        self.0.expose()
    }
}
