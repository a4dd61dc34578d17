//! Key documents with one thing changed.

use bson::{
    Binary, DateTime, RawBson,
    raw::{CStr, RawDocumentBuf, cstr},
    rawdoc,
    spec::BinarySubtype,
};
use csfle_core::Error;

/// `_id` of [`document`].
pub(crate) const ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

pub(crate) fn binary(subtype: BinarySubtype, bytes: &[u8]) -> RawBson {
    RawBson::Binary(Binary {
        subtype,
        bytes: bytes.to_vec(),
    })
}

/// A valid key document in libmongocrypt's order, with fields replaced, left out (`None`) or added at the end.
pub(crate) fn document(changes: &[(&'static CStr, Option<RawBson>)]) -> Vec<u8> {
    let date = RawBson::DateTime(DateTime::from_millis(1_577_836_800_000));
    let mut fields: Vec<(&CStr, RawBson)> = vec![
        (cstr!("_id"), binary(BinarySubtype::Uuid, &ID)),
        (cstr!("keyAltNames"), RawBson::from(array(&["b", "a"]))),
        (
            cstr!("keyMaterial"),
            binary(BinarySubtype::Generic, &[7; 160]),
        ),
        (cstr!("creationDate"), date.clone()),
        (cstr!("updateDate"), date),
        (cstr!("status"), RawBson::Int32(0)),
        (
            cstr!("masterKey"),
            RawBson::Document(rawdoc! { "provider": "aws", "region": "r", "key": "k" }),
        ),
    ];
    for (name, value) in changes {
        let position = fields.iter().position(|(known, _)| known == name);
        match (position, value) {
            (Some(index), Some(value)) => fields[index].1 = value.clone(),
            (Some(index), None) => drop(fields.remove(index)),
            (None, Some(value)) => fields.push((name, value.clone())),
            (None, None) => {}
        }
    }
    fields.into_iter().collect::<RawDocumentBuf>().into_bytes()
}

pub(crate) fn array(names: &[&str]) -> bson::raw::RawArrayBuf {
    names.iter().copied().collect()
}

/// `document` with one more element at the end, even of a name that is there already.
pub(crate) fn appended(document: Vec<u8>, name: &CStr, value: RawBson) -> Vec<u8> {
    let mut document = RawDocumentBuf::from_bytes(document).expect("BSON");
    document.append(name, value);
    document.into_bytes()
}

/// A detail of an error by name.
pub(crate) fn detail<'a>(error: &'a Error, name: &str) -> Option<&'a str> {
    let detail = error.details().iter().find(|(known, _)| *known == name);
    detail.map(|(_, value)| value.as_str())
}
