//! Sealing and opening: keys, and the chunks under them.
//!
//! ```text
//! file secret    passphrase: 32 bytes of Argon2id; master key: the 96 bytes that it unwraps
//! wrapping key   HKDF-SHA-256(file secret, salt = file id, info = WRAPPING_LABEL)
//! content key    32 random bytes, sealed under the wrapping key as one chunk bound to the header's fields
//! chunk key      HKDF-SHA-256(content key, salt = file id, info = CONTENT_LABEL)
//! chunks         the content, sealed under the chunk key, each chunk bound to the hash of the header
//! ```

use alloc::vec::Vec;

use crate::{
    crypto::{
        Argon2Parameters, ChunkCipher, Entropy, NONCE_PREFIX_LEN, SALT_LEN, derive_key, sha256,
    },
    error::{Code, Error, Result},
    secret::{KeyMaterial, SYMMETRIC_KEY_LEN, SecretBytes, SymmetricKey},
};

use super::header::{FILE_ID_LEN, Header, KeyMethod, StoredHeader, exceeded};

/// Plaintext bytes of a chunk in files that are written.
pub const DEFAULT_CHUNK_LEN: usize = 64 * 1024;
/// Fewest plaintext bytes of a chunk.
pub const MIN_CHUNK_LEN: usize = 1024;
/// Most plaintext bytes of a chunk.
pub const MAX_CHUNK_LEN: usize = 1024 * 1024;
/// Most bytes of a content: the whole of it is in memory (256 MiB, some 600,000 key documents).
pub const MAX_CONTENT_LEN: usize = 256 * 1024 * 1024;

/// Fewest characters of a new passphrase.
const MIN_PASSPHRASE_CHARS: usize = 8;
/// Longest passphrase in bytes of UTF-8.
const MAX_PASSPHRASE_LEN: usize = 1024;

const WRAPPING_LABEL: &[u8] = b"csfle-wasm sealed backup 1: wrapping key";
const CONTENT_LABEL: &[u8] = b"csfle-wasm sealed backup 1: chunk key";
const NO_PREFIX: [u8; NONCE_PREFIX_LEN] = [0; NONCE_PREFIX_LEN];

/// Checks a passphrase that a file is about to be sealed under.
///
/// Errors: `BACKUP_PASSPHRASE_INVALID` for fewer than 8 characters, more than 1,024 bytes, or bytes that are not UTF-8.
pub fn check_new_passphrase(passphrase: &[u8]) -> Result<()> {
    check_passphrase(passphrase)?;
    let chars = core::str::from_utf8(passphrase).map_or(0, |text| text.chars().count());
    if chars >= MIN_PASSPHRASE_CHARS {
        return Ok(());
    }
    Err(Error::new(
        Code::BackupPassphraseInvalid,
        alloc::format!(
            "a passphrase must have at least {MIN_PASSPHRASE_CHARS} characters, found {chars}"
        ),
    )
    .with("found", chars))
}

/// Checks a passphrase that a file is about to be opened with.
///
/// Errors: `BACKUP_PASSPHRASE_INVALID` for none, more than 1,024 bytes, or bytes that are not UTF-8.
pub fn check_passphrase(passphrase: &[u8]) -> Result<()> {
    let message = match (core::str::from_utf8(passphrase), passphrase.len()) {
        (_, 0) => "the passphrase is empty",
        (_, len) if len > MAX_PASSPHRASE_LEN => "a passphrase must have at most 1,024 bytes",
        (Err(_), _) => "the passphrase is not UTF-8",
        (Ok(_), _) => return Ok(()),
    };
    Err(Error::new(Code::BackupPassphraseInvalid, message).with("limit", MAX_PASSPHRASE_LEN))
}

/// What a file is sealed with.
pub struct Sealing {
    method: KeyMethod,
    wrapping_secret: SecretBytes,
}

impl Sealing {
    /// Sealing under a passphrase: UTF-8, normalised by the caller.
    ///
    /// Errors: those of [`check_new_passphrase`] and [`Argon2Parameters::derive`]; `CRYPTO_RANDOM_UNAVAILABLE`.
    pub fn with_passphrase(
        passphrase: &[u8],
        parameters: Argon2Parameters,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        check_new_passphrase(passphrase)?;
        let mut salt = [0; SALT_LEN];
        entropy.fill(&mut salt)?;
        let key = parameters.derive(passphrase, &salt)?;
        Ok(Self {
            method: KeyMethod::Passphrase { parameters, salt },
            wrapping_secret: SecretBytes::copy_from(key.expose()),
        })
    }

