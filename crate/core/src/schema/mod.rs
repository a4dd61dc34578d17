//! JSON schemas with `encrypt`: which paths they encrypt; other key ids in them, or no encryption at all, while everything
//! else stays byte for byte.

pub(crate) mod encrypted_paths;
#[cfg(test)]
mod encrypted_paths_tests;
pub(crate) mod name_pattern;
#[cfg(test)]
mod name_pattern_tests;
mod path;
mod rewrite;
#[cfg(test)]
mod tests;

use alloc::{collections::BTreeMap, vec::Vec};

use bson::raw::RawDocument;

use crate::{
    error::{Code, Error, Result},
    key_vault::KeyId,
};
use path::Path;
use rewrite::{Edit, Editor};

/// Replaces key ids in every `encrypt` and `encryptMetadata`; returns the schema and how many ids were replaced.
///
/// Shape: `schema` is a schema, or a validator whose `$jsonSchema` is one. `mapping` lists old and new ids; ids it does
/// not list stay, and so does a `keyId` that is a JSON pointer. A property that is called `encrypt` is a property.
///
/// Errors: `SCHEMA_INVALID`, `BSON_MALFORMED` and `BSON_TOO_DEEP`, with `path`.
pub fn rewrite_key_ids(schema: &[u8], mapping: &[(KeyId, KeyId)]) -> Result<(Vec<u8>, u32)> {
    let mapping: BTreeMap<KeyId, KeyId> = mapping.iter().copied().collect();
    edit(schema, Edit::RewriteKeyIds(&mapping))
}

/// Takes encryption out of a schema; returns it and how many `encrypt` and `encryptMetadata` were removed.
///
/// `encrypt: {bsonType: X, ...}` becomes `bsonType: X` in its place, so that the decrypted values still conform. An
/// `encrypt` without `bsonType` leaves nothing, for its values may have any type.
///
/// Errors: `SCHEMA_INVALID`, `BSON_MALFORMED` and `BSON_TOO_DEEP`, with `path`. An `encrypt` beside `bsonType` or `type`
/// is invalid, as servers hold it too.
pub fn strip_encryption(schema: &[u8]) -> Result<(Vec<u8>, u32)> {
    edit(schema, Edit::Strip)
}

fn edit(schema: &[u8], edit: Edit<'_>) -> Result<(Vec<u8>, u32)> {
    let document = RawDocument::from_bytes(schema).map_err(|_| {
        Error::new(Code::BsonMalformed, "the schema is not a BSON document").with("path", "")
    })?;
    let mut editor = Editor::new(edit);
    let mut out = Vec::with_capacity(schema.len());
    editor.root(document, &mut out, &Path::ROOT)?;
    Ok((out, editor.changed()))
}
