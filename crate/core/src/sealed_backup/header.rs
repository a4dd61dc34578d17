//! The header of a sealed backup.
//!
//! ```text
//! offset   bytes
//! 0        8    magic: "CSFLEBAK"
//! 8        1    version: 1
//! 9        1    key method: 1 passphrase, 2 master key
//! 10       4    chunk length
//! 14      32    file id, random
//! 46       7    nonce prefix, random
//! 53       4    length K of the key section
//! 57       K    key section
//! 57+K    48    wrapped content key: ciphertext (32) ‖ tag (16)
//! 105+K   32    SHA-256 of all bytes before
//! ```
//!
//! Integers are unsigned and little-endian, as in BSON.

use alloc::vec::Vec;

use crate::{
    crypto::{Argon2Parameters, GCM_TAG_LEN, HASH_LEN, NONCE_PREFIX_LEN, SALT_LEN, sha256},
    error::{Code, Error, Result},
    key_vault::{MasterKey, WrappedKeyMaterial},
    raw::document_len,
    secret::SYMMETRIC_KEY_LEN,
};

use super::seal::{MAX_CHUNK_LEN, MIN_CHUNK_LEN};

/// The first bytes of every sealed backup.
pub const MAGIC: &[u8; 8] = b"CSFLEBAK";
/// The version of the format that is written.
const VERSION: u8 = 1;
/// Length of the file id in bytes.
pub(super) const FILE_ID_LEN: usize = 32;
/// Length of the wrapped content key in bytes.
pub(super) const WRAPPED_CONTENT_KEY_LEN: usize = SYMMETRIC_KEY_LEN + GCM_TAG_LEN;
/// Length of the longest key section in bytes: a master key document and what its KMS made of 96 bytes.
const MAX_KEY_SECTION_LEN: usize = 64 * 1024;
/// Version 1.3 of Argon2 (RFC 9106 section 3.1), the only one that is used.
const ARGON2_VERSION: u8 = 0x13;

const METHOD_PASSPHRASE: u8 = 1;
const METHOD_MASTER_KEY: u8 = 2;

/// Where the key of a file comes from.
#[derive(Clone)]
pub enum KeyMethod {
    /// From a passphrase. Key section: Argon2 version (1) ‖ memory in KiB (4) ‖ passes (4) ‖ lanes (4) ‖ salt (16).
    Passphrase {
        /// The cost of Argon2id.
        parameters: Argon2Parameters,
        /// The salt of Argon2id.
        salt: [u8; SALT_LEN],
    },
    /// From 96 random bytes wrapped under a master key. Key section: master key as BSON ‖ length (4) ‖ wrapped bytes.
    MasterKey {
        /// The master key, as key documents store it.
        master_key: MasterKey,
        /// What the KMS made of the 96 bytes.
        wrapped: WrappedKeyMaterial,
    },
}

/// A header, parsed and checked.
pub struct Header {
    /// Where the key comes from.
    pub method: KeyMethod,
    /// Plaintext bytes of every chunk but the last.
    pub chunk_len: usize,
    pub(super) file_id: [u8; FILE_ID_LEN],
    pub(super) nonce_prefix: [u8; NONCE_PREFIX_LEN],
}

/// A header as it stands in a file.
pub(super) struct StoredHeader<'a> {
    pub(super) header: Header,
    /// Magic to key section: the associated data of the wrapped content key.
    pub(super) fields: &'a [u8],
    pub(super) wrapped_content_key: &'a [u8],
    /// The associated data of every chunk.
    pub(super) hash: [u8; HASH_LEN],
    pub(super) chunks: &'a [u8],
}

