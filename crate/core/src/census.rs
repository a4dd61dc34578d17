//! Who encrypted what: counted from the headers of subtype-6 values alone, without keys.

mod key_references;

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use crate::{
    error::Result,
    key_vault::KeyId,
    payload::{Algorithm, EncryptedValue, PayloadKind},
    raw::{Found, Scan, Visit, element_type as ty, single_field_document, split_documents, walk},
};
use key_references::{KeyReferences, key_references};

/// BSON binary subtype of encrypted values.
const SUBTYPE_ENCRYPTED: u8 = 6;

/// Values under one data key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCount {
    /// Values encrypted deterministically.
    pub deterministic: u32,
    /// Values encrypted randomly.
    pub random: u32,
}

/// What documents hold. Counts of several censuses can be added.
#[derive(Default)]
pub struct Census {
    /// Documents looked at.
    pub documents: u32,
    /// Values of CSFLE.
    pub values: u32,
    /// Values of CSFLE by data key.
    pub by_key: BTreeMap<KeyId, KeyCount>,
    /// Values of CSFLE by path; array indexes are folded into `$[]`.
    pub by_path: BTreeMap<String, u32>,
    /// Payloads of Queryable Encryption.
    pub queryable: u32,
    /// Plaintext markings, which do not belong into a database.
    pub markings: u32,
    /// Subtype-6 values of an unknown kind, or too short for their header.
    pub unknown: u32,
    /// Values that are not counted in `by_key` and name a data key: stored values and payloads of Queryable Encryption,
    /// markings, damaged values, and values inside the scope of code, which no migration rewrites.
    pub referenced: BTreeMap<KeyId, u32>,
    /// Values of CSFLE inside the scope of code by data key; they are among `referenced`.
    pub scoped: BTreeMap<KeyId, u32>,
    /// Values from which no key id can be read: each may need any data key.
    pub unattributed: u32,
    /// Values of CSFLE whose plaintext is a document, an array or code with a scope: it may hold encrypted values.
    pub containers: u32,
}

/// Counts the encrypted values of documents laid end to end.
///
/// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`.
pub fn census(documents: &[u8]) -> Result<Census> {
    let mut census = Census::default();
    for document in split_documents(documents)? {
        census.documents += 1;
        let (scan, scopes) = encrypted_values(document)?;
        let encrypted: Vec<_> = scan
            .found
            .iter()
            .filter(|found| census.count(found.payload()))
            .collect();
        for found in encrypted {
            *census.by_path.entry(scan.folded_path(found)).or_default() += 1;
        }
        for payload in payloads_of_scopes(scopes)? {
            census.count_in_scope(payload);
        }
    }
    Ok(census)
}

/// The values that may hold encrypted values in their plaintext: BSON documents `{v: value}`, laid end to end.
///
/// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`.
pub fn containers(documents: &[u8]) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    let mut keep = |payload: &[u8]| {
        if EncryptedValue::parse(payload).is_ok_and(|value| is_container(&value)) {
            let value = crate::raw::binary_value(SUBTYPE_ENCRYPTED, payload);
            output.extend(single_field_document("v", ty::BINARY, &value));
        }
    };
    for document in split_documents(documents)? {
        let (scan, scopes) = encrypted_values(document)?;
        scan.found.iter().for_each(|found| keep(found.payload()));
        payloads_of_scopes(scopes)?.into_iter().for_each(&mut keep);
    }
    Ok(output)
}

/// The subtype-6 values of a document, and the scopes of its code, which a scan does not enter.
fn encrypted_values(document: &[u8]) -> Result<(Scan<'_>, Vec<&[u8]>)> {
    let mut scopes = Vec::new();
    let scan = walk(document, |element, _| {
        if element.bson_type == ty::CODE_WITH_SCOPE {
            scopes.extend(scope_of(element.value));
        }
        Ok(match element.as_binary() {
            Some((SUBTYPE_ENCRYPTED, _)) => Visit::Take,
            _ => Visit::Enter,
        })
    })?;
    Ok((scan, scopes))
}

/// The subtype-6 payloads inside scopes, and inside the scopes of code in those.
fn payloads_of_scopes(mut scopes: Vec<&[u8]>) -> Result<Vec<&[u8]>> {
    let mut payloads = Vec::new();
    while let Some(scope) = scopes.pop() {
        let (scan, inner) = encrypted_values(scope)?;
        payloads.extend(scan.found.iter().map(Found::payload));
        scopes.extend(inner);
    }
    Ok(payloads)
}

/// The scope in the value of code with scope: after the total length and the code, a string with its own length
/// (bsonspec.org, "code_w_s").
fn scope_of(value: &[u8]) -> Option<&[u8]> {
    let len = value.get(4..8)?.try_into().ok().map(u32::from_le_bytes)?;
    value.get(8 + usize::try_from(len).ok()?..)
}

/// Whether the plaintext may hold further values. Scalar types cannot.
fn is_container(value: &EncryptedValue<'_>) -> bool {
    matches!(
        value.original_bson_type,
        ty::DOCUMENT | ty::ARRAY | ty::CODE_WITH_SCOPE
    )
}

impl Census {
    /// Counts a payload; `true` when it is a value of CSFLE.
    fn count(&mut self, payload: &[u8]) -> bool {
        match (PayloadKind::of(payload), EncryptedValue::parse(payload)) {
            (PayloadKind::Encrypted(algorithm), Ok(value)) => {
                self.values += 1;
                self.containers += u32::from(is_container(&value));
                let count = self.by_key.entry(KeyId::new(*value.key_id)).or_default();
                match algorithm {
                    Algorithm::Deterministic => count.deterministic += 1,
                    Algorithm::Random => count.random += 1,
                }
                return true;
            }
            (PayloadKind::Marking, _) => self.markings += 1,
            (PayloadKind::QueryableStored | PayloadKind::QueryableCommand, _) => {
                self.queryable += 1
            }
            _ => self.unknown += 1,
        }
        self.refer(payload);
        false
    }

    fn count_in_scope(&mut self, payload: &[u8]) {
        if let Ok(value) = EncryptedValue::parse(payload) {
            self.containers += u32::from(is_container(&value));
            *self.scoped.entry(KeyId::new(*value.key_id)).or_default() += 1;
        }
        self.refer(payload);
    }

    fn refer(&mut self, payload: &[u8]) {
        let KeyReferences { key_ids, complete } = key_references(payload);
        for key_id in key_ids {
            *self.referenced.entry(KeyId::new(key_id)).or_default() += 1;
        }
        self.unattributed += u32::from(!complete);
    }
}
