//! The reader of schemas: paths, properties that are there twice, schemas that cannot be followed.

use super::encrypted_paths::{EncryptedPaths, Place, resolve};
use crate::error::Code;
use alloc::{format, vec};
use bson::{RawDocumentBuf, rawdoc};

fn place(schema: &RawDocumentBuf, path: &str) -> &'static str {
    let paths = EncryptedPaths::read(schema.as_bytes()).unwrap();
    match resolve(&paths.roots(), path.as_bytes()) {
        Place::Plain => "plain",
        Place::Encrypted => "encrypted",
        Place::Inside => "inside",
        Place::Above(_) => "above",
    }
}

#[test]
fn paths_are_followed_through_properties_patterns_and_the_rest() {
    let leaf = rawdoc! { "encrypt": {} };
    let schema = rawdoc! { "properties": {
        "ssn": leaf.clone(), "encrypt": { "bsonType": "string" },
        "a": { "properties": { "b": leaf.clone() } },
        "p": { "patternProperties": { "_pii$": leaf.clone() } },
        "rest": { "properties": { "known": { "bsonType": "int" } }, "additionalProperties": leaf.clone() },
    } };
    for (path, expected) in [
        ("ssn", "encrypted"),
        ("ssn.x", "inside"),
        ("ssn.0", "inside"),
        ("encrypt", "plain"),
        ("name", "plain"),
        ("a", "above"),
        ("a.b", "encrypted"),
        ("a.0.b", "encrypted"),
        ("a.$[].b", "encrypted"),
        ("a.$[x].b.c", "inside"),
        ("a.c.b", "plain"),
        ("p.x_pii", "encrypted"),
        ("p.x", "plain"),
        ("rest.known", "plain"),
        ("rest.other", "encrypted"),
    ] {
        assert_eq!(place(&schema, path), expected, "{path}");
    }
}

#[test]
fn of_a_property_that_is_there_twice_the_stricter_node_counts() {
    let (leaf, plain) = (rawdoc! { "encrypt": {} }, rawdoc! {});
    let above = rawdoc! { "properties": { "b": leaf.clone() } };
    for (nodes, expected) in [
        ([&leaf, &plain], "encrypted"),
        ([&plain, &leaf], "encrypted"),
        ([&above, &leaf], "encrypted"),
        ([&leaf, &above], "encrypted"),
        ([&above, &plain], "above"),
        ([&plain, &above], "above"),
    ] {
        let mut properties = RawDocumentBuf::new();
        for node in nodes {
            properties.append(bson::cstr!("a"), node.clone());
        }
        let schema = rawdoc! { "properties": properties };
        assert_eq!(place(&schema, "a"), expected, "{nodes:?}");
    }
}

#[test]
fn a_schema_of_many_properties_is_read_at_once() {
    let mut properties = RawDocumentBuf::new();
    let number = 150_000;
    for index in 0..number {
        let name = bson::raw::CString::try_from(format!("{:06}", number - index)).unwrap();
        properties.append(name, rawdoc! { "encrypt": {} });
    }
    let started = std::time::Instant::now();
    let schema = rawdoc! { "properties": properties };
    assert_eq!(place(&schema, "000001"), "encrypted");
    assert!(started.elapsed().as_secs() < 10);
}

#[test]
fn encrypt_that_cannot_be_followed_makes_the_schema_invalid() {
    let leaf = rawdoc! { "encrypt": {} };
    for (schema, path) in [
        (leaf.clone(), ""),
        (rawdoc! { "encrypt": 1 }, "encrypt"),
        (rawdoc! { "anyOf": [leaf.clone()] }, "anyOf.0.encrypt"),
        (
            rawdoc! { "allOf": [{ "properties": { "a": leaf.clone() } }] },
            "allOf.0.properties.a.encrypt",
        ),
        (rawdoc! { "not": leaf.clone() }, "not.encrypt"),
        (
            rawdoc! { "allOf": [{ "properties": { "properties": leaf.clone() } }] },
            "allOf.0.properties.properties.encrypt",
        ),
        (
            rawdoc! { "oneOf": [{ "additionalProperties": leaf.clone() }] },
            "oneOf.0.additionalProperties.encrypt",
        ),
        (
            rawdoc! { "properties": { "a": { "items": leaf.clone() } } },
            "properties.a.items.encrypt",
        ),
        (
            rawdoc! { "properties": { "a.b": leaf.clone() } },
            "properties.a.b",
        ),
        (
            rawdoc! { "patternProperties": { "(?i)a": leaf.clone() } },
            "patternProperties.(?i)a",
        ),
        (
            rawdoc! { "futureKeyword": { "x": [leaf] } },
            "futureKeyword.x.0.encrypt",
        ),
    ] {
        let error = EncryptedPaths::read(schema.as_bytes()).err().unwrap();
        assert_eq!(error.code(), Code::SchemaInvalid);
        assert_eq!(error.details()[0].1, path);
    }
}
