//! Decryption of whole documents: every encrypted value at any depth, in one pass.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    Machine,
    key_lookup::{KeyReference, KeyRing},
    keyed::{KeyedOperation, keyed},
};
use crate::{
    crypto::{Entropy, OpenBatch},
    error::{Code, Error, Result},
    key_vault::KeyId,
    payload::{EncryptedValue, opens_to_plaintext},
    raw::{NewValue, Scan, rewrite, scan, split_documents},
    secret::SecretBytes,
    value_cipher::check_opened,
};

/// Documents laid end to end whose values are to be decrypted.
pub(crate) struct DecryptDocuments {
    /// Their other fields are nobody else's business either.
    documents: SecretBytes,
}

impl DecryptDocuments {
    /// The operation, and the keys that it needs.
    ///
    /// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`, `PAYLOAD_*` with the path.
    pub(crate) fn prepare(documents: &[u8]) -> Result<(Vec<KeyReference>, Self)> {
        let mut ids = DistinctIds::default();
        for document in split_documents(documents)? {
            let scan = scan(document, opens_to_plaintext)?;
            for found in &scan.found {
                let value = EncryptedValue::parse(found.payload())
                    .map_err(|e| e.with("path", scan.path_text(found)))?;
                ids.add(value.key_id);
            }
        }
        let operation = Self {
            documents: SecretBytes::copy_from(documents),
        };
        Ok((ids.into_references(), operation))
    }
}

impl Machine {
    /// Decrypts every CSFLE value of documents laid end to end; everything else stays byte for byte.
    ///
    /// One value that cannot be decrypted fails the whole call: a failure never passes as plaintext. Decrypted values are
    /// not searched again. Markings, command payloads of Queryable Encryption, unknown kinds and empty payloads pass.
    ///
    /// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`, `PAYLOAD_*` with the path; later those of the key lookup and
    /// `CRYPTO_AUTHENTICATION_FAILED` with path and key id.
    pub fn decrypt_documents(documents: &[u8]) -> Result<Self> {
        let (references, operation) = DecryptDocuments::prepare(documents)?;
        Ok(keyed(references, false, operation))
    }
}

impl KeyedOperation for DecryptDocuments {
    fn run(&self, keys: &KeyRing, _entropy: &mut dyn Entropy) -> Result<SecretBytes> {
        // Decryption only shrinks documents, so this buffer never moves.
        let documents = self.documents.expose();
        let mut out = SecretBytes::with_capacity(documents.len());
        for document in split_documents(documents)? {
            let scan = scan(document, opens_to_plaintext)?;
            let opened = open_all(&scan, keys)?;
            rewrite(
                document,
                &scan,
                |index| opened.value(index),
                out.expose_mut(),
            );
        }
        Ok(out)
    }
}

/// The plaintexts of a document's encrypted values.
pub(super) struct Opened {
    bytes: SecretBytes,
    values: Vec<(u8, core::ops::Range<usize>)>,
}

impl Opened {
    pub(super) fn value(&self, index: usize) -> NewValue<'_> {
        let (bson_type, range) = &self.values[index];
        NewValue::Plain(*bson_type, &self.bytes.expose()[range.clone()])
    }
}

/// Opens all values of a scan, or none: all tags are verified first.
///
/// Errors: `CRYPTO_*`, `PAYLOAD_*`, `KEY_VAULT_KEY_NOT_FOUND`, with path and key id.
pub(super) fn open_all(scan: &Scan<'_>, keys: &KeyRing) -> Result<Opened> {
    let sealed_bytes = scan.found.iter().map(|found| found.value.len()).sum();
    let mut batch = OpenBatch::with_capacity(scan.found.len(), sealed_bytes);
    let mut types = Vec::with_capacity(scan.found.len());
    let locate = |index: usize, error: Error| {
        let found = &scan.found[index];
        let error = error.with("path", scan.path_text(found));
        match EncryptedValue::parse(found.payload()) {
            Ok(value) => error.with("keyId", KeyId::new(*value.key_id)),
            Err(_) => error,
        }
    };
    let mut last = None;
    for (index, found) in scan.found.iter().enumerate() {
        let value = EncryptedValue::parse(found.payload()).map_err(|error| locate(index, error))?;
        // Neighbouring fields mostly share a key.
        let key = match last {
            Some((id, key)) if id == value.key_id => key,
            _ => keys.by_id(&KeyId::new(*value.key_id)).ok_or_else(|| {
                locate(
                    index,
                    Error::new(Code::KeyVaultKeyNotFound, "key not found"),
                )
            })?,
        };
        last = Some((value.key_id, key));
        batch
            .push(key.aead(), value.associated_data, value.sealed)
            .map_err(|error| locate(index, error))?;
        types.push(value.original_bson_type);
    }
    let (bytes, ranges) = batch
        .open()
        .map_err(|(index, error)| locate(index, error))?;
    let values: Vec<_> = types.into_iter().zip(ranges).collect();
    for (index, (bson_type, range)) in values.iter().enumerate() {
        check_opened(*bson_type, &bytes.expose()[range.clone()])
            .map_err(|error| locate(index, error))?;
    }
    Ok(Opened { bytes, values })
}

/// Key ids in the order in which they were met, each once.
#[derive(Default)]
pub(super) struct DistinctIds {
    seen: BTreeSet<[u8; 16]>,
    order: Vec<[u8; 16]>,
}

impl DistinctIds {
    pub(super) fn add(&mut self, id: &[u8; 16]) {
        if self.order.last() != Some(id) && self.seen.insert(*id) {
            self.order.push(*id);
        }
    }

    pub(super) fn into_references(self) -> Vec<KeyReference> {
        self.order
            .into_iter()
            .map(|id| KeyReference::Id(KeyId::new(id)))
            .collect()
    }
}
