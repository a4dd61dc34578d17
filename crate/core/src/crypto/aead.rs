//! One value: seal and open.
//!
//! ```text
//! M  plaintext            AD  associated data        AL  bit length of AD, 64 bits big-endian
//! IV deterministic: first 16 bytes of HMAC-SHA-512(iv_key, AD ‖ AL ‖ M); random: 16 random bytes
//! S  AES-256-CBC(enc_key, IV, M padded by 1..16 bytes, each the pad length)
//! T  first 32 bytes of HMAC-SHA-512(mac_key, AD ‖ IV ‖ S ‖ AL)
//! sealed = IV ‖ S ‖ T
//! ```
//!
//! Source: RFC 7518 section 5.2.2; draft-mcgrew-aead-aes-cbc-hmac-sha2-05 with the tag cut to 32 bytes.

use alloc::{boxed::Box, vec::Vec};

use aes::{
    Aes256,
    cipher::{Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};
use hmac::{Hmac, Mac};
use sha2::Sha512;
use subtle::ConstantTimeEq;

use super::host_primitives::{HmacKey, HostPrimitives, Lent};
use crate::{
    error::{Code, Error, Result},
    secret::{KeyMaterial, scrub_stack, wipe},
};

/// Length of the initialisation vector in bytes.
pub const IV_LEN: usize = 16;
/// Length of the authentication tag in bytes: HMAC-SHA-512 cut in half.
pub const TAG_LEN: usize = 32;
/// Block length of AES in bytes.
pub const BLOCK_LEN: usize = 16;
/// Length of the shortest sealed value in bytes: IV, one block, tag.
pub const MIN_SEALED_LEN: usize = IV_LEN + BLOCK_LEN + TAG_LEN;

/// Length in bytes of what sealing `plaintext_len` bytes gives: padding always adds 1 to 16 bytes.
#[must_use]
pub const fn sealed_len(plaintext_len: usize) -> usize {
    IV_LEN + padded_len(plaintext_len) + TAG_LEN
}

pub(super) const fn padded_len(plaintext_len: usize) -> usize {
    (plaintext_len / BLOCK_LEN + 1) * BLOCK_LEN
}

type HmacSha512 = Hmac<Sha512>;

/// The three sub-keys of 96 bytes of key material, expanded once: the AES round keys, and the HMAC states after their
/// inner and outer pad. Wiped on drop.
pub struct AeadKey(Box<Expanded>);

struct Expanded {
    mac: HmacSha512,
    cipher: Aes256,
    iv: HmacSha512,
    lent: Option<Lent>,
}

impl AeadKey {
    /// Expands the key material: bytes 0-31 MAC key, 32-63 encryption key, 64-95 IV key.
    #[must_use]
    pub fn new(material: &KeyMaterial) -> Self {
        Self::with_host(material, None)
    }

    /// The same, with long values left to a host that lends its primitives.
    #[must_use]
    pub fn with_host(material: &KeyMaterial, host: Option<&'static dyn HostPrimitives>) -> Self {
        let key = Self::expand(material, host);
        scrub_stack();
        key
    }

    #[inline(never)]
    fn expand(material: &KeyMaterial, host: Option<&'static dyn HostPrimitives>) -> Self {
        let (mac_key, rest) = material.expose().split_at(32);
        let (enc_key, iv_key) = rest.split_at(32);
        let keyed = |key| HmacSha512::new_from_slice(key).expect("HMAC takes keys of any length");
        Self(Box::new(Expanded {
            mac: keyed(mac_key),
            cipher: Aes256::new_from_slice(enc_key).expect("the encryption key is 32 bytes"),
            iv: keyed(iv_key),
            lent: host.map(|host| Lent::new(host, material)),
        }))
    }

    /// The deterministic initialisation vector for a plaintext: equal inputs give equal bytes.
    #[must_use]
    pub fn derive_iv(&self, associated_data: &[u8], plaintext: &[u8]) -> [u8; IV_LEN] {
        let bit_len = bit_len(associated_data);
        self.hmac(HmacKey::Iv, [associated_data, &bit_len, plaintext])
    }

    /// Seals `plaintext` and appends IV ‖ ciphertext ‖ tag to `out`.
    ///
    /// Shape: appends exactly [`sealed_len`] bytes. `iv` must be random, or come from [`AeadKey::derive_iv`].
    pub fn seal_into(
        &self,
        iv: &[u8; IV_LEN],
        associated_data: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.reserve(sealed_len(plaintext.len()));
        out.extend_from_slice(iv);
        out.extend_from_slice(plaintext);
        push_padding(plaintext.len(), out);
        self.encrypt_chain(iv, &mut out[start + IV_LEN..]);
        let tag = self.tag(associated_data, &out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Opens a sealed value and appends the plaintext to `out`.
    ///
    /// Shape: `sealed` = IV (16) ‖ ciphertext (16·n, n ≥ 1) ‖ tag (32).
    /// Errors: `CRYPTO_INPUT_TOO_SHORT`; `CRYPTO_AUTHENTICATION_FAILED` on any mismatch. `out` is untouched then.
    pub fn open_into(
        &self,
        associated_data: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let ciphertext = self.authenticate(associated_data, sealed)?;
        let start = out.len();
        out.extend_from_slice(ciphertext);
        self.decrypt_chain(&sealed[..IV_LEN + ciphertext.len()], &mut out[start..]);
        let plaintext_len = unpadded_len(&out[start..]);
        match plaintext_len {
            Ok(len) => out.truncate(start + len),
            Err(_) => {
                wipe(&mut out[start..]);
                out.truncate(start);
            }
        }
        plaintext_len.map(|_| ())
    }

    /// Checks length and tag in constant time, before anything is decrypted, and returns the ciphertext blocks.
    pub(super) fn authenticate<'a>(
        &self,
        associated_data: &[u8],
        sealed: &'a [u8],
    ) -> Result<&'a [u8]> {
        if sealed.len() < MIN_SEALED_LEN {
            return Err(Error::new(
                Code::CryptoInputTooShort,
                // The wording of libmongocrypt 1.21.0; exactly 64 bytes are accepted all the same.
                "input ciphertext too small. Must be more than 64 bytes",
            )
            .with("found", sealed.len()));
        }
        let (body, tag) = sealed.split_at(sealed.len() - TAG_LEN);
        if !bool::from(self.tag(associated_data, body).ct_eq(tag)) {
            return Err(Error::new(
                Code::CryptoAuthenticationFailed,
                "HMAC validation failure",
            ));
        }
        let ciphertext = &body[IV_LEN..];
        if ciphertext.len() % BLOCK_LEN != 0 {
            return Err(malformed());
        }
        Ok(ciphertext)
    }

    fn tag(&self, associated_data: &[u8], body: &[u8]) -> [u8; TAG_LEN] {
        self.hmac(
            HmacKey::Mac,
            [associated_data, body, &bit_len(associated_data)],
        )
    }

    /// The first bytes of the HMAC.
    fn hmac<const N: usize>(&self, key: HmacKey, parts: [&[u8]; 3]) -> [u8; N] {
        let lent = self.0.lent.as_ref();
        if let Some(hmac) = lent.and_then(|lent| lent.hmac(key, parts)) {
            return first_bytes(&hmac);
        }
        let mut hmac = match key {
            HmacKey::Mac => self.0.mac.clone(),
            HmacKey::Iv => self.0.iv.clone(),
        };
        for part in parts {
            hmac.update(part);
        }
        first_bytes(&hmac.finalize().into_bytes())
    }

    pub(crate) fn tag_of(&self, associated_data: &[u8], body: &[u8]) -> [u8; TAG_LEN] {
        self.tag(associated_data, body)
    }

    /// Whether the host takes a chain of this many bytes.
    pub(super) fn lends_encryption_of(&self, len: usize) -> bool {
        let lent = self.0.lent.as_ref();
        lent.is_some_and(|lent| lent.takes_encryption_of(len))
    }

    /// Whether the host takes a chain of this many bytes.
    pub(super) fn lends_decryption_of(&self, len: usize) -> bool {
        let lent = self.0.lent.as_ref();
        lent.is_some_and(|lent| lent.takes_decryption_of(len))
    }

    /// Cipher block chaining over whole blocks, in place.
    pub(super) fn encrypt_chain(&self, iv: &[u8; IV_LEN], blocks: &mut [u8]) {
        let lent = self.0.lent.as_ref();
        if lent.is_some_and(|lent| lent.encrypt(iv, blocks)) {
            return;
        }
        let mut previous: Block<Aes256> = (*iv).into();
        for chunk in blocks.chunks_exact_mut(BLOCK_LEN) {
            let block: &mut Block<Aes256> = chunk.try_into().expect("chunks are one block long");
            xor(block, &previous);
            self.0.cipher.encrypt_block(block);
            previous = *block;
        }
    }

    /// Undoes [`AeadKey::encrypt_chain`] on a copy of the ciphertext. `chained` = IV ‖ ciphertext.
    pub(super) fn decrypt_chain(&self, chained: &[u8], blocks: &mut [u8]) {
        let lent = self.0.lent.as_ref();
        if lent.is_some_and(|lent| lent.decrypt(&chained[..IV_LEN], blocks)) {
            return;
        }
        self.decrypt_ecb(blocks);
        unchain(chained, blocks);
    }

    pub(super) fn encrypt_blocks(&self, blocks: &mut [Block<Aes256>]) {
        self.0.cipher.encrypt_blocks(blocks);
    }

    /// Decrypts whole blocks without chaining; the cipher works on several at once.
    pub(super) fn decrypt_ecb(&self, blocks: &mut [u8]) {
        let (blocks, rest) = Block::<Aes256>::slice_as_chunks_mut(blocks);
        debug_assert!(rest.is_empty(), "whole blocks only");
        self.0.cipher.decrypt_blocks(blocks);
    }
}

/// Undoes the chaining of `decrypted` with the ciphertext before it.
///
/// `chained` = IV ‖ ciphertext: exactly one block longer than `decrypted`.
pub(super) fn unchain(chained: &[u8], decrypted: &mut [u8]) {
    for (byte, previous) in decrypted.iter_mut().zip(chained) {
        *byte ^= previous;
    }
}

/// The length of decrypted blocks without their padding.
pub(super) fn unpadded_len(decrypted: &[u8]) -> Result<usize> {
    // Stricter than the reference, which reads the last byte alone: the tag was verified, so no oracle arises.
    let padding = usize::from(decrypted.last().copied().unwrap_or(0));
    if padding == 0 || padding > BLOCK_LEN || padding > decrypted.len() {
        return Err(malformed());
    }
    let plaintext_len = decrypted.len() - padding;
    if decrypted[plaintext_len..]
        .iter()
        .any(|byte| usize::from(*byte) != padding)
    {
        return Err(malformed());
    }
    Ok(plaintext_len)
}

/// Same code and detail for every failure behind the tag, so that none of them can be told apart.
fn malformed() -> Error {
    Error::new(
        Code::CryptoAuthenticationFailed,
        "error, ciphertext malformed padding",
    )
}

pub(super) fn push_padding(plaintext_len: usize, out: &mut Vec<u8>) {
    let padding = BLOCK_LEN - plaintext_len % BLOCK_LEN;
    out.extend(core::iter::repeat_n(padding as u8, padding));
}

pub(super) fn xor(block: &mut Block<Aes256>, other: &Block<Aes256>) {
    for (byte, other) in block.iter_mut().zip(other) {
        *byte ^= other;
    }
}

/// AL: the length in *bits*, big-endian (RFC 7518 section 5.2.2.1).
fn bit_len(associated_data: &[u8]) -> [u8; 8] {
    (associated_data.len() as u64 * 8).to_be_bytes()
}

fn first_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&bytes[..N]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex::decode;
    use proptest::prelude::*;

    fn key(material: &[u8]) -> AeadKey {
        AeadKey::new(&KeyMaterial::copy_from(material).unwrap())
    }

    fn sealed(key: &AeadKey, iv: &[u8; 16], ad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        key.seal_into(iv, ad, plaintext, &mut out);
        out
    }

    // RFC 7518 appendix B.3: MAC key 00..1f, encryption key 20..3f.
    #[test]
    fn seal_gives_the_published_vector() {
        let mut material: Vec<u8> = (0x00..=0x3f).collect();
        material.resize(96, 0);
        let plaintext =
            b"A cipher system must not be required to be secret, and it must be able to fall into \
                          the hands of the enemy without inconvenience";
        let ad = b"The second principle of Auguste Kerckhoffs";
        let iv: [u8; 16] = decode("1af38c2dc2b96ffdd86694092341bc04")
            .unwrap()
            .try_into()
            .unwrap();
        let expected = decode(concat!(
            "1af38c2dc2b96ffdd86694092341bc04",
            "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd822c301dd67c373bccb584ad3e9279c2",
            "e6d12a1374b77f077553df829410446b36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3",
            "a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950bbe2638d09dd7a4930930806d0703b1f6",
            "4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5",
        ))
        .unwrap();
        let key = key(&material);
        assert_eq!(sealed(&key, &iv, ad, plaintext), expected);
        let mut opened = Vec::new();
        key.open_into(ad, &expected, &mut opened).unwrap();
        assert_eq!(opened, plaintext);
    }

    #[test]
    fn open_leaves_the_output_untouched_on_failure() {
        let key = key(&[7; 96]);
        let mut bytes = sealed(&key, &[1; 16], b"ad", b"secret");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let mut out = b"before".to_vec();
        let error = key.open_into(b"ad", &bytes, &mut out).unwrap_err();
        assert_eq!(error.code(), Code::CryptoAuthenticationFailed);
        assert_eq!(out, b"before");
    }

    #[test]
    fn open_rejects_less_than_one_block() {
        let error = key(&[7; 96])
            .open_into(b"", &[0; 63], &mut Vec::new())
            .unwrap_err();
        assert_eq!(error.code(), Code::CryptoInputTooShort);
    }

    #[test]
    fn open_rejects_an_authentic_ciphertext_that_is_not_whole_blocks_or_badly_padded() {
        let key = key(&[7; 96]);
        for body in [[3u8; 16 + 17].as_slice(), &[3u8; 16 + 16]] {
            let mut forged = body.to_vec();
            forged.extend_from_slice(&key.tag(b"", body));
            let mut out = Vec::new();
            let error = key.open_into(b"", &forged, &mut out).unwrap_err();
            assert_eq!(error.code(), Code::CryptoAuthenticationFailed);
            assert!(out.is_empty());
        }
    }

    /// An authentic value that decrypts to these blocks, padding included.
    fn forged(key: &AeadKey, padded: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![0x21; IV_LEN];
        for chunk in padded.chunks_exact(BLOCK_LEN) {
            let mut block: Block<Aes256> = chunk.try_into().unwrap();
            let previous: Block<Aes256> = bytes[bytes.len() - BLOCK_LEN..].try_into().unwrap();
            xor(&mut block, &previous);
            key.encrypt_blocks(core::slice::from_mut(&mut block));
            bytes.extend_from_slice(&block);
        }
        let tag = key.tag(b"", &bytes);
        bytes.extend_from_slice(&tag);
        bytes
    }

    #[test]
    fn open_rejects_every_padding_that_sealing_does_not_write() {
        let key = key(&[7; 96]);
        let mut inconsistent = [0; 16];
        inconsistent[13..].copy_from_slice(&[2, 3, 3]);
        // The last: 17 bytes of 17 over two blocks, right but for the length of a block.
        let wrong: [&[u8]; 5] = [&[0; 16], &[17; 16], &[255; 16], &inconsistent, &[17; 32]];
        for padded in wrong {
            let mut out = Vec::new();
            let error = key
                .open_into(b"", &forged(&key, padded), &mut out)
                .unwrap_err();
            assert_eq!(error.code(), Code::CryptoAuthenticationFailed, "{padded:?}");
            assert!(out.is_empty());
        }
        let mut three = [9; 16];
        three[13..].fill(3);
        for (padded, plaintext) in [([16; 16], &[][..]), (three, &[9; 13])] {
            let mut out = Vec::new();
            key.open_into(b"", &forged(&key, &padded), &mut out)
                .unwrap();
            assert_eq!(out, plaintext);
        }
    }

    proptest! {
        #[test]
        fn open_undoes_seal(material in prop::collection::vec(any::<u8>(), 96), iv: [u8; 16],
                            ad in prop::collection::vec(any::<u8>(), 0..40), plaintext in prop::collection::vec(any::<u8>(), 0..=70)) {
            let key = key(&material);
            let bytes = sealed(&key, &iv, &ad, &plaintext);
            prop_assert_eq!(bytes.len(), sealed_len(plaintext.len()));
            let mut opened = Vec::new();
            key.open_into(&ad, &bytes, &mut opened).unwrap();
            prop_assert_eq!(opened, plaintext);
        }

        #[test]
        fn any_flipped_bit_fails(plaintext in prop::collection::vec(any::<u8>(), 0..40), bit in 0usize..64 * 8) {
            let key = key(&[9; 96]);
            let mut bytes = sealed(&key, &[5; 16], b"ad", &plaintext);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(key.open_into(b"ad", &bytes, &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_of_a_sample_fails() {
        let key = key(&[9; 96]);
        let bytes = sealed(&key, &[5; 16], b"ad", b"sixteen bytes ok");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = key.open_into(b"ad", &flipped, &mut Vec::new()).unwrap_err();
            assert_eq!(error.code(), Code::CryptoAuthenticationFailed, "bit {bit}");
        }
    }
}
