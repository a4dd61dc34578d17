//! Many values at once.
//!
//! The software AES that WebAssembly gets is bit-sliced: it transforms several blocks for the price of one. A field of a
//! document is one or two blocks, so values are collected and their blocks are handed over together. The bytes are the
//! same as one by one.

use alloc::vec::Vec;
use core::{mem, ops::Range};

use aes::{Aes256, cipher::Block};

use super::{
    AeadKey, BLOCK_LEN, IV_LEN, TAG_LEN,
    aead::{padded_len, push_padding, unchain, unpadded_len, xor},
};
use crate::{error::Result, secret::SecretBytes};

/// Opens many sealed values: every tag is verified before the first block is decrypted.
pub struct OpenBatch<'a> {
    items: Vec<Sealed<'a>>,
    blocks: SecretBytes,
}

/// The bytes of all plaintexts, and where each of them is.
type Opened = (SecretBytes, Vec<Range<usize>>);

struct Sealed<'a> {
    key: &'a AeadKey,
    /// IV ‖ ciphertext.
    chained: &'a [u8],
    blocks: Range<usize>,
}

impl Sealed<'_> {
    /// Long values go to the host one by one.
    fn is_lent(&self) -> bool {
        self.key.lends_decryption_of(self.blocks.len())
    }

    fn go_together(&self, next: &Self) -> bool {
        core::ptr::eq(self.key, next.key) && !self.is_lent() && !next.is_lent()
    }
}

impl<'a> OpenBatch<'a> {
    /// A batch for values whose sealed lengths add up to at most `sealed_bytes`.
    #[must_use]
    pub fn with_capacity(values: usize, sealed_bytes: usize) -> Self {
        Self {
            items: Vec::with_capacity(values),
            blocks: SecretBytes::with_capacity(sealed_bytes),
        }
    }

    /// Verifies one value and adds it.
    ///
    /// Errors: `CRYPTO_INPUT_TOO_SHORT`, `CRYPTO_AUTHENTICATION_FAILED`; the batch is unchanged then.
    pub fn push(
        &mut self,
        key: &'a AeadKey,
        associated_data: &[u8],
        sealed: &'a [u8],
    ) -> Result<()> {
        let ciphertext = key.authenticate(associated_data, sealed)?;
        self.blocks.reserve(ciphertext.len());
        let start = self.blocks.expose().len();
        self.blocks.expose_mut().extend_from_slice(ciphertext);
        self.items.push(Sealed {
            key,
            chained: &sealed[..IV_LEN + ciphertext.len()],
            blocks: start..start + ciphertext.len(),
        });
        Ok(())
    }

    /// Decrypts all values. The plaintexts are ranges of the returned bytes, in the order of the pushes.
    ///
    /// Errors: the index of the value whose padding is malformed, with `CRYPTO_AUTHENTICATION_FAILED`.
    pub fn open(mut self) -> core::result::Result<Opened, (usize, crate::Error)> {
        let blocks = self.blocks.expose_mut();
        for run in self.items.chunk_by(Sealed::go_together) {
            let (first, last) = (&run[0], &run[run.len() - 1]);
            if first.is_lent() {
                let key = first.key;
                key.decrypt_chain(first.chained, &mut blocks[first.blocks.clone()]);
                continue;
            }
            first
                .key
                .decrypt_ecb(&mut blocks[first.blocks.start..last.blocks.end]);
            for item in run {
                unchain(item.chained, &mut blocks[item.blocks.clone()]);
            }
        }
        let mut plaintexts = Vec::with_capacity(self.items.len());
        for (index, item) in self.items.iter().enumerate() {
            let len = unpadded_len(&blocks[item.blocks.clone()]).map_err(|error| (index, error))?;
            plaintexts.push(item.blocks.start..item.blocks.start + len);
        }
        Ok((self.blocks, plaintexts))
    }
}

/// Seals many values. Each comes out as associated data ‖ IV ‖ ciphertext ‖ tag, which is what a subtype-6 value stores.
pub struct SealBatch<'a> {
    items: Vec<Plain<'a>>,
    bytes: SecretBytes,
}

struct Plain<'a> {
    key: &'a AeadKey,
    blob: Range<usize>,
    associated_data_len: usize,
}

impl Plain<'_> {
    fn block(&self, index: usize) -> Range<usize> {
        let start = self.blob.start + self.associated_data_len + index * BLOCK_LEN;
        start..start + BLOCK_LEN
    }

    /// Blocks of the chain, without the IV in front of them.
    fn block_count(&self) -> usize {
        (self.blob.len() - self.associated_data_len - IV_LEN - TAG_LEN) / BLOCK_LEN
    }

    /// Long values go to the host one by one.
    fn is_lent(&self) -> bool {
        self.key.lends_encryption_of(self.block_count() * BLOCK_LEN)
    }

    fn go_together(&self, next: &Self) -> bool {
        core::ptr::eq(self.key, next.key) && !self.is_lent() && !next.is_lent()
    }

    fn encrypt_alone(&self, bytes: &mut [u8]) {
        let chain = &mut bytes[self.block(0).start..self.blob.end - TAG_LEN];
        let (iv, blocks) = chain.split_at_mut(IV_LEN);
        let iv: &[u8; IV_LEN] = (&*iv).try_into().expect("one block");
        self.key.encrypt_chain(iv, blocks);
    }
}

/// How many chains advance together: two passes of the four-block cipher keep its set-up cost small.
const LANES: usize = 8;

