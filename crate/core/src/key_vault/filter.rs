//! The find filter that asks the key vault for data keys.

use alloc::vec::Vec;

use bson::raw::{CStr, RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};

use super::{KeyId, key_document};

const OR: &CStr = cstr!("$or");
const IN: &CStr = cstr!("$in");

/// The filter for the keys with one of these ids or alternate names.
///
/// Shape: `{$or: [{_id: {$in: [...]}}, {keyAltNames: {$in: [...]}}]}`, both arrays always present. Duplicates are
/// removed and the elements stand in reverse, as in libmongocrypt, so that recorded commands compare equal.
#[must_use]
pub fn keys_filter(ids: &[KeyId], names: &[&str]) -> RawDocumentBuf {
    let ids = unique_reversed(ids);
    let names = unique_reversed(names);
    let mut alternatives = RawArrayBuf::new();
    alternatives.push(is_one_of(
        key_document::ID,
        ids.iter().map(|id| RawBsonRef::from(id.to_bson())),
    ));
    alternatives.push(is_one_of(
        key_document::KEY_ALT_NAMES,
        names.iter().map(|name| RawBsonRef::from(*name)),
    ));
    let mut filter = RawDocumentBuf::new();
    filter.append(OR, alternatives);
    filter
}

fn is_one_of<'a>(field: &CStr, values: impl Iterator<Item = RawBsonRef<'a>>) -> RawDocumentBuf {
    let mut list = RawArrayBuf::new();
    for value in values {
        list.push(value);
    }
    let mut condition = RawDocumentBuf::new();
    condition.append(IN, list);
    let mut document = RawDocumentBuf::new();
    document.append(field, condition);
    document
}

/// The first occurrence of each element, last one first.
fn unique_reversed<T: Ord + Copy>(requested: &[T]) -> Vec<T> {
    let mut seen = alloc::collections::BTreeSet::new();
    let mut unique: Vec<T> = requested
        .iter()
        .copied()
        .filter(|item| seen.insert(*item))
        .collect();
    unique.reverse();
    unique
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bson::{Binary, rawdoc, spec::BinarySubtype};

    fn uuid(byte: u8) -> Binary {
        Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![byte; 16],
        }
    }

    #[test]
    fn filter_reverses_and_removes_duplicates() {
        let [a, b] = [KeyId::new([1; 16]), KeyId::new([2; 16])];
        assert_eq!(
            keys_filter(&[a, b, a], &["x", "y", "y", "x\0z"]),
            rawdoc! { "$or": [
                { "_id": { "$in": [uuid(2), uuid(1)] } },
                { "keyAltNames": { "$in": ["x\0z", "y", "x"] } },
            ] }
        );
    }

    #[test]
    fn filter_keeps_empty_arrays() {
        assert_eq!(
            keys_filter(&[], &[]),
            rawdoc! { "$or": [{ "_id": { "$in": [] } }, { "keyAltNames": { "$in": [] } }] }
        );
    }
}
