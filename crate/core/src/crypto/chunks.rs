//! A byte string as a sequence of sealed chunks.
//!
//! ```text
//! nonce of chunk i   prefix (7) ‖ i (32 bits, big-endian) ‖ 1 for the last chunk, else 0
//! sealed chunk       AES-256-GCM ciphertext ‖ tag (16)
//! ```
//!
//! The counter finds chunks that were reordered, repeated or left out; the flag finds a cut at a chunk's end and bytes
//! that were added. All chunks are bound to the same associated data.
//!
//! Source: NIST SP 800-38D; the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (2015).

use alloc::vec::Vec;

use aes_gcm::{
    Aes256Gcm, Nonce, Tag,
    aead::{AeadInOut, KeyInit},
};

use crate::secret::{SecretBytes, SymmetricKey, scrub_stack};

/// Length of an authentication tag of AES-GCM in bytes.
pub const GCM_TAG_LEN: usize = 16;
/// Length of the random part of a nonce in bytes.
pub const NONCE_PREFIX_LEN: usize = 7;

/// A key that seals or opens the chunks of one byte string.
pub struct ChunkCipher {
    cipher: Aes256Gcm,
    prefix: [u8; NONCE_PREFIX_LEN],
}

impl ChunkCipher {
    /// Expands a key. A key must seal one byte string only: nonces repeat from one to the next.
    #[must_use]
    pub fn new(key: &SymmetricKey, prefix: [u8; NONCE_PREFIX_LEN]) -> Self {
        let cipher = Aes256Gcm::new(key.expose().into());
        scrub_stack();
        Self { cipher, prefix }
    }

    fn nonce(&self, index: u32, is_last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..NONCE_PREFIX_LEN].copy_from_slice(&self.prefix);
        nonce[NONCE_PREFIX_LEN..11].copy_from_slice(&index.to_be_bytes());
        nonce[11] = u8::from(is_last);
        nonce
    }

    /// Seals `plaintext` in chunks of `chunk_len` bytes and appends them to `out`. An empty plaintext is one empty chunk.
    ///
    /// Returns `false`, with nothing appended, when there would be more than 2^32 chunks.
    pub fn seal_into(
        &self,
        chunk_len: usize,
        associated_data: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let count = plaintext.len().div_ceil(chunk_len).max(1);
        let Ok(last) = u32::try_from(count - 1) else {
            return false;
        };
        // The plaintext is encrypted where it was copied to, so the buffer must not move.
        out.reserve(plaintext.len() + count * GCM_TAG_LEN);
        for index in 0..=last {
            let from = index as usize * chunk_len;
            let to = plaintext.len().min(from + chunk_len);
            let start = out.len();
            out.extend_from_slice(&plaintext[from..to]);
            let tag = self.cipher.encrypt_inout_detached(
                &Nonce::from(self.nonce(index, index == last)),
                associated_data,
                (&mut out[start..]).into(),
            );
            // GCM refuses messages of 64 GiB and more.
            out.extend_from_slice(&tag.expect("a chunk is shorter than the limit of GCM"));
        }
        true
    }

    /// Opens chunks of `chunk_len` bytes. Nothing is given out unless every chunk is as it was sealed.
    ///
    /// Errors: the number of the first chunk that is not.
    pub fn open(
        &self,
        chunk_len: usize,
        associated_data: &[u8],
        sealed: &[u8],
    ) -> core::result::Result<SecretBytes, usize> {
        let sealed_len = chunk_len + GCM_TAG_LEN;
        let count = sealed.len().div_ceil(sealed_len).max(1);
        let mut opened = SecretBytes::with_capacity(sealed.len());
        for index in 0..count {
            let from = index * sealed_len;
            let chunk = &sealed[from..sealed.len().min(from + sealed_len)];
            let is_last = index + 1 == count;
            let counter = u32::try_from(index).map_err(|_| index)?;
            let Some(plaintext_len) = chunk.len().checked_sub(GCM_TAG_LEN) else {
                return Err(index);
            };
            // An empty chunk stands alone: after others it would be a second spelling of the same bytes.
            if plaintext_len == 0 && index > 0 {
                return Err(index);
            }
            let (ciphertext, tag) = chunk.split_at(plaintext_len);
            let tag = Tag::try_from(tag).map_err(|_| index)?;
            let out = opened.expose_mut();
            let start = out.len();
            out.extend_from_slice(ciphertext);
            let result = self.cipher.decrypt_inout_detached(
                &Nonce::from(self.nonce(counter, is_last)),
                associated_data,
                (&mut out[start..]).into(),
                &tag,
            );
            if result.is_err() {
                return Err(index);
            }
        }
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> ChunkCipher {
        let key = SymmetricKey::fill_with(|out| {
            out.fill(7);
            Ok(())
        });
        ChunkCipher::new(&key.unwrap(), [3; NONCE_PREFIX_LEN])
    }

    fn sealed(len: usize) -> Vec<u8> {
        let plaintext: Vec<u8> = (0..len).map(|index| index as u8).collect();
        let mut out = Vec::new();
        assert!(cipher().seal_into(16, b"header", &plaintext, &mut out));
        out
    }

    #[test]
    fn open_undoes_seal_for_every_length_around_chunk_edges() {
        for len in 0..=70 {
            let opened = cipher().open(16, b"header", &sealed(len)).unwrap();
            let expected: Vec<u8> = (0..len).map(|index| index as u8).collect();
            assert_eq!(opened.expose(), expected);
        }
    }

    #[test]
    fn open_finds_every_altered_bit() {
        let good = sealed(40);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cipher().open(16, b"header", &bad).err(), Some(bit / 8 / 32));
        }
    }

    #[test]
    fn open_finds_every_cut_and_every_added_byte() {
        let good = sealed(40);
        for len in 0..good.len() {
            assert!(cipher().open(16, b"header", &good[..len]).is_err(), "{len}");
        }
        for added in 1..40 {
            let longer = [&good[..], &alloc::vec![0; added]].concat();
            assert!(cipher().open(16, b"header", &longer).is_err());
        }
    }

    #[test]
    fn open_finds_chunks_in_another_order_or_twice_or_of_another_header() {
        let good = sealed(48);
        let chunks: Vec<&[u8]> = good.chunks(32).collect();
        for order in [[1, 0, 2], [0, 0, 2], [0, 2, 1], [2, 1, 0]] {
            let moved: Vec<u8> = order
                .iter()
                .flat_map(|index| chunks[*index].to_vec())
                .collect();
            assert!(cipher().open(16, b"header", &moved).is_err());
        }
        let doubled = [chunks[0], chunks[1], chunks[1], chunks[2]].concat();
        assert_eq!(cipher().open(16, b"header", &doubled).err(), Some(2));
        assert_eq!(cipher().open(16, b"another", &good).err(), Some(0));
    }
}
