//! Schemas in validators that are not where a schema is looked for.

use alloc::format;

use super::schemas::{bad_collection, find_in};
use crate::{
    error::Result,
    raw::{Element, all_elements, element_type as ty},
    schema::encrypted_paths::EncryptedPaths,
};

/// Refuses a validator in which a schema that encrypts is a part of something else. `place`: the only one allowed.
///
/// DIFFERS: libmongocrypt does not see it, and sends values in the clear.
///
/// Errors: `AUTO_ENCRYPTION_COLLECTION_INVALID`.
pub(super) fn refuse_elsewhere(
    holder: &Element<'_>,
    place: &[&str],
    namespace: &str,
) -> Result<()> {
    let known = match holder.bson_type {
        ty::DOCUMENT => find_in(holder.value, place)?.map(|(_, schema)| schema.as_ptr()),
        _ => None,
    };
    let mut open = alloc::vec![*holder];
    while let Some(element) = open.pop() {
        if !matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
            continue;
        }
        for field in all_elements(element.value)? {
            if field.name != b"$jsonSchema" || field.bson_type != ty::DOCUMENT {
                open.push(field);
                continue;
            }
            // One that cannot be read has an `encrypt` that cannot be followed.
            let encrypts =
                EncryptedPaths::read(field.value).map_or(true, |paths| !paths.is_empty());
            if encrypts && known != Some(field.value.as_ptr()) {
                return Err(bad_collection(format!(
                    "expected the schema with 'encrypt' at validator.$jsonSchema, found one elsewhere in the validator of \
                     {namespace}: move it there, or pass it in the option schemaMap"
                )));
            }
        }
    }
    Ok(())
}
