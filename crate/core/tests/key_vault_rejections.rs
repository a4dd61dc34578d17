//! Key documents that are refused, and with which words.

mod support;

use bson::{RawBson, raw::cstr, rawdoc, spec::BinarySubtype};
use csfle_core::{
    Code,
    key_vault::{KeyDocument, KeyId},
};
use support::key_documents::{ID, appended, array, binary, detail, document};

const ID_TEXT: &str = "00010203-0405-0607-0809-0a0b0c0d0e0f";

fn assert_refused(bytes: &[u8], code: Code, field: Option<&str>, message: &str) {
    let error = KeyDocument::parse(bytes).expect_err(message);
    assert_eq!((error.code(), error.message()), (code, message));
    assert_eq!(detail(&error, "field"), field, "{message}");
}

// The expectations on refusals were observed with libmongocrypt 1.21.0.

#[test]
fn parse_rejects_fields_of_a_wrong_type_or_value() {
    let text = RawBson::String("x".to_owned());
    let id = "invalid key, '_id' is not a UUID";
    let not_datetime = "invalid 'creationDate', expect datetime";
    for (name, value, message) in [
        (cstr!("_id"), text.clone(), id),
        (cstr!("_id"), binary(BinarySubtype::Generic, &ID), id),
        (cstr!("_id"), binary(BinarySubtype::UuidOld, &ID), id),
        (cstr!("_id"), binary(BinarySubtype::Uuid, &ID[..15]), id),
        (
            cstr!("keyAltNames"),
            text.clone(),
            "malformed keyAltNames, expected array",
        ),
        (
            cstr!("keyAltNames"),
            RawBson::Null,
            "malformed keyAltNames, expected array",
        ),
        (
            cstr!("keyAltNames"),
            RawBson::Document(rawdoc! { "0": "a" }),
            "malformed keyAltNames, expected array",
        ),
        (
            cstr!("keyAltNames"),
            RawBson::Array(
                [RawBson::from("a".to_owned()), RawBson::Int32(1)]
                    .into_iter()
                    .collect(),
            ),
            "unexpected non-UTF8 keyAltName",
        ),
        (
            cstr!("keyAltNames"),
            RawBson::Array(array(&["a", "b", "a"])),
            "unexpected duplicate keyAltNames",
        ),
        (
            cstr!("keyMaterial"),
            text.clone(),
            "invalid 'keyMaterial', expected binary",
        ),
        (
            cstr!("keyMaterial"),
            binary(BinarySubtype::Uuid, &ID),
            "invalid 'keyMaterial', expected subtype 0",
        ),
        (
            cstr!("keyMaterial"),
            binary(BinarySubtype::BinaryOld, &ID),
            "invalid 'keyMaterial', expected subtype 0",
        ),
        (
            cstr!("masterKey"),
            text.clone(),
            "invalid 'masterKey', expected document",
        ),
        (
            cstr!("masterKey"),
            RawBson::Array(array(&["a"])),
            "invalid 'masterKey', expected document",
        ),
        (cstr!("creationDate"), RawBson::Int64(1), not_datetime),
        (cstr!("creationDate"), RawBson::Null, not_datetime),
        (
            cstr!("updateDate"),
            RawBson::Int32(1),
            "invalid 'updateDate', expect datetime",
        ),
        (
            cstr!("version"),
            text.clone(),
            "invalid 'version', expect int",
        ),
        (
            cstr!("version"),
            RawBson::Double(0.0),
            "invalid 'version', expect int",
        ),
        (
            cstr!("version"),
            RawBson::Boolean(false),
            "invalid 'version', expect int",
        ),
    ] {
        let bytes = document(&[(name, Some(value))]);
        assert_refused(
            &bytes,
            Code::KeyVaultFieldInvalid,
            Some(name.as_str()),
            message,
        );
    }
}

