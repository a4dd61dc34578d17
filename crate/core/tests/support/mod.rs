//! Published vectors: where they are, and their extended JSON as BSON.
//!
//! The converter writes bytes itself rather than through a library, so that every BSON type survives, deprecated ones
//! included (MongoDB Extended JSON v2, canonical and relaxed).

#![allow(dead_code, reason = "each integration test uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

pub(crate) mod backup;
pub(crate) mod backup_faults;
pub(crate) mod host;
pub(crate) mod key_documents;

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// A file of the vectors by its path below their folder; `None`, with a message, where the folder is absent.
pub(crate) fn vector(name: &str) -> Option<Value> {
    let root = std::env::var_os("CSFLE_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !root.is_dir() {
        eprintln!("skipped: no vectors at {}", root.display());
        return None;
    }
    let path = root.join(name);
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| unreadable(&path.display().to_string(), &error.to_string()));
    Some(serde_json::from_str(&text).unwrap_or_else(|error| unreadable(name, &error.to_string())))
}

/// The BSON bytes of an extended JSON object.
pub(crate) fn extended_json_to_bson(document: Value) -> Vec<u8> {
    match document {
        Value::Object(fields) => document_bytes(fields.iter().map(|(k, v)| (k.clone(), v))),
        other => unreadable(&other.to_string(), "not an object"),
    }
}

fn document_bytes<'a>(elements: impl Iterator<Item = (String, &'a Value)>) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in elements {
        assert!(!name.contains('\0'), "a field name holds NUL");
        let (kind, bytes) = element(value);
        body.push(kind);
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(&bytes);
    }
    framed(&body)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = length(body.len() + 5);
    out.extend_from_slice(body);
    out.push(0);
    out
}

fn length(bytes: usize) -> Vec<u8> {
    i32::try_from(bytes)
        .expect("a vector is small")
        .to_le_bytes()
        .to_vec()
}

/// Type byte and value bytes (bsonspec.org 1.1).
fn element(value: &Value) -> (u8, Vec<u8>) {
    match value {
        Value::Null => (0x0a, Vec::new()),
        Value::Bool(flag) => (0x08, vec![u8::from(*flag)]),
        Value::String(text) => (0x02, string(text)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            (0x04, document_bytes(items.map(|(i, v)| (i.to_string(), v))))
        }
        Value::Number(number) => match number.as_i64() {
            Some(n) => i32::try_from(n).map_or_else(
                |_| (0x12, n.to_le_bytes().to_vec()),
                |n| (0x10, n.to_le_bytes().to_vec()),
            ),
            None => {
                let double = number
                    .as_f64()
                    .expect("a JSON number is an i64 or a double");
                (0x01, double.to_le_bytes().to_vec())
            }
        },
        Value::Object(fields) => special(fields).unwrap_or_else(|| {
            let plain = fields
                .keys()
                .all(|k| !k.starts_with('$') || k == "$ref" || k == "$id" || k == "$db");
            assert!(plain, "unknown extended JSON: {value}");
            (0x03, extended_json_to_bson(value.clone()))
        }),
    }
}

/// `None` when the object is a plain document.
fn special(fields: &Map<String, Value>) -> Option<(u8, Vec<u8>)> {
    let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
    if let ["$code", "$scope"] | ["$scope", "$code"] = keys[..] {
        let mut body = string(text(&fields["$code"]));
        body.extend(extended_json_to_bson(fields["$scope"].clone()));
        let mut out = length(body.len() + 4);
        out.extend(body);
        return Some((0x0f, out));
    }
    let [key] = keys[..] else { return None };
    let value = &fields[key];
    Some(match key {
        "$numberDouble" => (0x01, double(text(value)).to_le_bytes().to_vec()),
        "$binary" => binary(value),
        "$uuid" => (
            0x05,
            binary_bytes(4, &hex_bytes(&text(value).replace('-', ""))),
        ),
        "$undefined" => (0x06, Vec::new()),
        "$oid" => (0x07, object_id(value)),
        "$date" => (0x09, date_ms(value).to_le_bytes().to_vec()),
        "$regularExpression" => {
            let mut out = cstring(text(&value["pattern"]));
            out.extend(cstring(text(&value["options"])));
            (0x0b, out)
        }
        "$dbPointer" => {
            let mut out = string(text(&value["$ref"]));
            out.extend(object_id(&value["$id"]["$oid"]));
            (0x0c, out)
        }
        "$code" => (0x0d, string(text(value))),
        "$symbol" => (0x0e, string(text(value))),
        "$numberInt" => (0x10, integer::<i32>(value).to_le_bytes().to_vec()),
        "$timestamp" => {
            let part = |name: &str| value[name].as_u64().and_then(|n| u32::try_from(n).ok());
            let [t, i] = ["t", "i"].map(|name| part(name).expect("a timestamp has two uint32"));
            (0x11, [i.to_le_bytes(), t.to_le_bytes()].concat())
        }
        "$numberLong" => (0x12, integer::<i64>(value).to_le_bytes().to_vec()),
        "$numberDecimal" => {
            let decimal: bson::Decimal128 = text(value).parse().expect("a decimal128");
            (0x13, decimal.bytes().to_vec())
        }
        "$minKey" => (0xff, Vec::new()),
        "$maxKey" => (0x7f, Vec::new()),
        _ => return None,
    })
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| unreadable(&value.to_string(), "not a string"))
}

fn integer<T: std::str::FromStr>(value: &Value) -> T {
    text(value)
        .parse()
        .unwrap_or_else(|_| unreadable(&value.to_string(), "not an integer of that size"))
}

fn double(text: &str) -> f64 {
    match text {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        digits => digits.parse().expect("a double"),
    }
}

fn string(text: &str) -> Vec<u8> {
    let mut out = length(text.len() + 1);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    out
}

fn cstring(text: &str) -> Vec<u8> {
    assert!(!text.contains('\0'), "a cstring holds NUL");
    let mut out = text.as_bytes().to_vec();
    out.push(0);
    out
}

fn hex_bytes(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap_or_else(|_| unreadable(digits, "not hexadecimal"))
}

fn object_id(value: &Value) -> Vec<u8> {
    let bytes = hex_bytes(text(value));
    assert_eq!(bytes.len(), 12, "an ObjectId has 12 bytes");
    bytes
}

fn binary(value: &Value) -> (u8, Vec<u8>) {
    let subtype = hex_bytes(&format!("{:0>2}", text(&value["subType"])));
    let bytes = STANDARD.decode(text(&value["base64"])).expect("base64");
    (0x05, binary_bytes(subtype[0], &bytes))
}

fn binary_bytes(subtype: u8, bytes: &[u8]) -> Vec<u8> {
    const OLD_BINARY: u8 = 2; // has its length a second time, inside
    let inner = if subtype == OLD_BINARY {
        [length(bytes.len()), bytes.to_vec()].concat()
    } else {
        bytes.to_vec()
    };
    let mut out = length(inner.len());
    out.push(subtype);
    out.extend(inner);
    out
}

/// Milliseconds since the epoch of `{$numberLong: ...}`, or of relaxed ISO 8601 in UTC.
fn date_ms(value: &Value) -> i64 {
    match value {
        Value::Object(fields) => integer(&fields["$numberLong"]),
        _ => bson::DateTime::parse_rfc3339_str(text(value))
            .expect("a date")
            .timestamp_millis(),
    }
}

fn unreadable(what: &str, why: &str) -> ! {
    #[allow(clippy::panic, reason = "a test cannot go on without its vectors")]
    {
        panic!("cannot read {what}: {why}")
    }
}
