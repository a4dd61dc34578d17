//! Markings: values that a query analyser wants encrypted, with the key and the algorithm.
//!
//! ```text
//! binary subtype 6 = 0x00 ‖ {v: any, a: int32 (1 deterministic, 2 random), ki: UUID | ka: string}
//! ```

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::analysis::invalid;
use crate::{
    crypto::Entropy,
    error::{Error, Result},
    key_vault::KeyId,
    machine::{
        explicit::key_for,
        key_lookup::{KeyReference, KeyRing},
    },
    payload::{Algorithm, PayloadKind},
    raw::{
        Element, NewValue, Scan, check_document_size, check_value, element_type as ty, elements,
        rewrite, scan,
    },
    secret::SecretBytes,
    value_cipher::{canonical_value, encrypt_value, payload_len},
};

const SUBTYPE_UUID: u8 = 4;

struct Marking<'a> {
    value: Element<'a>,
    algorithm: Algorithm,
    key: KeyReference,
}

fn is_marking(payload: &[u8]) -> bool {
    PayloadKind::of(payload) == PayloadKind::Marking
}

/// The keys that the markings of a command name.
///
/// Errors: `AUTO_ENCRYPTION_ANALYSIS_INVALID`, `BSON_MALFORMED`.
pub(super) fn keys_of(command: &[u8]) -> Result<Vec<KeyReference>> {
    scan(command, is_marking)?
        .found
        .iter()
        .map(|found| Marking::read(found.payload()).map(|marking| marking.key))
        .collect()
}

/// A command in which every marking was replaced, and what was put in their places.
pub(super) struct Encrypted {
    pub(super) command: SecretBytes,
    pub(super) payloads: Vec<Vec<u8>>,
}

/// Replaces every marking by what it stands for. Values that are encrypted already stay.
///
/// DIFFERS: a value that the type rules forbid is refused; libmongocrypt trusts its analyser there.
///
/// Errors: `VALUE_TYPE_*` with the path, `CRYPTO_RANDOM_UNAVAILABLE`, `BSON_TOO_LARGE`.
pub(super) fn encrypt_marked(
    command: &[u8],
    keys: &KeyRing,
    entropy: &mut dyn Entropy,
) -> Result<Encrypted> {
    let scan = scan(command, is_marking)?;
    let mut payloads = Vec::with_capacity(scan.found.len());
    for found in &scan.found {
        let payload = Marking::read(found.payload())
            .and_then(|marking| marking.encrypt(keys, entropy))
            .map_err(|error| locate(error, &scan, payloads.len()))?;
        payloads.push(payload);
    }
    let grown: usize = payloads.iter().map(Vec::len).sum();
    let mut out = SecretBytes::with_capacity(command.len() + grown);
    rewrite(
        command,
        &scan,
        |index| NewValue::Encrypted(&payloads[index]),
        out.expose_mut(),
    );
    check_document_size(out.expose().len())?;
    Ok(Encrypted {
        command: out,
        payloads,
    })
}

fn locate(error: Error, scan: &Scan<'_>, index: usize) -> Error {
    error.with("path", scan.path_text(&scan.found[index]))
}

impl<'a> Marking<'a> {
    fn read(payload: &'a [u8]) -> Result<Self> {
        // One byte of kind, and the shortest document.
        if payload.len() < 6 {
            return Err(invalid("invalid marking, length < 6"));
        }
        let document = &payload[1..];
        check_value(ty::DOCUMENT, document).map_err(|_| invalid("invalid BSON"))?;
        let (mut value, mut algorithm, mut id, mut name) = (None, None, None, None);
        for field in elements(document)? {
            let field = field?;
            match field.name {
                b"v" => value = Some(field),
                b"a" => algorithm = Some(read_algorithm(&field)?),
                b"ki" => id = Some(read_key_id(&field)?),
                b"ka" => {
                    let text = field
                        .as_str()
                        .ok_or_else(|| invalid("key alt name must be a UTF8"))?;
                    name = Some(text.to_string());
                }
                other => {
                    return Err(invalid(format!(
                        "unrecognized field '{}'",
                        String::from_utf8_lossy(other)
                    )));
                }
            }
        }
        let value = value.ok_or_else(|| invalid("no 'v' specified"))?;
        let key = match (id, name) {
            (Some(id), None) => KeyReference::Id(id),
            (None, Some(name)) => KeyReference::AltName(name),
            (None, None) => return Err(invalid("neither 'ki' nor 'ka' specified")),
            (Some(_), Some(_)) => return Err(invalid("both 'ki' and 'ka' specified")),
        };
        let algorithm = algorithm.ok_or_else(|| invalid("no 'a' specified"))?;
        Ok(Self {
            value,
            algorithm,
            key,
        })
    }

    fn encrypt(&self, keys: &KeyRing, entropy: &mut dyn Entropy) -> Result<Vec<u8>> {
        let key = key_for(keys, &self.key)?;
        let bson_type = self.value.bson_type;
        let canonical = canonical_value(bson_type, self.value.value);
        let value = canonical
            .as_ref()
            .map_or(self.value.value, SecretBytes::expose);
        let mut payload = Vec::with_capacity(payload_len(value.len()));
        encrypt_value(key, self.algorithm, bson_type, value, entropy, &mut payload)?;
        Ok(payload)
    }
}

fn read_algorithm(field: &Element<'_>) -> Result<Algorithm> {
    let number = match (field.bson_type, <[u8; 4]>::try_from(field.value)) {
        (ty::INT32, Ok(bytes)) => i32::from_le_bytes(bytes),
        _ => return Err(invalid("invalid marking, 'a' must be an int32")),
    };
    match number {
        1 => Ok(Algorithm::Deterministic),
        2 => Ok(Algorithm::Random),
        other => Err(invalid(format!("invalid algorithm value: {other}"))),
    }
}

fn read_key_id(field: &Element<'_>) -> Result<KeyId> {
    field
        .as_binary()
        .filter(|(subtype, _)| *subtype == SUBTYPE_UUID)
        .and_then(|(_, bytes)| <[u8; 16]>::try_from(bytes).ok())
        .map(KeyId::new)
        .ok_or_else(|| invalid("key id must be a UUID"))
}
