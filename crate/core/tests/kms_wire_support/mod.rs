//! A host for `WireRequest` without a network, and the vectors that libmongocrypt gave.

#![allow(dead_code, reason = "each integration test uses a part of this")]
#![allow(clippy::panic, reason = "a test may stop at the first surprise")]

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use csfle_core::{
    Entropy, Error, Result,
    key_vault::{MasterKey, WrappedKeyMaterial},
    kms::{
        KmsOperation,
        wire::{KmsProviders, TokenCache, WireContext, WireRequest, WireStep},
    },
    secret::KeyMaterial,
};
use serde_json::{Value, json};

use crate::support::extended_json_to_bson;

/// A draw of n bytes is always (1, 8, 15, ...), as in generate.py.
pub(crate) struct Counting;

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        for (index, byte) in out.iter_mut().enumerate() {
            *byte = (index * 7 + 1) as u8;
        }
        Ok(())
    }
}

/// What a host lends, kept between calls.
pub(crate) struct Host {
    pub(crate) now_ms: i64,
    pub(crate) tokens: TokenCache,
    entropy: Counting,
}

impl Host {
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            now_ms,
            tokens: TokenCache::new(),
            entropy: Counting,
        }
    }

    pub(crate) fn context(&mut self) -> WireContext<'_> {
        WireContext {
            now_ms: self.now_ms,
            entropy: &mut self.entropy,
            tokens: &mut self.tokens,
        }
    }

    /// Steps, and signs with (0, 1, 2, ... 255) where a signature is wanted.
    pub(crate) fn step(&mut self, request: &mut WireRequest) -> Result<WireStep> {
        if request.step(&mut self.context())? == WireStep::NeedSignature {
            let signature: Vec<u8> = (0..=255).collect();
            request.provide_signature(&signature)?;
        }
        request.step(&mut self.context())
    }
}

/// Feeds what a host would read of `reply`, `piece` bytes at most at a time, and returns what it would leave.
pub(crate) fn read<'a>(request: &mut WireRequest, mut reply: &'a [u8], piece: usize) -> &'a [u8] {
    while !reply.is_empty() && request.bytes_needed() > 0 {
        let taken = reply.len().min(request.bytes_needed()).min(piece);
        let outcome = request.feed(&reply[..taken]);
        reply = &reply[taken..];
        if outcome.is_err() {
            break;
        }
    }
    reply
}

pub(crate) fn vectors(file: &str) -> Vec<Value> {
    let Value::Object(mut document) = vector_file(file) else {
        panic!("{file} is no object");
    };
    match document.remove("vectors") {
        Some(Value::Array(vectors)) if !vectors.is_empty() => vectors,
        _ => panic!("{file} has no vectors"),
    }
}

pub(crate) fn vector_file(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/kms-wire")
        .join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {vector}"))
}

pub(crate) fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    STANDARD
        .decode(text(vector, field))
        .expect("vectors hold base64")
}

/// The request of a vector. Its providers and its master key are to be in order.
pub(crate) fn request(vector: &Value) -> Result<WireRequest> {
    let providers = KmsProviders::parse(&extended_json_to_bson(vector["providers"].clone()))?;
    let master_key = MasterKey::from_bytes(&extended_json_to_bson(vector["masterKey"].clone()))?;
    let input = bytes(vector, "input");
    let operation = match text(vector, "operation") {
        "wrap" => KmsOperation::Wrap(KeyMaterial::copy_from(&input)?),
        "unwrap" => KmsOperation::Unwrap(WrappedKeyMaterial::new(input)),
        other => panic!("no such operation: {other}"),
    };
    WireRequest::new(operation, master_key, &providers)
}

pub(crate) fn message(error: &Error) -> Value {
    Value::String(error.message().to_string())
}

/// Time of calls whose messages are not compared.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

pub(crate) fn aws() -> Value {
    json!({"aws": {"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "wJalrXUtnFEMI"}})
}

pub(crate) fn aws_key() -> Value {
    json!({"provider": "aws", "region": "us-east-1", "key": "alias/k"})
}

pub(crate) fn azure() -> Value {
    json!({"azure": {"tenantId": "t", "clientId": "c", "clientSecret": "hush-hush"}})
}

pub(crate) fn azure_key() -> Value {
    json!({"provider": "azure", "keyVaultEndpoint": "kv.vault.azure.net", "keyName": "n", "keyVersion": "v"})
}

pub(crate) fn gcp() -> Value {
    json!({"gcp": {"email": "a@b.c", "privateKey": "c2VjcmV0IGtleSE="}})
}

pub(crate) fn gcp_key() -> Value {
    json!({"provider": "gcp", "projectId": "p", "location": "l", "keyRing": "r", "keyName": "k"})
}

pub(crate) fn providers(document: &Value) -> KmsProviders {
    KmsProviders::parse(&extended_json_to_bson(document.clone()))
        .expect("the providers are in order")
}

pub(crate) fn master_key(document: &Value) -> MasterKey {
    MasterKey::from_bytes(&extended_json_to_bson(document.clone()))
        .expect("the master key is in order")
}

pub(crate) fn wrap() -> KmsOperation {
    KmsOperation::Wrap(KeyMaterial::copy_from(&[7; 96]).expect("96 bytes"))
}

pub(crate) fn unwrap() -> KmsOperation {
    KmsOperation::Unwrap(WrappedKeyMaterial::new(vec![9; 200]))
}

pub(crate) fn new(operation: KmsOperation, key: &Value, document: &Value) -> WireRequest {
    WireRequest::new(operation, master_key(key), &providers(document))
        .expect("the provider is configured")
}

pub(crate) fn http(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn with(mut document: Value, path: &[&str], value: &str) -> Value {
    let (last, path) = path.split_last().expect("there is a field");
    let mut at = &mut document;
    for name in path {
        at = &mut at[*name];
    }
    at[*last] = Value::String(value.to_string());
    document
}