impl<'a> SealBatch<'a> {
    /// An empty batch with room for `capacity` output bytes.
    #[must_use]
    pub fn with_capacity(values: usize, capacity: usize) -> Self {
        Self {
            items: Vec::with_capacity(values),
            bytes: SecretBytes::with_capacity(capacity),
        }
    }

    /// Adds one value.
    pub fn push(
        &mut self,
        key: &'a AeadKey,
        iv: &[u8; IV_LEN],
        associated_data: &[u8],
        plaintext: &[u8],
    ) {
        let len = associated_data.len() + IV_LEN + padded_len(plaintext.len()) + TAG_LEN;
        self.bytes.reserve(len);
        let bytes = self.bytes.expose_mut();
        let start = bytes.len();
        bytes.extend_from_slice(associated_data);
        bytes.extend_from_slice(iv);
        bytes.extend_from_slice(plaintext);
        push_padding(plaintext.len(), bytes);
        bytes.extend_from_slice(&[0; TAG_LEN]);
        self.items.push(Plain {
            key,
            blob: start..start + len,
            associated_data_len: associated_data.len(),
        });
    }

    /// Encrypts all values and returns the blobs as ranges of the bytes, in the order of the pushes.
    #[must_use]
    pub fn seal(mut self) -> (Vec<u8>, Vec<Range<usize>>) {
        let bytes = self.bytes.expose_mut();
        for run in self.items.chunk_by(Plain::go_together) {
            if run[0].is_lent() {
                run[0].encrypt_alone(bytes);
                continue;
            }
            for lanes in run.chunks(LANES) {
                encrypt_chains(lanes, bytes);
            }
        }
        for item in &self.items {
            let body_end = item.blob.end - TAG_LEN;
            let (associated_data, body) =
                bytes[item.blob.start..body_end].split_at(item.associated_data_len);
            let tag = item.key.tag_of(associated_data, body);
            bytes[body_end..item.blob.end].copy_from_slice(&tag);
        }
        // Nothing secret is left in the buffer: every plaintext block was replaced by ciphertext.
        let blobs = self.items.into_iter().map(|item| item.blob).collect();
        (mem::take(self.bytes.expose_mut()), blobs)
    }
}

/// Cipher block chaining, one block of every lane at a time.
fn encrypt_chains(lanes: &[Plain<'_>], bytes: &mut [u8]) {
    let longest = lanes.iter().map(Plain::block_count).max().unwrap_or(0);
    let mut blocks = [Block::<Aes256>::default(); LANES];
    for index in 1..=longest {
        let mut active = 0;
        for lane in lanes.iter().filter(|lane| lane.block_count() >= index) {
            let block = &mut blocks[active];
            block.copy_from_slice(&bytes[lane.block(index)]);
            let previous: &Block<Aes256> = (&bytes[lane.block(index - 1)])
                .try_into()
                .expect("one block");
            xor(block, previous);
            active += 1;
        }
        lanes[0].key.encrypt_blocks(&mut blocks[..active]);
        let mut done = blocks[..active].iter();
        for lane in lanes.iter().filter(|lane| lane.block_count() >= index) {
            bytes[lane.block(index)]
                .copy_from_slice(done.next().expect("one block per active lane"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, secret::KeyMaterial};
    use proptest::prelude::*;

    fn key(byte: u8) -> AeadKey {
        AeadKey::new(&KeyMaterial::copy_from(&[byte; 96]).unwrap())
    }

    proptest! {
        #[test]
        fn a_batch_gives_the_same_bytes_as_one_by_one(
            values in prop::collection::vec((0usize..2, any::<[u8; 16]>(), prop::collection::vec(any::<u8>(), 0..70)), 0..40),
        ) {
            let keys = [key(1), key(2)];
            let mut batch = SealBatch::with_capacity(values.len(), 0);
            for (which, iv, plaintext) in &values {
                batch.push(&keys[*which], iv, b"associated", plaintext);
            }
            let (bytes, blobs) = batch.seal();
            let mut open = OpenBatch::with_capacity(values.len(), 0);
            for ((which, iv, plaintext), blob) in values.iter().zip(&blobs) {
                let mut expected = b"associated".to_vec();
                keys[*which].seal_into(iv, b"associated", plaintext, &mut expected);
                prop_assert_eq!(&bytes[blob.clone()], &expected[..]);
                open.push(&keys[*which], b"associated", &bytes[blob.start + 10..blob.end]).unwrap();
            }
            let (opened, plaintexts) = open.open().ok().unwrap();
            for ((_, _, plaintext), range) in values.iter().zip(plaintexts) {
                prop_assert_eq!(&opened.expose()[range], &plaintext[..]);
            }
        }
    }

    #[test]
    fn push_refuses_an_altered_value_and_keeps_the_batch() {
        let key = key(1);
        let mut sealed = Vec::new();
        key.seal_into(&[0; 16], b"a", b"plain", &mut sealed);
        let mut altered = sealed.clone();
        altered[20] ^= 1;
        let mut batch = OpenBatch::with_capacity(2, 0);
        batch.push(&key, b"a", &sealed).unwrap();
        assert_eq!(
            batch.push(&key, b"a", &altered).unwrap_err().code(),
            Code::CryptoAuthenticationFailed
        );
        let (bytes, plaintexts) = batch.open().ok().unwrap();
        assert_eq!(plaintexts.len(), 1);
        assert_eq!(&bytes.expose()[plaintexts[0].clone()], b"plain");
    }
}
