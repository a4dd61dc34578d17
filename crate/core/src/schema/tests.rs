use alloc::{format, string::String, vec, vec::Vec};

use bson::{
    Binary, RawBson,
    raw::{RawArrayBuf, RawDocumentBuf, cstr},
    rawdoc,
    spec::BinarySubtype,
};
use proptest::prelude::*;

use super::{rewrite_key_ids, strip_encryption};
use crate::{
    error::{Code, Result},
    key_vault::KeyId,
};

const OLD: KeyId = KeyId::new([1; 16]);
const NEW: KeyId = KeyId::new([2; 16]);

fn uuid(id: KeyId) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.as_bytes().to_vec(),
    }
}

fn rewritten(schema: &RawDocumentBuf, mapping: &[(KeyId, KeyId)]) -> (RawDocumentBuf, u32) {
    opened(rewrite_key_ids(schema.as_bytes(), mapping))
}

fn stripped(schema: &RawDocumentBuf) -> (RawDocumentBuf, u32) {
    opened(strip_encryption(schema.as_bytes()))
}

fn opened(edited: Result<(Vec<u8>, u32)>) -> (RawDocumentBuf, u32) {
    let (bytes, changed) = edited.expect("the schema is acceptable");
    (
        RawDocumentBuf::from_bytes(bytes).expect("the output is BSON"),
        changed,
    )
}

/// `leaf` at every place where a subschema may stand.
fn everywhere(leaf: &RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! {
        "bsonType": "object",
        "properties": { "a": leaf.clone(), "encrypt": leaf.clone(), "b": { "properties": { "c": leaf.clone() } } },
        "patternProperties": { "^x": leaf.clone() },
        "additionalProperties": leaf.clone(),
        "items": [leaf.clone(), { "items": leaf.clone() }],
        "additionalItems": leaf.clone(),
        "allOf": [leaf.clone()],
        "anyOf": [{}, leaf.clone()],
        "oneOf": [leaf.clone()],
        "not": leaf.clone(),
        "dependencies": { "a": ["b"], "c": leaf.clone() },
    }
}

const PLACES: u32 = 13;

#[test]
fn rewrite_reaches_every_subschema_and_nothing_else() {
    let with = |id: KeyId| {
        everywhere(
            &rawdoc! { "encrypt": { "bsonType": "string", "keyId": [uuid(id)], "algorithm": "x" } },
        )
    };
    assert_eq!(rewritten(&with(OLD), &[(OLD, NEW)]), (with(NEW), PLACES));
    assert_eq!(rewritten(&with(NEW), &[(OLD, NEW)]), (with(NEW), 0));
    assert_eq!(rewritten(&with(OLD), &[]), (with(OLD), 0));
}

#[test]
fn rewrite_covers_metadata_validators_and_several_ids() {
    let with = |id: KeyId| {
        let other = KeyId::new([7; 16]);
        rawdoc! { "$jsonSchema": {
            "encryptMetadata": { "keyId": [uuid(other), uuid(id)], "algorithm": "x" },
            "properties": { "o": { "encryptMetadata": { "keyId": [uuid(id)] } }, "p": { "encrypt": {} } },
        }, "other": { "encrypt": 1 } }
    };
    assert_eq!(
        rewritten(&with(OLD), &[(NEW, OLD), (OLD, NEW)]),
        (with(NEW), 2)
    );
}

#[test]
fn rewrite_leaves_pointers_and_whatever_is_no_keyword() {
    let id = || vec![uuid(OLD)].into_iter().collect::<RawArrayBuf>();
    let schema = rawdoc! {
        "properties": {
            "encrypt": { "enum": [{ "encrypt": { "keyId": id() } }] },
            "keyId": { "bsonType": "binData", "default": { "encrypt": { "keyId": id() } } },
            "p": { "encrypt": { "keyId": "/pointer" } },
            "$jsonSchema": { "$jsonSchema": { "encrypt": { "keyId": id() } } },
        },
        "keyId": id(),
        "description": { "properties": 1 },
        "additionalProperties": false,
        "additionalItems": true,
    };
    assert_eq!(rewritten(&schema, &[(OLD, NEW)]), (schema.clone(), 0));
    // The property `encrypt` is walked as a schema, not taken for the keyword.
    assert_eq!(stripped(&schema).1, 1, "only the property p is encrypted");
}

