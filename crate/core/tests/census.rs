//! The census: every kind of payload is counted as what it is, without keys.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use csfle_core::{
    Code,
    census::{KeyCount, census},
    key_vault::KeyId,
    raw::{begin_document, binary_value, element_type as ty, end_document, push_element},
};

fn document(fields: &[(&str, u8, Vec<u8>)]) -> Vec<u8> {
    let mut document = begin_document(64);
    for (name, bson_type, value) in fields {
        push_element(&mut document, *bson_type, name.as_bytes(), value);
    }
    end_document(&mut document, 0);
    document
}

/// A subtype-6 value with this first byte under the key of sixteen times `key`.
fn payload(kind: u8, key: u8) -> Vec<u8> {
    let mut payload = vec![kind];
    payload.extend_from_slice(&[key; 16]);
    payload.push(ty::STRING);
    payload.extend_from_slice(&[0; 64]);
    binary_value(6, &payload)
}

#[test]
fn values_are_counted_by_key_and_by_path_and_the_rest_by_kind() {
    let inner = document(&[
        ("note", ty::BINARY, payload(2, 1)),
        ("other", ty::BINARY, payload(2, 2)),
    ]);
    let list = document(&[
        ("0", ty::DOCUMENT, inner.clone()),
        ("1", ty::DOCUMENT, inner),
        ("2", ty::BINARY, payload(1, 2)),
    ]);
    let first = document(&[
        ("ssn", ty::BINARY, payload(1, 1)),
        ("plain", ty::BINARY, binary_value(0, &[1; 90])),
        ("visits", ty::ARRAY, list),
        ("marking", ty::BINARY, binary_value(6, &[0, 5, 0, 0, 0, 0])),
        ("stored", ty::BINARY, payload(9, 1)),
        ("command", ty::BINARY, payload(10, 1)),
        ("new", ty::BINARY, payload(200, 1)),
        ("short", ty::BINARY, binary_value(6, &[1; 18])),
        ("empty", ty::BINARY, binary_value(6, &[])),
    ]);
    let second = document(&[("ssn", ty::BINARY, payload(1, 1))]);
    let found = census(&[first, second].concat()).unwrap();
    assert_eq!((found.documents, found.values), (2, 7));
    assert_eq!((found.queryable, found.markings, found.unknown), (2, 1, 3));
    let of = |key: u8| found.by_key[&KeyId::new([key; 16])];
    let counts = |deterministic, random| KeyCount {
        deterministic,
        random,
    };
    assert_eq!((of(1), of(2)), (counts(2, 2), counts(1, 2)));
    assert_eq!(found.by_key.len(), 2);
    let paths: Vec<(&str, u32)> = found
        .by_path
        .iter()
        .map(|(path, values)| (path.as_str(), *values))
        .collect();
    assert_eq!(
        paths,
        [
            ("ssn", 2),
            ("visits.$[]", 1),
            ("visits.$[].note", 2),
            ("visits.$[].other", 2)
        ]
    );
}

#[test]
fn a_field_named_by_a_number_is_not_taken_for_an_index() {
    let inner = document(&[("0", ty::BINARY, payload(2, 1))]);
    let found = census(&document(&[("a", ty::DOCUMENT, inner)])).unwrap();
    assert_eq!(found.by_path.keys().collect::<Vec<_>>(), ["a.0"]);
}

#[test]
fn no_documents_are_an_empty_census_and_broken_ones_are_refused() {
    let none = census(b"").unwrap();
    assert_eq!((none.documents, none.values), (0, 0));
    let error = census(&[5, 0, 0, 0, 1]).err().unwrap();
    assert_eq!(error.code(), Code::BsonMalformed);
}