#[test]
fn parse_rejects_versions_other_than_0() {
    for version in [
        RawBson::Int32(1),
        RawBson::Int64(1),
        RawBson::Int64(1 << 32),
    ] {
        assert_refused(
            &document(&[(cstr!("version"), Some(version))]),
            Code::KeyVaultVersionUnsupported,
            Some("version"),
            "unsupported key document version, only supports version=0",
        );
    }
    for version in [RawBson::Int32(0), RawBson::Int64(0)] {
        let bytes = document(&[(cstr!("version"), Some(version))]);
        assert_eq!(
            KeyDocument::parse(&bytes),
            KeyDocument::parse(&document(&[]))
        );
    }
}

#[test]
fn parse_rejects_unknown_fields_before_missing_ones() {
    assert_refused(
        &document(&[(cstr!("x"), Some(RawBson::Null)), (cstr!("_id"), None)]),
        Code::KeyVaultFieldUnknown,
        Some("x"),
        "unrecognized field 'x'",
    );
}

#[test]
fn parse_rejects_missing_fields_in_a_fixed_order() {
    let mut left_out = Vec::new();
    for (name, message) in [
        (cstr!("updateDate"), "invalid key, no 'updateDate'"),
        (cstr!("creationDate"), "invalid key, no 'creationDate'"),
        (cstr!("status"), "invalid key, no 'status'"),
        (cstr!("keyMaterial"), "invalid key, no 'keyMaterial'"),
        (cstr!("masterKey"), "invalid key, no 'masterKey'"),
        (cstr!("_id"), "invalid key, no '_id'"),
    ] {
        let field = Some(name.as_str());
        assert_refused(
            &document(&[(name, None)]),
            Code::KeyVaultFieldMissing,
            field,
            message,
        );
        left_out.push((name, None));
        assert_refused(
            &document(&left_out),
            Code::KeyVaultFieldMissing,
            field,
            message,
        );
    }
}

#[test]
fn parse_rejects_bad_master_keys_with_their_own_codes() {
    for (master_key, code, field, message) in [
        (
            rawdoc! {},
            Code::MasterKeyInvalid,
            "masterKey.provider",
            "expected UTF-8 provider",
        ),
        (
            rawdoc! { "provider": "aws" },
            Code::MasterKeyInvalid,
            "masterKey.key",
            "expected UTF-8 key",
        ),
        (
            rawdoc! { "provider": "local", "x": 1 },
            Code::MasterKeyInvalid,
            "masterKey.x",
            "Unexpected field: 'x'",
        ),
        (
            rawdoc! { "provider": "azure", "keyVaultEndpoint": "x", "keyName": "n" },
            Code::KmsEndpointInvalid,
            "masterKey.keyVaultEndpoint",
            "Invalid endpoint, expected dot separator in host, but got: x",
        ),
        (
            rawdoc! { "provider": "x" },
            Code::KmsProviderUnrecognized,
            "masterKey.provider",
            "unrecognized KMS provider `x`: unrecognized type. Expected `<type>` or `<type>:<name>`. Example: `local` \
             or `local:name`.",
        ),
    ] {
        let bytes = document(&[(cstr!("masterKey"), Some(RawBson::Document(master_key)))]);
        assert_refused(&bytes, code, Some(field), message);
    }
}

#[test]
fn parse_rejects_a_second_master_key_and_takes_the_last_of_other_fields() {
    let again = RawBson::Document(rawdoc! { "provider": "local" });
    for second in [again, RawBson::Null] {
        assert_refused(
            &appended(document(&[]), cstr!("masterKey"), second),
            Code::KeyVaultFieldInvalid,
            Some("masterKey"),
            "duplicate field 'masterKey' in key document",
        );
    }
    let mut bytes = document(&[]);
    bytes = appended(bytes, cstr!("_id"), binary(BinarySubtype::Uuid, &[9; 16]));
    bytes = appended(bytes, cstr!("keyAltNames"), RawBson::Array(array(&["a"])));
    bytes = appended(bytes, cstr!("status"), RawBson::Int32(1));
    let key = KeyDocument::parse(&bytes).expect("a key document");
    assert_eq!(
        (key.id, key.key_alt_names),
        (KeyId::new([9; 16]), vec!["a".to_owned()])
    );
    let bytes = appended(
        document(&[(cstr!("_id"), Some(RawBson::Null))]),
        cstr!("_id"),
        RawBson::Null,
    );
    assert_refused(
        &bytes,
        Code::KeyVaultFieldInvalid,
        Some("_id"),
        "invalid key, '_id' is not a UUID",
    );
}

