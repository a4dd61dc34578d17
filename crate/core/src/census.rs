//! Who encrypted what: counted from the headers of subtype-6 values alone, without keys.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use crate::{
    error::Result,
    key_vault::KeyId,
    payload::{Algorithm, EncryptedValue, PayloadKind},
    raw::{scan, split_documents},
};

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
}

/// Counts the encrypted values of documents laid end to end.
///
/// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`.
pub fn census(documents: &[u8]) -> Result<Census> {
    let mut census = Census::default();
    for document in split_documents(documents)? {
        census.documents += 1;
        let scan = scan(document, |_| true)?;
        let encrypted: Vec<_> = scan
            .found
            .iter()
            .filter(|found| census.count(found.payload()))
            .collect();
        for found in encrypted {
            *census.by_path.entry(scan.folded_path(found)).or_default() += 1;
        }
    }
    Ok(census)
}

impl Census {
    /// Counts a payload; `true` when it is a value of CSFLE.
    fn count(&mut self, payload: &[u8]) -> bool {
        match (PayloadKind::of(payload), EncryptedValue::parse(payload)) {
            (PayloadKind::Encrypted(algorithm), Ok(value)) => {
                self.values += 1;
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
        false
    }
}
