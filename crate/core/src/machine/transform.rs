//! Updates that move a collection's documents to other data keys, or out of CSFLE.
//!
//! The output is what a server is to be told: each update comes with a filter that holds the old value of every place it
//! writes, so that it does nothing when another client changed the value first.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    Machine,
    conditional_write::Places,
    documents::{DistinctIds, open_all},
    key_lookup::{KeyReference, KeyRing},
    keyed::{KeyedOperation, keyed},
    options::{array_items, parse_key_id, parse_key_mapping},
};
use crate::{
    crypto::{Entropy, SealBatch},
    error::{Code, Error, Result},
    key_vault::KeyId,
    payload::{EncryptedValue, PayloadKind},
    raw::{
        Element, NewValue, Scan, begin_document, check_document_size, element_type as ty,
        end_document, find_field, push_element, rewrite, scan, split_documents, string_value,
    },
    secret::SecretBytes,
    value_cipher::payload_len,
};

/// Which values change, and into what.
enum Change {
    /// Values under a key of the map get the key it maps to.
    Reencrypt(BTreeMap<[u8; 16], KeyId>),
    /// Values under one of these keys become plaintext; `None` = under any key.
    Leave(Option<Vec<[u8; 16]>>),
}

struct Transform {
    documents: SecretBytes,
    change: Change,
}

impl Machine {
    /// Computes the updates that re-encrypt values under new data keys. Algorithm and BSON type of each value stay.
    ///
    /// Shape: `mapping` = `{v: [{from: UUID, to: UUID}]}`. Out, for each document that changes: `{_id, q, u, r, values}`
    /// with the filter, the update (`{$set}` or a pipeline) and the document as it is to be afterwards; or
    /// `{_id, code, message}` when this document cannot be changed. Documents are laid end to end, in and out.
    /// Errors: `BSON_MALFORMED`, `OPTION_INVALID`, `KEY_REFERENCE_INVALID`; later those of the key lookup.
    pub fn reencrypt_documents(documents: &[u8], mapping: &[u8]) -> Result<Self> {
        let map = parse_key_mapping(mapping)?
            .into_iter()
            .map(|(from, to)| (*from.as_bytes(), to))
            .collect();
        Self::transform(documents, Change::Reencrypt(map))
    }

    /// Computes the updates that put plaintext back. Shape and errors as [`Machine::reencrypt_documents`], with
    /// `key_ids` = `{v: [UUID, ...]}`; an empty array means every key.
    pub fn leave_documents(documents: &[u8], key_ids: &[u8]) -> Result<Self> {
        let ids: Vec<[u8; 16]> = array_items(key_ids)?
            .iter()
            .map(|item| parse_key_id(item).map(|id| *id.as_bytes()))
            .collect::<Result<_>>()?;
        let only = (!ids.is_empty()).then_some(ids);
        Self::transform(documents, Change::Leave(only))
    }

    fn transform(documents: &[u8], change: Change) -> Result<Self> {
        let mut ids = DistinctIds::default();
        for document in split_documents(documents)? {
            for found in &scan(document, |payload| change.applies(payload))?.found {
                if let Ok(value) = EncryptedValue::parse(found.payload()) {
                    ids.add(value.key_id);
                    if let Change::Reencrypt(map) = &change {
                        ids.add(map[value.key_id].as_bytes());
                    }
                }
            }
        }
        let operation = Transform {
            documents: SecretBytes::copy_from(documents),
            change,
        };
        // A key that is gone is named for each document that needs it; the others go on.
        Ok(keyed(ids.into_references(), true, operation))
    }
}

impl Change {
    fn applies(&self, payload: &[u8]) -> bool {
        let PayloadKind::Encrypted(_) = PayloadKind::of(payload) else {
            return false;
        };
        let key_id = payload.get(1..17);
        match self {
            // A value too short to tell its key is reported by the census, and cannot be mapped.
            Self::Reencrypt(map) => key_id.is_some_and(|id| map.contains_key(id)),
            Self::Leave(None) => true,
            Self::Leave(Some(ids)) => key_id.is_some_and(|id| ids.iter().any(|known| known == id)),
        }
    }
}

