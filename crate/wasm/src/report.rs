//! Functions without state: what a vault, a document or a schema holds.

use std::collections::BTreeMap;

use csfle_core::{
    Result,
    key_vault::{MasterKey, MasterKeyPattern, assess},
    raw::{begin_document, element_type as ty, end_document, push_element},
    schema,
};
use js_sys::Uint8Array;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::{
    bytes::{read, write},
    error::{thrown, to_js},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Assessment {
    keys: Vec<AssessedKey>,
    migrate: u32,
    done: u32,
    other: u32,
    malformed: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AssessedKey {
    id: String,
    key_alt_names: Vec<String>,
    provider: String,
    disposition: &'static str,
    code: Option<&'static str>,
    message: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CensusReport {
    documents: u32,
    values: u32,
    by_key: Vec<KeyCount>,
    queryable: u32,
    markings: u32,
    unknown: u32,
    referenced: Vec<KeyReferenceCount>,
    scoped: Vec<KeyReferenceCount>,
    unattributed: u32,
    containers: u32,
    paths: Vec<PathCount>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyReferenceCount {
    key_id: String,
    values: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyCount {
    key_id: String,
    deterministic: u32,
    random: u32,
}

#[derive(Serialize)]
struct PathCount {
    path: String,
    values: u32,
}

/// What a migration from `from` (any master key when absent) to `to` would do with each key document.
///
/// # Errors
/// `MASTER_KEY_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`. A malformed key document is reported, not thrown.
#[wasm_bindgen(js_name = assessVault)]
pub fn assess_vault(
    documents: &Uint8Array,
    from: Option<Uint8Array>,
    to: &Uint8Array,
) -> std::result::Result<JsValue, JsValue> {
    assessment(documents, from.as_ref(), to)
        .map(|report| to_js(&report))
        .map_err(thrown)
}

fn assessment(
    documents: &Uint8Array,
    from: Option<&Uint8Array>,
    to: &Uint8Array,
) -> Result<Assessment> {
    let from = from
        .map(|from| MasterKeyPattern::from_bytes(read(from).expose()))
        .transpose()?;
    let to = MasterKey::from_bytes(read(to).expose())?;
    let keys: Vec<AssessedKey> = assess(read(documents).expose(), from.as_ref(), &to)
        .into_iter()
        .map(|key| AssessedKey {
            id: key.key_id.map(|id| id.to_string()).unwrap_or_default(),
            key_alt_names: key.key_alt_names,
            provider: key.provider,
            disposition: key.disposition.as_str(),
            code: key.error.as_ref().map(|error| error.code().as_str()),
            message: key.error.as_ref().map(|error| error.message().to_owned()),
        })
        .collect();
    let count = |disposition| {
        keys.iter()
            .filter(|key| key.disposition == disposition)
            .count() as u32
    };
    Ok(Assessment {
        migrate: count("migrate"),
        done: count("done"),
        other: count("other"),
        malformed: count("malformed"),
        keys,
    })
}

fn references(counts: &BTreeMap<csfle_core::key_vault::KeyId, u32>) -> Vec<KeyReferenceCount> {
    let counted = |(id, values): (&csfle_core::key_vault::KeyId, &u32)| KeyReferenceCount {
        key_id: id.to_string(),
        values: *values,
    };
    counts.iter().map(counted).collect()
}

/// Counts encrypted values by key and by path, from their headers alone.
///
/// # Errors
/// `BSON_MALFORMED`, `BSON_TOO_DEEP`.
#[wasm_bindgen]
pub fn census(documents: &Uint8Array) -> std::result::Result<JsValue, JsValue> {
    let census = csfle_core::census::census(read(documents).expose()).map_err(thrown)?;
    Ok(to_js(&CensusReport {
        documents: census.documents,
        values: census.values,
        by_key: census
            .by_key
            .iter()
            .map(|(id, count)| KeyCount {
                key_id: id.to_string(),
                deterministic: count.deterministic,
                random: count.random,
            })
            .collect(),
        queryable: census.queryable,
        markings: census.markings,
        unknown: census.unknown,
        referenced: references(&census.referenced),
        scoped: references(&census.scoped),
        unattributed: census.unattributed,
        containers: census.containers,
        paths: census
            .by_path
            .into_iter()
            .map(|(path, values)| PathCount { path, values })
            .collect(),
    }))
}

/// The encrypted values whose plaintext may hold encrypted values: BSON documents `{v: value}`, laid end to end.
///
/// # Errors
/// `BSON_MALFORMED`, `BSON_TOO_DEEP`.
#[wasm_bindgen]
pub fn containers(documents: &Uint8Array) -> std::result::Result<Uint8Array, JsValue> {
    csfle_core::census::containers(read(documents).expose())
        .map(|containers| write(&containers))
        .map_err(thrown)
}

/// Replaces key ids in a JSON schema by `mapping` = `{v: [{from, to}]}`; returns `{schema, changed}`.
///
/// # Errors
/// `SCHEMA_INVALID`, `OPTION_INVALID`, `KEY_REFERENCE_INVALID`, `BSON_MALFORMED`.
#[wasm_bindgen(js_name = rewriteSchema)]
pub fn rewrite_schema(
    schema: &Uint8Array,
    mapping: &Uint8Array,
) -> std::result::Result<Uint8Array, JsValue> {
    let rewritten = csfle_core::machine::parse_key_mapping(read(mapping).expose())
        .and_then(|mapping| schema::rewrite_key_ids(read(schema).expose(), &mapping));
    rewritten.map(changed_schema).map_err(thrown)
}

/// Removes encryption from a JSON schema; returns `{schema, changed}`.
///
/// # Errors
/// `SCHEMA_INVALID`, `BSON_MALFORMED`.
#[wasm_bindgen(js_name = stripSchema)]
pub fn strip_schema(schema: &Uint8Array) -> std::result::Result<Uint8Array, JsValue> {
    schema::strip_encryption(read(schema).expose())
        .map(changed_schema)
        .map_err(thrown)
}

/// Checks a master key descriptor and returns it as key documents store it.
///
/// # Errors
/// `MASTER_KEY_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`.
#[wasm_bindgen(js_name = parseMasterKey)]
pub fn parse_master_key(master_key: &Uint8Array) -> std::result::Result<Uint8Array, JsValue> {
    MasterKey::from_bytes(read(master_key).expose())
        .map(|master_key| write(master_key.to_raw().as_bytes()))
        .map_err(thrown)
}

fn changed_schema((schema, changed): (Vec<u8>, u32)) -> Uint8Array {
    let mut document = begin_document(schema.len() + 32);
    push_element(&mut document, ty::DOCUMENT, b"schema", &schema);
    push_element(&mut document, ty::INT32, b"changed", &changed.to_le_bytes());
    end_document(&mut document, 0);
    write(&document)
}
