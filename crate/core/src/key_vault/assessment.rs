//! Where every key of a vault stands before a migration.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use bson::raw::RawDocument;

use super::{
    KeyDocument, KeyId, MasterKey, MasterKeyPattern,
    key_document::{MASTER_KEY, find_id},
    master_key_fields::PROVIDER,
    split_documents,
};
use crate::error::{Error, Result};

/// What a migration would do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// It is under the source master key: it is to be migrated.
    Migrate,
    /// It is under the target master key already.
    Done,
    /// It is under neither: it stays as it is.
    Other,
    /// Its document cannot be used; the error says why.
    Malformed,
}

impl Disposition {
    /// The spelling in reports, such as `migrate`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Done => "done",
            Self::Other => "other",
            Self::Malformed => "malformed",
        }
    }
}

/// One key's standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAssessment {
    /// Id of the key; absent when a malformed document does not tell it.
    pub key_id: Option<KeyId>,
    /// Its alternate names; empty for a malformed document.
    pub key_alt_names: Vec<String>,
    /// Identifier of its provider; empty when a malformed document does not tell it.
    pub provider: String,
    /// What a migration would do with it.
    pub disposition: Disposition,
    /// Why the document is malformed.
    pub error: Option<Error>,
}

/// Judges every key document of `documents`, which are laid end to end, in that order.
///
/// `from` restricts the migration to the keys under a matching master key; without it, every key that is not under `to`
/// is to be migrated. A malformed document is reported and the others are judged all the same, except where a document's
/// length is wrong: what follows it cannot be found and counts as one malformed document with it.
#[must_use]
pub fn assess(
    documents: &[u8],
    from: Option<&MasterKeyPattern>,
    to: &MasterKey,
) -> Vec<KeyAssessment> {
    split_documents(documents)
        .map(|bytes| assess_document(bytes, from, to))
        .collect()
}

fn assess_document(
    bytes: Result<&[u8]>,
    from: Option<&MasterKeyPattern>,
    to: &MasterKey,
) -> KeyAssessment {
    let parsed = bytes.clone().and_then(parse_usable);
    let key = match parsed {
        Ok(key) => key,
        Err(error) => return malformed(bytes.ok(), error),
    };
    let disposition = if key.master_key.satisfies(to) {
        Disposition::Done
    } else if from.is_none_or(|pattern| pattern.matches(&key.master_key)) {
        Disposition::Migrate
    } else {
        Disposition::Other
    };
    KeyAssessment {
        key_id: Some(key.id),
        provider: key.master_key.provider().to_string(),
        key_alt_names: key.key_alt_names,
        disposition,
        error: None,
    }
}

fn parse_usable(bytes: &[u8]) -> Result<KeyDocument> {
    let key = KeyDocument::parse(bytes)?;
    key.master_key
        .check_usable()
        .map_err(|error| error.with("keyId", key.id))?;
    Ok(key)
}

fn malformed(bytes: Option<&[u8]>, error: Error) -> KeyAssessment {
    let document = bytes.and_then(|bytes| RawDocument::from_bytes(bytes).ok());
    let provider = document
        .and_then(|document| document.get_document(MASTER_KEY).ok())
        .and_then(|master_key| master_key.get_str(PROVIDER).ok());
    KeyAssessment {
        key_id: document.and_then(find_id),
        key_alt_names: Vec::new(),
        provider: String::from(provider.unwrap_or_default()),
        disposition: Disposition::Malformed,
        error: Some(error),
    }
}