/// Says whether a file begins as a sealed backup does.
#[must_use]
pub fn has_magic(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

impl Header {
    /// Reads the header of a file without opening it.
    ///
    /// Errors: `BACKUP_NOT_RECOGNIZED`, `BACKUP_VERSION_UNSUPPORTED`, `BACKUP_HEADER_INVALID`, `BACKUP_LIMIT_EXCEEDED`.
    pub fn parse(file: &[u8]) -> Result<Self> {
        StoredHeader::parse(file).map(|stored| stored.header)
    }

    /// Magic to key section.
    pub(super) fn fields(&self) -> Result<Vec<u8>> {
        let (method, section) = match &self.method {
            KeyMethod::Passphrase { parameters, salt } => {
                let mut section = alloc::vec![ARGON2_VERSION];
                for number in [
                    parameters.memory_kib,
                    parameters.iterations,
                    parameters.lanes,
                ] {
                    section.extend_from_slice(&number.to_le_bytes());
                }
                section.extend_from_slice(salt);
                (METHOD_PASSPHRASE, section)
            }
            KeyMethod::MasterKey {
                master_key,
                wrapped,
            } => {
                let mut section = master_key.to_stored()?.into_bytes();
                push_u32(&mut section, wrapped.as_bytes().len())?;
                section.extend_from_slice(wrapped.as_bytes());
                (METHOD_MASTER_KEY, section)
            }
        };
        if section.len() > MAX_KEY_SECTION_LEN {
            return Err(exceeded("keySection", section.len(), MAX_KEY_SECTION_LEN));
        }
        let mut fields = Vec::with_capacity(57 + section.len());
        fields.extend_from_slice(MAGIC);
        fields.extend_from_slice(&[VERSION, method]);
        push_u32(&mut fields, self.chunk_len)?;
        fields.extend_from_slice(&self.file_id);
        fields.extend_from_slice(&self.nonce_prefix);
        push_u32(&mut fields, section.len())?;
        fields.extend_from_slice(&section);
        Ok(fields)
    }
}

impl<'a> StoredHeader<'a> {
    pub(super) fn parse(file: &'a [u8]) -> Result<Self> {
        if !has_magic(file) {
            return Err(Error::new(
                Code::BackupNotRecognized,
                "the bytes do not begin with the mark of a sealed backup",
            ));
        }
        let mut reader = Reader {
            file,
            offset: MAGIC.len(),
        };
        let [version, method] = reader.array("version and key method")?;
        if version != VERSION {
            return Err(Error::new(
                Code::BackupVersionUnsupported,
                alloc::format!("expected version {VERSION} of the format, found {version}"),
            )
            .with("found", version));
        }
        let chunk_len = reader.length("chunk length")?;
        let file_id = reader.array("file id")?;
        let nonce_prefix = reader.array("nonce prefix")?;
        let section_len = reader.length("length of the key section")?;
        if section_len > MAX_KEY_SECTION_LEN {
            return Err(exceeded("keySection", section_len, MAX_KEY_SECTION_LEN));
        }
        let section_offset = reader.offset;
        reader.take(section_len, "key section")?;
        let fields = &file[..reader.offset];
        let wrapped_content_key = reader.take(WRAPPED_CONTENT_KEY_LEN, "wrapped content key")?;
        let hash = sha256(&file[..reader.offset]);
        let hash_offset = reader.offset;
        // First, so that accidental damage is not taken for a wrong passphrase. It proves nothing: anyone can compute it.
        if reader.take(HASH_LEN, "hash of the header")? != hash {
            return Err(invalid("the header does not match its hash", hash_offset));
        }
        if !(MIN_CHUNK_LEN..=MAX_CHUNK_LEN).contains(&chunk_len) {
            return Err(exceeded("chunkLength", chunk_len, MAX_CHUNK_LEN));
        }
        Ok(Self {
            header: Header {
                method: parse_method(method, fields, section_offset)?,
                chunk_len,
                file_id,
                nonce_prefix,
            },
            fields,
            wrapped_content_key,
            hash,
            chunks: &file[reader.offset..],
        })
    }
}

/// `fields` ends with the key section, which begins at `offset`.
fn parse_method(method: u8, fields: &[u8], offset: usize) -> Result<KeyMethod> {
    let mut reader = Reader {
        file: fields,
        offset,
    };
    let parsed = match method {
        METHOD_PASSPHRASE => {
            let [version] = reader.array("version of Argon2")?;
            if version != ARGON2_VERSION {
                return Err(invalid("the version of Argon2 is not 1.3", offset));
            }
            let mut number = || -> Result<u32> {
                Ok(u32::from_le_bytes(reader.array("parameters of Argon2id")?))
            };
            let parameters = Argon2Parameters {
                memory_kib: number()?,
                iterations: number()?,
                lanes: number()?,
            };
            parameters.check()?;
            let salt = reader.array("salt")?;
            KeyMethod::Passphrase { parameters, salt }
        }
        METHOD_MASTER_KEY => {
            let malformed = |_| invalid("the master key is no BSON document", offset);
            let document = reader.take(
                document_len(&fields[offset..]).map_err(malformed)?,
                "master key",
            )?;
            let wrapped_len = reader.length("length of the wrapped key")?;
            let wrapped = reader.take(wrapped_len, "wrapped key")?;
            let master_key = MasterKey::from_bytes(document).map_err(|error| {
                invalid("the master key is not one that this release knows", offset)
                    .with("reason", error.message())
            })?;
            KeyMethod::MasterKey {
                master_key,
                wrapped: WrappedKeyMaterial::new(wrapped.to_vec()),
            }
        }
        _ => return Err(invalid("the key method is neither 1 nor 2", 9)),
    };
    if reader.offset != fields.len() {
        return Err(invalid(
            "the key section has bytes after its last field",
            offset,
        ));
    }
    Ok(parsed)
}

struct Reader<'a> {
    file: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8]> {
        let found = self
            .file
            .get(self.offset..)
            .and_then(|rest| rest.get(..len))
            .ok_or_else(|| {
                Error::new(
                    Code::BackupHeaderInvalid,
                    alloc::format!(
                        "the header ends within its {what}: {len} bytes are expected at offset {}",
                        self.offset
                    ),
                )
                .with("offset", self.offset)
            })?;
        self.offset += len;
        Ok(found)
    }

    fn array<const LEN: usize>(&mut self, what: &'static str) -> Result<[u8; LEN]> {
        let mut out = [0; LEN];
        out.copy_from_slice(self.take(LEN, what)?);
        Ok(out)
    }

    fn length(&mut self, what: &'static str) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array(what)?) as usize)
    }
}

fn push_u32(out: &mut Vec<u8>, number: usize) -> Result<()> {
    let number =
        u32::try_from(number).map_err(|_| exceeded("length", number, u32::MAX as usize))?;
    out.extend_from_slice(&number.to_le_bytes());
    Ok(())
}

fn invalid(message: &'static str, offset: usize) -> Error {
    Error::new(Code::BackupHeaderInvalid, message).with("offset", offset)
}

pub(super) fn exceeded(parameter: &'static str, found: usize, limit: usize) -> Error {
    Error::new(
        Code::BackupLimitExceeded,
        alloc::format!("{parameter} of a sealed backup is {found} bytes, outside of the limits (at most {limit})"),
    )
    .with("parameter", parameter)
    .with("found", found)
}
