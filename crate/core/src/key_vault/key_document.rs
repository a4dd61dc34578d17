//! Key documents: data keys as the key vault stores them.

use alloc::{borrow::Cow, collections::BTreeSet, format, string::String, vec::Vec};
use core::fmt;

use bson::{
    DateTime,
    raw::{
        CStr, RawArray, RawArrayBuf, RawBinaryRef, RawBsonRef, RawDocument, RawDocumentBuf, cstr,
    },
    spec::BinarySubtype,
};

use super::{KeyId, MasterKey, well_formed::is_well_formed};
use crate::error::{Code, Error, Result};

pub(super) const ID: &CStr = cstr!("_id");
pub(super) const KEY_ALT_NAMES: &CStr = cstr!("keyAltNames");
const KEY_MATERIAL: &CStr = cstr!("keyMaterial");
const CREATION_DATE: &CStr = cstr!("creationDate");
const UPDATE_DATE: &CStr = cstr!("updateDate");
const STATUS: &CStr = cstr!("status");
pub(super) const MASTER_KEY: &CStr = cstr!("masterKey");
const VERSION: &CStr = cstr!("version");

/// `status` of an enabled key.
const STATUS_ENABLED: i32 = 0;

/// A data key as a KMS wrapped it. This is ciphertext: it may be stored, compared and cloned.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WrappedKeyMaterial(Vec<u8>);

impl WrappedKeyMaterial {
    /// Takes what the KMS returned; the length is the KMS's choice.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The wrapped bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the wrapped bytes away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for WrappedKeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKeyMaterial({} bytes)", self.0.len())
    }
}

/// A key document of version 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDocument {
    /// `_id`.
    pub id: KeyId,
    /// `keyAltNames` in the order of the document.
    pub key_alt_names: Vec<String>,
    /// `keyMaterial`, wrapped.
    pub key_material: WrappedKeyMaterial,
    /// `creationDate`, milliseconds since the Unix epoch.
    pub creation_date_ms: i64,
    /// `updateDate`, milliseconds since the Unix epoch.
    pub update_date_ms: i64,
    /// `masterKey`.
    pub master_key: MasterKey,
}

impl KeyDocument {
    /// Makes the document of a new key, created and updated at `now_ms`.
    ///
    /// `key_alt_names` are in the order the caller gave them.
    /// COMPAT: they are stored in reverse, as libmongocrypt does; the set is the same, and so are the bytes.
    ///
    /// Errors: `KEY_ALT_NAME_INVALID` when a name is given twice, `MASTER_KEY_INVALID` for KMIP without `keyId`.
    pub fn build(
        id: KeyId,
        key_alt_names: &[String],
        key_material: WrappedKeyMaterial,
        now_ms: i64,
        master_key: MasterKey,
    ) -> Result<Self> {
        check_new_alt_names(key_alt_names)?;
        master_key.to_stored()?;
        Ok(Self {
            id,
            key_alt_names: key_alt_names.iter().rev().cloned().collect(),
            key_material,
            creation_date_ms: now_ms,
            update_date_ms: now_ms,
            master_key,
        })
    }

