//! Key documents that MongoDB publishes, and the converter that reads them.

mod support;

use bson::raw::RawDocument;
use csfle_core::{
    key_vault::{KeyDocument, KeyId, split_documents},
    schema::{rewrite_key_ids, strip_encryption},
};
use serde_json::{Value, json};
use support::{extended_json_to_bson, vector};

const KEY_DOCUMENTS: [&str; 11] = [
    "corpus/corpus-key-aws.json",
    "corpus/corpus-key-azure.json",
    "corpus/corpus-key-gcp.json",
    "corpus/corpus-key-kmip.json",
    "corpus/corpus-key-local.json",
    "external/external-key.json",
    "limits/limits-key.json",
    "lookup/key-doc.json",
    "keys/key1-document.json",
    "keys/key2-document.json",
    "legacy/basic.json",
];

/// The key documents of one vector file: the file itself, or its `key_vault_data`.
fn key_documents(file: &Value) -> Vec<Value> {
    match &file["key_vault_data"] {
        Value::Array(documents) => documents.clone(),
        _ => vec![file.clone()],
    }
}

#[test]
fn published_key_documents_keep_every_field() {
    let mut seen = 0;
    for name in KEY_DOCUMENTS {
        let Some(file) = vector(&format!("driver-specs/{name}")) else {
            return;
        };
        for json in key_documents(&file) {
            let bytes = extended_json_to_bson(json);
            let key = KeyDocument::parse(&bytes).expect(name);
            let original = RawDocument::from_bytes(&bytes).expect("the converter writes BSON");
            let written = key.to_raw().expect("the key names its KMIP object");
            for (field, value) in original.iter().map(|element| element.expect("BSON")) {
                let ours = written.get(field).expect("BSON");
                match field.as_str() {
                    "status" => assert_eq!(ours.and_then(|v| v.as_i32()), Some(0), "{name}"),
                    "version" => assert_eq!(ours, None, "{name}: version 0 is implied"),
                    "masterKey" => {
                        let [theirs, ours] =
                            [Some(value), ours].map(|v| sorted(v.expect("present")));
                        assert_eq!(ours, theirs, "{name}");
                    }
                    _ => assert_eq!(ours, Some(value), "{name}: {field}"),
                }
            }
            assert_eq!(KeyDocument::parse(written.as_bytes()), Ok(key), "{name}");
            seen += 1;
        }
    }
    assert!(
        seen >= KEY_DOCUMENTS.len(),
        "only {seen} key documents found"
    );
}

/// Fields of a master key by name: published documents do not keep to libmongocrypt's order.
fn sorted(master_key: bson::raw::RawBsonRef<'_>) -> Vec<(String, String)> {
    let document = master_key.as_document().expect("a document");
    let mut fields: Vec<_> = document
        .iter()
        .map(|element| element.expect("BSON"))
        .map(|(name, value)| (name.to_string(), format!("{value:?}")))
        .collect();
    fields.sort();
    fields
}

#[test]
fn converter_writes_every_type() {
    let bytes = extended_json_to_bson(json!({
        "z": {"$numberDouble": "-Infinity"}, "d": 1.5, "n": {"$numberDouble": "NaN"},
        "s": "t", "o": {"$ref": "c", "x": []}, "a": [1, 4_294_967_296_i64],
        "b": {"$binary": {"base64": "AQI=", "subType": "02"}},
        "u": {"$uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f"},
        "un": {"$undefined": true}, "oid": {"$oid": "0102030405060708090a0b0c"}, "t": true,
        "date": {"$date": {"$numberLong": "-1"}}, "iso": {"$date": "1970-01-01T00:00:01.002Z"}, "null": null,
        "re": {"$regularExpression": {"pattern": "p", "options": "i"}},
        "ptr": {"$dbPointer": {"$ref": "c", "$id": {"$oid": "0102030405060708090a0b0c"}}},
        "js": {"$code": "f"}, "jss": {"$code": "f", "$scope": {"x": 1}}, "sym": {"$symbol": "y"},
        "i": {"$numberInt": "-7"}, "ts": {"$timestamp": {"t": 1, "i": 2}}, "l": {"$numberLong": "8"},
        "dec": {"$numberDecimal": "1.234"}, "min": {"$minKey": 1}, "max": {"$maxKey": 1}
    }));
    let expected = "01 7a00 000000000000f0ff  01 6400 000000000000f83f  01 6e00 000000000000f87f \
        02 7300 02000000 7400  03 6f00 19000000 02 2472656600 02000000 6300 04 7800 0500000000 00 \
        04 6100 17000000 10 3000 01000000 12 3100 0000000001000000 00 \
        05 6200 06000000 02 02000000 0102  05 7500 10000000 04 000102030405060708090a0b0c0d0e0f \
        06 756e00  07 6f696400 0102030405060708090a0b0c  08 7400 01 \
        09 6461746500 ffffffffffffffff  09 69736f00 ea03000000000000  0a 6e756c6c00 \
        0b 726500 7000 6900  0c 70747200 02000000 6300 0102030405060708090a0b0c \
        0d 6a7300 02000000 6600  0f 6a737300 16000000 02000000 6600 0c000000 10 7800 01000000 00 \
        0e 73796d00 02000000 7900  10 6900 f9ffffff  11 747300 0200000001000000  12 6c00 0800000000000000 \
        13 64656300 d2040000000000000000000000003a30  ff 6d696e00  7f 6d617800 00";
    let body = hex::decode(expected.replace(' ', "")).expect("hexadecimal");
    let length = u32::try_from(body.len() + 4).expect("short").to_le_bytes();
    assert_eq!(
        hex::encode(&bytes),
        hex::encode([&length[..], &body].concat())
    );
    assert_eq!(split_documents(&bytes).count(), 1);
}

#[test]
fn published_schemas_can_be_rewritten_back_and_stripped() {
    for name in [
        "corpus/corpus-schema.json",
        "external/external-schema.json",
        "limits/limits-schema.json",
    ] {
        let Some(file) = vector(&format!("driver-specs/{name}")) else {
            return;
        };
        let expected = file.to_string().matches("\"encrypt\"").count();
        let schema = extended_json_to_bson(file);
        let ids = ["local", "aws", "azure", "gcp", "kmip"].map(|provider| {
            let file = vector(&format!("driver-specs/corpus/corpus-key-{provider}.json"));
            let key = extended_json_to_bson(file.expect("the folder is there"));
            KeyDocument::parse(&key).expect("a key document").id
        });
        let forth: Vec<_> = ids
            .iter()
            .map(|id| (*id, KeyId::v4_from_random(id.as_bytes().map(|b| !b))))
            .collect();
        let back: Vec<_> = forth.iter().map(|(old, new)| (*new, *old)).collect();
        let (there, changed) = rewrite_key_ids(&schema, &forth).expect(name);
        assert_eq!(
            rewrite_key_ids(&there, &back),
            Ok((schema.clone(), changed)),
            "{name}"
        );
        let (plain, removed) = strip_encryption(&schema).expect(name);
        assert_eq!(usize::try_from(removed), Ok(expected), "{name}");
        assert!(
            !plain.windows(9).any(|window| window == b"\x03encrypt\0"),
            "{name}"
        );
    }
}