#[test]
fn strip_leaves_types_in_place() {
    let schema = everywhere(&rawdoc! {
        "title": "t",
        "encrypt": { "keyId": [uuid(OLD)], "bsonType": "string", "algorithm": "x" },
        "description": "d",
    });
    let expected = everywhere(&rawdoc! { "title": "t", "bsonType": "string", "description": "d" });
    assert_eq!(stripped(&schema), (expected, PLACES));
}

#[test]
fn strip_handles_lists_of_types_no_type_and_metadata() {
    let schema = rawdoc! {
        "bsonType": "object",
        "encryptMetadata": { "keyId": [uuid(OLD)] },
        "properties": {
            "a": { "encrypt": { "bsonType": ["int", "string"] } },
            "b": { "encrypt": { "algorithm": "x" } },
            "c": { "encryptMetadata": {}, "bsonType": "object" },
        },
        "required": ["a"],
    };
    let expected = rawdoc! {
        "bsonType": "object",
        "properties": { "a": { "bsonType": ["int", "string"] }, "b": {}, "c": { "bsonType": "object" } },
        "required": ["a"],
    };
    assert_eq!(stripped(&schema), (expected.clone(), 4));
    assert_eq!(stripped(&expected), (expected.clone(), 0));
}

#[test]
fn bad_shapes_are_refused_with_their_path() {
    let generic = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![1; 16],
    };
    for (schema, path) in [
        (rawdoc! { "properties": 1 }, "properties"),
        (rawdoc! { "properties": [] }, "properties"),
        (
            rawdoc! { "properties": { "a": { "properties": { "b": 1 } } } },
            "properties.a.properties.b",
        ),
        (
            rawdoc! { "patternProperties": { "^a": true } },
            "patternProperties.^a",
        ),
        (
            rawdoc! { "additionalProperties": "x" },
            "additionalProperties",
        ),
        (rawdoc! { "additionalItems": 1 }, "additionalItems"),
        (rawdoc! { "items": true }, "items"),
        (rawdoc! { "items": [{}, 1] }, "items.1"),
        (rawdoc! { "allOf": {} }, "allOf"),
        (rawdoc! { "anyOf": [{ "not": [] }] }, "anyOf.0.not"),
        (rawdoc! { "oneOf": ["x"] }, "oneOf.0"),
        (rawdoc! { "dependencies": { "a": "b" } }, "dependencies.a"),
        (rawdoc! { "$jsonSchema": 1 }, "$jsonSchema"),
        (rawdoc! { "encrypt": true }, "encrypt"),
        (
            rawdoc! { "properties": { "a": { "encryptMetadata": [] } } },
            "properties.a.encryptMetadata",
        ),
    ] {
        for edited in [
            rewrite_key_ids(schema.as_bytes(), &[]),
            strip_encryption(schema.as_bytes()),
        ] {
            assert_refused(edited, Code::SchemaInvalid, path);
        }
    }
    for (schema, path) in [
        (
            rawdoc! { "encrypt": { "keyId": uuid(OLD) } },
            "encrypt.keyId",
        ),
        (
            rawdoc! { "encryptMetadata": { "keyId": 1 } },
            "encryptMetadata.keyId",
        ),
        (
            rawdoc! { "properties": { "a": { "encrypt": { "keyId": [uuid(OLD), generic] } } } },
            "properties.a.encrypt.keyId.1",
        ),
    ] {
        assert_refused(
            rewrite_key_ids(schema.as_bytes(), &[]),
            Code::SchemaInvalid,
            path,
        );
    }
    for (schema, path) in [
        (
            rawdoc! { "properties": { "a": { "encrypt": {}, "bsonType": "string" } } },
            "properties.a",
        ),
        (
            rawdoc! { "type": "string", "encrypt": { "bsonType": "string" } },
            "",
        ),
        (rawdoc! { "encrypt": {}, "encrypt": {} }, ""),
        (rawdoc! { "encrypt": { "bsonType": 2 } }, "encrypt.bsonType"),
    ] {
        assert_refused(
            strip_encryption(schema.as_bytes()),
            Code::SchemaInvalid,
            path,
        );
    }
}

fn assert_refused(edited: Result<(Vec<u8>, u32)>, code: Code, path: &str) {
    let error = edited.expect_err("the schema is not acceptable");
    assert_eq!(error.code(), code, "{path}");
    assert_eq!(error.details(), [("path", String::from(path))]);
}