    /// Reads a stored key document. The fields may come in any order.
    ///
    /// Where a field is there twice, the last one counts, except `masterKey`, which must be unique.
    /// COMPAT: `status` must be there and is otherwise ignored, so that disabled keys work.
    /// DIFFERS: alternate names compare as whole strings; libmongocrypt stops at the first NUL byte.
    ///
    /// Errors: `KEY_VAULT_DOCUMENT_MALFORMED`, `KEY_VAULT_FIELD_INVALID`, `KEY_VAULT_FIELD_MISSING`,
    /// `KEY_VAULT_FIELD_UNKNOWN`, `KEY_VAULT_VERSION_UNSUPPORTED`, and those of [`MasterKey::parse`]. Details: `field`,
    /// and `keyId` where the document tells it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let document = RawDocument::from_bytes(bytes).map_err(|_| {
            Error::new(
                Code::KeyVaultDocumentMalformed,
                "malformed BSON for key document",
            )
        })?;
        Self::parse_fields(document).map_err(|error| match find_id(document) {
            Some(id) => error.with("keyId", id),
            None => error,
        })
    }

    fn parse_fields(document: &RawDocument) -> Result<Self> {
        if !is_well_formed(document) {
            return Err(malformed());
        }
        let mut id = None;
        let mut key_alt_names = Vec::new();
        let mut key_material = None;
        let mut creation_date_ms = None;
        let mut update_date_ms = None;
        let mut has_status = false;
        let mut master_key = None;
        for element in document.iter() {
            let (name, value) = element.map_err(|_| malformed())?;
            if name == ID {
                let found = KeyId::from_bson(value);
                id = Some(found.ok_or_else(|| invalid(ID, "invalid key, '_id' is not a UUID"))?);
            } else if name == KEY_ALT_NAMES {
                key_alt_names = parse_alt_names(value)?;
            } else if name == KEY_MATERIAL {
                key_material = Some(parse_key_material(value)?);
            } else if name == CREATION_DATE {
                creation_date_ms = Some(parse_date(CREATION_DATE, value)?);
            } else if name == UPDATE_DATE {
                update_date_ms = Some(parse_date(UPDATE_DATE, value)?);
            } else if name == STATUS {
                has_status = true;
            } else if name == MASTER_KEY {
                if master_key.is_some() {
                    return Err(invalid(
                        MASTER_KEY,
                        "duplicate field 'masterKey' in key document",
                    ));
                }
                let RawBsonRef::Document(inner) = value else {
                    return Err(invalid(
                        MASTER_KEY,
                        "invalid 'masterKey', expected document",
                    ));
                };
                master_key = Some(MasterKey::parse_at(inner, "masterKey.")?);
            } else if name == VERSION {
                check_version(value)?;
            } else {
                return Err(Error::new(
                    Code::KeyVaultFieldUnknown,
                    format!("unrecognized field '{name}'"),
                )
                .with("field", name));
            }
        }
        // The first missing field is reported, in this order.
        let id = id.ok_or_else(|| missing(ID))?;
        let master_key = master_key.ok_or_else(|| missing(MASTER_KEY))?;
        let key_material = key_material.ok_or_else(|| missing(KEY_MATERIAL))?;
        if !has_status {
            return Err(missing(STATUS));
        }
        Ok(Self {
            id,
            key_alt_names,
            key_material,
            creation_date_ms: creation_date_ms.ok_or_else(|| missing(CREATION_DATE))?,
            update_date_ms: update_date_ms.ok_or_else(|| missing(UPDATE_DATE))?,
            master_key,
        })
    }

    /// The document, field by field in the order in which libmongocrypt writes it, with status 0 (enabled).
    ///
    /// Errors: `MASTER_KEY_INVALID` for KMIP without `keyId`.
    pub fn to_raw(&self) -> Result<RawDocumentBuf> {
        let master_key = self.master_key.to_stored()?;
        let mut document = RawDocumentBuf::new();
        document.append(ID, self.id.to_bson());
        if !self.key_alt_names.is_empty() {
            // An empty array would collide with others in the unique index on the names.
            let names: RawArrayBuf = self.key_alt_names.iter().map(String::as_str).collect();
            document.append(KEY_ALT_NAMES, names);
        }
        document.append(
            KEY_MATERIAL,
            RawBinaryRef {
                subtype: BinarySubtype::Generic,
                bytes: self.key_material.as_bytes(),
            },
        );
        document.append(CREATION_DATE, DateTime::from_millis(self.creation_date_ms));
        document.append(UPDATE_DATE, DateTime::from_millis(self.update_date_ms));
        document.append(STATUS, STATUS_ENABLED);
        document.append(MASTER_KEY, master_key);
        Ok(document)
    }

    /// [`Self::to_raw`] as bytes.
    ///
    /// Errors: `MASTER_KEY_INVALID` for KMIP without `keyId`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.to_raw().map(RawDocumentBuf::into_bytes)
    }
}

/// Confirms that the alternate names of a new key are distinct; the empty string is a name.
///
/// Errors: `KEY_ALT_NAME_INVALID`.
pub fn check_new_alt_names(names: &[String]) -> Result<()> {
    match first_duplicate(names.iter()) {
        None => Ok(()),
        Some(name) => Err(
            Error::new(Code::KeyAltNameInvalid, "duplicate keyAltNames found")
                .with("keyAltName", name),
        ),
    }
}

/// Confirms that no two documents share an id or an alternate name.
///
/// Errors: `KEY_VAULT_DUPLICATE_KEY`, with `keyId` of the later document and `keyAltName` where that is what they share.
pub fn check_unique<'a>(documents: impl IntoIterator<Item = &'a KeyDocument>) -> Result<()> {
    let mut ids = BTreeSet::new();
    let mut names = BTreeSet::new();
    for document in documents {
        let duplicate = |error: Error| error.with("keyId", document.id);
        let message = "keys returned have duplicate keyAltNames or _id";
        if !ids.insert(document.id) {
            return Err(duplicate(Error::new(Code::KeyVaultDuplicateKey, message)));
        }
        for name in &document.key_alt_names {
            if !names.insert(name.as_str()) {
                let error = Error::new(Code::KeyVaultDuplicateKey, message);
                return Err(duplicate(error.with("keyAltName", name)));
            }
        }
    }
    Ok(())
}