impl KeyedOperation for Transform {
    fn run(&self, keys: &KeyRing, entropy: &mut dyn Entropy) -> Result<SecretBytes> {
        let mut out = SecretBytes::with_capacity(self.documents.expose().len() * 3);
        for document in split_documents(self.documents.expose())? {
            let scan = scan(document, |payload| self.change.applies(payload))?;
            if scan.found.is_empty() {
                continue;
            }
            let id = find_field(document, "_id")?;
            let update = match self.update(document, &scan, id, keys, entropy) {
                Ok(update) => update,
                Err(error) => SecretBytes::adopt(failure(id, &error)),
            };
            out.reserve(update.expose().len());
            out.expose_mut().extend_from_slice(update.expose());
        }
        Ok(out)
    }
}

impl Transform {
    fn update(
        &self,
        document: &[u8],
        scan: &Scan<'_>,
        id: Option<Element<'_>>,
        keys: &KeyRing,
        entropy: &mut dyn Entropy,
    ) -> Result<SecretBytes> {
        let id = id.ok_or_else(|| unsupported("the document has no _id"))?;
        let opened = open_all(scan, keys)?;
        match &self.change {
            Change::Leave(_) => write_update(document, scan, id, |index| opened.value(index)),
            Change::Reencrypt(map) => {
                let grown = scan
                    .found
                    .iter()
                    .map(|found| payload_len(found.value.len()))
                    .sum();
                let mut batch = SealBatch::with_capacity(scan.found.len(), grown);
                for (index, found) in scan.found.iter().enumerate() {
                    let old = EncryptedValue::parse(found.payload())?;
                    let new_id = map[old.key_id];
                    let key = keys.get(&KeyReference::Id(new_id)).ok_or_else(|| {
                        Error::new(Code::KeyVaultKeyNotFound, "key not found").with("keyId", new_id)
                    })?;
                    let NewValue::Plain(bson_type, value) = opened.value(index) else {
                        continue;
                    };
                    let header = key.associated_data(old.algorithm, bson_type);
                    let iv = key.iv(old.algorithm, &header, value, entropy)?;
                    batch.push(key.aead(), &iv, &header, value);
                }
                let (blobs, ranges) = batch.seal();
                write_update(document, scan, id, |index| {
                    NewValue::Encrypted(&blobs[ranges[index].clone()])
                })
            }
        }
    }
}

/// Writes `{_id, q, u, r, values}`.
fn write_update<'r>(
    document: &[u8],
    scan: &Scan<'_>,
    id: Element<'_>,
    new_value: impl Fn(usize) -> NewValue<'r>,
) -> Result<SecretBytes> {
    let in_id = |found| scan.path(found).first() == Some(&&b"_id"[..]);
    if scan.found.iter().any(in_id) {
        return Err(unsupported("a value inside _id cannot be updated").with("path", "_id"));
    }
    let places = Places::of(document, scan)?;
    let mut out = SecretBytes::with_capacity(document.len() * 4 + 256);
    let bytes = out.expose_mut();
    bytes.extend_from_slice(&[0; 4]);
    push_element(bytes, id.bson_type, b"_id", id.value);
    places.push_filter(bytes, id)?;
    // The rest may hold plaintext: it must not be moved, which would leave a copy behind.
    out.reserve(places.update_room() + 2 * document.len());
    let bytes = out.expose_mut();
    let room = bytes.capacity();
    places.push_update(bytes, &new_value)?;
    push_element(bytes, ty::DOCUMENT, b"r", b"");
    let len = rewrite(document, scan, new_value, bytes);
    check_document_size(len)?;
    push_element(
        bytes,
        ty::INT32,
        b"values",
        &(scan.found.len() as u32).to_le_bytes(),
    );
    end_document(bytes, 0);
    debug_assert_eq!(bytes.capacity(), room);
    Ok(out)
}

fn failure(id: Option<Element<'_>>, error: &Error) -> Vec<u8> {
    let mut out = begin_document(256);
    if let Some(id) = id {
        push_element(&mut out, id.bson_type, b"_id", id.value);
    }
    push_element(
        &mut out,
        ty::STRING,
        b"code",
        &string_value(error.code().as_str()),
    );
    push_element(
        &mut out,
        ty::STRING,
        b"message",
        &string_value(error.message()),
    );
    for (name, value) in error.details() {
        push_element(&mut out, ty::STRING, name.as_bytes(), &string_value(value));
    }
    end_document(&mut out, 0);
    out
}

pub(super) fn unsupported(message: &'static str) -> Error {
    Error::new(Code::MigrationDocumentUnsupported, message)
}