#[test]
fn bytes_that_are_no_bson_are_refused() {
    assert_refused(strip_encryption(&[]), Code::BsonMalformed, "");
    assert_refused(
        rewrite_key_ids(&[5, 0, 0, 0, 1], &[]),
        Code::BsonMalformed,
        "",
    );
    let mut bytes = rawdoc! { "not": { "not": { "x": 1 } } }.into_bytes();
    let at = bytes.iter().rposition(|&b| b == b'x').expect("it is there");
    bytes[at - 1] = 0x7e; // no such element type
    assert_refused(strip_encryption(&bytes), Code::BsonMalformed, "not.not");
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels| (0..levels).fold(rawdoc! {}, |inner, _| rawdoc! { "not": inner });
    assert_eq!(stripped(&nested(200)), (nested(200), 0));
    let error = strip_encryption(nested(201).as_bytes()).expect_err("it is too deep");
    assert_eq!(error.code(), Code::BsonTooDeep);
    let error = rewrite_key_ids(nested(2_000).as_bytes(), &[]).expect_err("it is far too deep");
    assert_eq!(error.code(), Code::BsonTooDeep);
}

/// Schemas without encryption, with values of many types where no subschema stands.
fn plain_schemas() -> impl Strategy<Value = RawDocumentBuf> {
    let values = prop_oneof![
        any::<i64>().prop_map(RawBson::Int64),
        any::<f64>().prop_map(RawBson::Double),
        ".{0,9}".prop_map(RawBson::String),
        Just(RawBson::Null),
        Just(RawBson::from(uuid(OLD))),
        Just(RawBson::Document(
            rawdoc! { "encrypt": { "keyId": [uuid(OLD)] }, "properties": 1 }
        )),
        Just(RawBson::Symbol(String::from("s"))),
    ];
    let names = "[a-z]{0,4}|[^\0]{0,3}";
    let leaf = proptest::collection::vec((names, values), 0..4).prop_map(|fields| {
        let mut schema = RawDocumentBuf::new();
        for (name, value) in fields {
            let keyword = ["not", "items"].contains(&name.as_str());
            let name = if keyword { format!("x{name}") } else { name };
            let name = bson::raw::CString::try_from(name).expect("a name without NUL");
            schema.append(name, value);
        }
        schema
    });
    leaf.prop_recursive(4, 24, 3, |inner| {
        let inner = proptest::collection::vec(inner, 1..3);
        (0..6, inner).prop_map(|(keyword, inner)| {
            let named: RawDocumentBuf = inner
                .iter()
                .zip([cstr!("encrypt"), cstr!("p.q"), cstr!("")])
                .map(|(schema, name)| (name, schema.clone()))
                .collect();
            let list: RawArrayBuf = inner.iter().cloned().collect();
            match keyword {
                0 => rawdoc! { "title": "t", "properties": named },
                1 => {
                    rawdoc! { "patternProperties": named, "additionalProperties": inner[0].clone() }
                }
                2 => rawdoc! { "items": list, "additionalItems": false },
                3 => rawdoc! { "anyOf": list, "minimum": 1 },
                4 => rawdoc! { "not": inner[0].clone(), "required": ["a"] },
                _ => rawdoc! { "dependencies": named, "bsonType": "object" },
            }
        })
    })
}

proptest! {
    #[test]
    fn schemas_without_encryption_stay_byte_for_byte(schema in plain_schemas()) {
        let expected = Ok((schema.as_bytes().to_vec(), 0));
        prop_assert_eq!(&rewrite_key_ids(schema.as_bytes(), &[(OLD, NEW)]), &expected);
        prop_assert_eq!(&strip_encryption(schema.as_bytes()), &expected);
    }

    #[test]
    fn damaged_schemas_never_panic(schema in plain_schemas(), flips in proptest::collection::vec(any::<(u16, u8)>(), 1..4)) {
        let mut bytes = rawdoc! { "encrypt": { "keyId": [uuid(OLD)], "bsonType": "int" }, "properties": { "p": schema } }
            .into_bytes();
        for (at, mask) in flips {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= mask;
        }
        for edited in [rewrite_key_ids(&bytes, &[(OLD, NEW)]), strip_encryption(&bytes)].into_iter().flatten() {
            prop_assert!(RawDocumentBuf::from_bytes(edited.0).is_ok());
        }
    }
}