    /// Sealing with `material`, whose wrapping under a master key `method` holds.
    #[must_use]
    pub fn with_material(method: KeyMethod, material: &KeyMaterial) -> Self {
        Self {
            method,
            wrapping_secret: SecretBytes::copy_from(material.expose()),
        }
    }

    /// Makes the file.
    ///
    /// Errors: `CRYPTO_RANDOM_UNAVAILABLE`; `BACKUP_LIMIT_EXCEEDED` for a content of more than 256 MiB or a chunk length
    /// outside of 1 KiB to 1 MiB.
    pub fn seal(
        self,
        content: &[u8],
        chunk_len: usize,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        if content.len() > MAX_CONTENT_LEN {
            return Err(exceeded("content", content.len(), MAX_CONTENT_LEN));
        }
        if !(MIN_CHUNK_LEN..=MAX_CHUNK_LEN).contains(&chunk_len) {
            return Err(exceeded("chunkLength", chunk_len, MAX_CHUNK_LEN));
        }
        let mut file_id = [0; FILE_ID_LEN];
        entropy.fill(&mut file_id)?;
        let mut nonce_prefix = NO_PREFIX;
        entropy.fill(&mut nonce_prefix)?;
        let content_key = SymmetricKey::fill_with(|out| entropy.fill(out))?;
        let header = Header {
            method: self.method,
            chunk_len,
            file_id,
            nonce_prefix,
        };
        let fields = header.fields()?;
        let mut file = fields.clone();
        let too_long = || exceeded("content", content.len(), MAX_CONTENT_LEN);
        wrapping_cipher(self.wrapping_secret.expose(), &file_id)?
            .seal_into(SYMMETRIC_KEY_LEN, &fields, content_key.expose(), &mut file)
            .then_some(())
            .ok_or_else(too_long)?;
        let hash = sha256(&file);
        file.extend_from_slice(&hash);
        chunk_cipher(&content_key, &header)?
            .seal_into(chunk_len, &hash, content, &mut file)
            .then_some(())
            .ok_or_else(too_long)?;
        Ok(file)
    }
}

/// Opens a file with its file secret: the 32 bytes of Argon2id, or the 96 bytes that the master key unwrapped.
///
/// Errors: those of [`Header::parse`]; `BACKUP_KEY_WRONG`; `BACKUP_CHUNK_DAMAGED` with the number of the chunk. No part
/// of the content is given out unless all of it is as it was sealed.
pub fn open(file: &[u8], file_secret: &[u8]) -> Result<SecretBytes> {
    let stored = StoredHeader::parse(file)?;
    let opened = wrapping_cipher(file_secret, &stored.header.file_id)?
        .open(SYMMETRIC_KEY_LEN, stored.fields, stored.wrapped_content_key)
        .map_err(|_| {
            Error::new(
                Code::BackupKeyWrong,
                "the key does not open this sealed backup, or its header was altered",
            )
        })?;
    let content_key = SymmetricKey::fill_with(|out| {
        out.copy_from_slice(opened.expose());
        Ok(())
    })?;
    chunk_cipher(&content_key, &stored.header)?
        .open(stored.header.chunk_len, &stored.hash, stored.chunks)
        .map_err(|chunk| {
            Error::new(
                Code::BackupChunkDamaged,
                alloc::format!(
                    "chunk {chunk} of the sealed backup is altered, cut, out of place or added"
                ),
            )
            .with("chunk", chunk)
        })
}

/// The wrapping key is used once, since it depends on the file id: its nonce may be constant.
fn wrapping_cipher(file_secret: &[u8], file_id: &[u8; FILE_ID_LEN]) -> Result<ChunkCipher> {
    let key = derive_key(file_secret, file_id, WRAPPING_LABEL)?;
    Ok(ChunkCipher::new(&key, NO_PREFIX))
}

fn chunk_cipher(content_key: &SymmetricKey, header: &Header) -> Result<ChunkCipher> {
    let key = derive_key(content_key.expose(), &header.file_id, CONTENT_LABEL)?;
    Ok(ChunkCipher::new(&key, header.nonce_prefix))
}
