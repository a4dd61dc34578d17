//! Whether the bytes of a document are BSON all the way down.

use bson::raw::{RawBsonRef, RawDocument};

/// Levels that servers accept; deeper documents cannot have been stored.
const MAX_DEPTH: usize = 200;

/// Reads every element of `document` and of the documents within.
///
/// DIFFERS: libmongocrypt does not look at UTF-8; here a string of other bytes makes the document malformed.
pub(super) fn is_well_formed(document: &RawDocument) -> bool {
    is_well_formed_to(document, MAX_DEPTH)
}

fn is_well_formed_to(document: &RawDocument, levels: usize) -> bool {
    levels > 0
        && document.iter().all(|element| match element {
            Err(_) => false,
            Ok((_, RawBsonRef::Document(inner))) => is_well_formed_to(inner, levels - 1),
            Ok((_, RawBsonRef::Array(inner))) => RawDocument::from_bytes(inner.as_bytes())
                .is_ok_and(|inner| is_well_formed_to(inner, levels - 1)),
            Ok((_, RawBsonRef::JavaScriptCodeWithScope(code))) => {
                is_well_formed_to(code.scope, levels - 1)
            }
            Ok(_) => true,
        })
}
