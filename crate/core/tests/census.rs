//! The census: every kind of payload is counted as what it is, without keys.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use csfle_core::{
    Code,
    census::{KeyCount, census, containers},
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

#[test]
fn other_kinds_name_their_keys_and_those_that_do_not_may_need_any() {
    let mut marking = vec![0];
    marking.extend(document(&[("ki", ty::BINARY, binary_value(4, &[3; 16]))]));
    let found = census(&document(&[
        ("stored", ty::BINARY, payload(14, 1)),
        ("unindexed", ty::BINARY, payload(16, 1)),
        ("marking", ty::BINARY, binary_value(6, &marking)),
        ("damaged", ty::BINARY, binary_value(6, &[1; 17])),
        ("find", ty::BINARY, payload(12, 1)),
        ("empty", ty::BINARY, binary_value(6, &[])),
    ]))
    .unwrap();
    let of = |key: u8| found.referenced[&KeyId::new([key; 16])];
    assert_eq!((of(1), of(3)), (3, 1));
    assert_eq!((found.values, found.unattributed), (0, 2));
}

/// As `payload`, with this original BSON type.
fn typed(key: u8, bson_type: u8) -> Vec<u8> {
    let mut value = payload(2, key);
    value[5 + 17] = bson_type;
    value
}

#[test]
fn encrypted_documents_arrays_and_code_are_containers_and_scalars_are_not() {
    let all = document(&[
        ("text", ty::BINARY, typed(1, ty::STRING)),
        ("object", ty::BINARY, typed(2, ty::DOCUMENT)),
        ("list", ty::BINARY, typed(3, ty::ARRAY)),
        ("code", ty::BINARY, typed(4, ty::CODE_WITH_SCOPE)),
        ("queryable", ty::BINARY, payload(14, 5)),
    ]);
    assert_eq!(census(&all).unwrap().containers, 3);
    let kept = containers(&all).unwrap();
    let expected = [(2, ty::DOCUMENT), (3, ty::ARRAY), (4, ty::CODE_WITH_SCOPE)]
        .map(|(key, kind)| document(&[("v", ty::BINARY, typed(key, kind))]))
        .concat();
    assert_eq!(kept, expected);
    assert_eq!(containers(b"").unwrap(), b"");
}

#[test]
fn values_in_the_scope_of_code_count_as_references_and_are_opened() {
    let scope = document(&[("x", ty::BINARY, typed(7, ty::DOCUMENT))]);
    let mut code = 0i32.to_le_bytes().to_vec();
    code.extend(csfle_core::raw::string_value("f()"));
    code.extend(&scope);
    let len = i32::try_from(code.len()).unwrap();
    code[..4].copy_from_slice(&len.to_le_bytes());
    let whole = document(&[("f", ty::CODE_WITH_SCOPE, code)]);
    let found = census(&whole).unwrap();
    assert_eq!((found.values, found.containers), (0, 1));
    assert_eq!(found.referenced[&KeyId::new([7; 16])], 1);
    assert_eq!(
        containers(&whole).unwrap(),
        document(&[("v", ty::BINARY, typed(7, ty::DOCUMENT))])
    );
}