/// Splits key documents laid end to end.
///
/// Only the lengths are checked. After an error there is nothing more: where the next document starts is unknown.
///
/// Errors: `KEY_VAULT_DOCUMENT_MALFORMED`, with `offset`, when a length is below 5 or beyond the end.
pub fn split_documents(bytes: &[u8]) -> impl Iterator<Item = Result<&[u8]>> {
    let mut offset = 0;
    core::iter::from_fn(move || {
        let rest = &bytes[offset..];
        if rest.is_empty() {
            return None;
        }
        let document = rest
            .first_chunk::<4>()
            .and_then(|prefix| usize::try_from(i32::from_le_bytes(*prefix)).ok())
            .filter(|&length| length >= MIN_DOCUMENT_LEN)
            .and_then(|length| rest.get(..length));
        let start = offset;
        offset = document.map_or(bytes.len(), |document| start + document.len());
        Some(document.ok_or_else(|| {
            Error::new(
                Code::KeyVaultDocumentMalformed,
                "malformed BSON for key document",
            )
            .with("offset", start)
        }))
    })
}

/// Length prefix and terminator of an empty document (bsonspec.org 1.1).
const MIN_DOCUMENT_LEN: usize = 5;

pub(super) fn find_id(document: &RawDocument) -> Option<KeyId> {
    document
        .iter()
        .map_while(core::result::Result::ok)
        .filter(|(name, _)| *name == ID)
        .filter_map(|(_, value)| KeyId::from_bson(value))
        .last()
}

fn parse_alt_names(value: RawBsonRef<'_>) -> Result<Vec<String>> {
    let RawBsonRef::Array(array) = value else {
        return Err(invalid(
            KEY_ALT_NAMES,
            "malformed keyAltNames, expected array",
        ));
    };
    let names = array_strings(array)
        .ok_or_else(|| invalid(KEY_ALT_NAMES, "unexpected non-UTF8 keyAltName"))?;
    match first_duplicate(names.iter()) {
        None => Ok(names),
        Some(name) => {
            Err(invalid(KEY_ALT_NAMES, "unexpected duplicate keyAltNames").with("keyAltName", name))
        }
    }
}

fn array_strings(array: &RawArray) -> Option<Vec<String>> {
    array
        .into_iter()
        .map(|element| element.ok()?.as_str().map(String::from))
        .collect()
}

fn first_duplicate<'a>(mut names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names
        .find(|name| !seen.insert(name.as_str()))
        .map(String::as_str)
}

fn parse_key_material(value: RawBsonRef<'_>) -> Result<WrappedKeyMaterial> {
    let RawBsonRef::Binary(binary) = value else {
        return Err(invalid(
            KEY_MATERIAL,
            "invalid 'keyMaterial', expected binary",
        ));
    };
    if binary.subtype != BinarySubtype::Generic {
        return Err(invalid(
            KEY_MATERIAL,
            "invalid 'keyMaterial', expected subtype 0",
        ));
    }
    Ok(WrappedKeyMaterial::new(binary.bytes.to_vec()))
}

fn parse_date(name: &CStr, value: RawBsonRef<'_>) -> Result<i64> {
    match value {
        RawBsonRef::DateTime(date) => Ok(date.timestamp_millis()),
        _ => Err(invalid(name, format!("invalid '{name}', expect datetime"))),
    }
}

fn check_version(value: RawBsonRef<'_>) -> Result<()> {
    match value {
        RawBsonRef::Int32(0) | RawBsonRef::Int64(0) => Ok(()),
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) => Err(Error::new(
            Code::KeyVaultVersionUnsupported,
            "unsupported key document version, only supports version=0",
        )
        .with("field", VERSION)),
        _ => Err(invalid(VERSION, "invalid 'version', expect int")),
    }
}

fn malformed() -> Error {
    Error::new(Code::KeyVaultDocumentMalformed, "invalid BSON")
}

fn missing(name: &CStr) -> Error {
    Error::new(
        Code::KeyVaultFieldMissing,
        format!("invalid key, no '{name}'"),
    )
    .with("field", name)
}

fn invalid(name: &CStr, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Code::KeyVaultFieldInvalid, message).with("field", name)
}