#[test]
fn parse_ignores_type_and_value_of_status_and_accepts_odd_names() {
    let names = array(&["", "a\0b", "a\0c"]);
    let bytes = document(&[
        (cstr!("status"), Some(RawBson::Document(rawdoc! { "a": 1 }))),
        (cstr!("keyAltNames"), Some(RawBson::Array(names))),
        (
            cstr!("keyMaterial"),
            Some(binary(BinarySubtype::Generic, &[])),
        ),
    ]);
    let key = KeyDocument::parse(&bytes).expect("a key document");
    assert_eq!(key.key_alt_names, ["", "a\0b", "a\0c"]);
    let bytes = document(&[(cstr!("keyAltNames"), Some(RawBson::Array(array(&[]))))]);
    let key = KeyDocument::parse(&bytes).expect("a key document");
    assert_eq!(
        key.to_bytes(),
        Ok(document(&[(cstr!("keyAltNames"), None)])),
        "no empty array is written"
    );
}

#[test]
fn parse_rejects_damaged_bson() {
    let good = document(&[]);
    let outer = "malformed BSON for key document";
    for bytes in [
        &[][..],
        &good[..good.len() - 1],
        &[good.as_slice(), &[0]].concat(),
    ] {
        assert_refused(bytes, Code::KeyVaultDocumentMalformed, None, outer);
    }
    let mut unknown_type = good.clone();
    unknown_type[4] = 0x7e;
    let inner = rawdoc! { "a": "hello" };
    let mut inside_status = document(&[(cstr!("status"), Some(RawBson::Document(inner)))]);
    let at = inside_status
        .windows(5)
        .position(|w| w == b"hello")
        .expect("it is there");
    inside_status[at - 4] = 99;
    let mut not_utf8 = good;
    let at = not_utf8
        .windows(3)
        .position(|w| w == b"aws")
        .expect("it is there");
    not_utf8[at] = 0xff;
    for bytes in [unknown_type, inside_status, not_utf8] {
        assert_refused(
            &bytes,
            Code::KeyVaultDocumentMalformed,
            None,
            "invalid BSON",
        );
    }
    let deep = (0..200).fold(rawdoc! {}, |inner, _| rawdoc! { "a": inner });
    let bytes = document(&[(cstr!("status"), Some(RawBson::Document(deep)))]);
    assert_refused(
        &bytes,
        Code::KeyVaultDocumentMalformed,
        None,
        "invalid BSON",
    );
}

#[test]
fn errors_name_the_key_wherever_its_id_stands() {
    let other_id = binary(BinarySubtype::Uuid, &[9; 16]);
    for bytes in [
        appended(
            document(&[(cstr!("_id"), Some(other_id)), (cstr!("status"), None)]),
            cstr!("_id"),
            binary(BinarySubtype::Uuid, &ID),
        ),
        document(&[(cstr!("x"), Some(RawBson::Null))]),
        document(&[(cstr!("status"), None)]),
        document(&[(cstr!("masterKey"), Some(RawBson::Document(rawdoc! {})))]),
        appended(
            document(&[(cstr!("_id"), None), (cstr!("x"), Some(RawBson::Null))]),
            cstr!("_id"),
            binary(BinarySubtype::Uuid, &ID),
        ),
    ] {
        let error = KeyDocument::parse(&bytes).expect_err("a mistake is in there");
        assert_eq!(detail(&error, "keyId"), Some(ID_TEXT));
    }
}
