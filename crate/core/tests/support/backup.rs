//! A backup with every kind of record, sealed with fixed randomness.

use csfle_core::{
    Code, Machine, Result,
    crypto::Argon2Parameters,
    raw::{
        begin_document, binary_value, element_type as ty, end_document, push_element, string_value,
    },
    sealed_backup::{MIN_CHUNK_LEN, compose},
    secret::SecretBytes,
};

use super::host::Host;

pub(crate) const LOCAL_KEY: [u8; 96] = [1; 96];
pub(crate) const PASSPHRASE: &str = "correct horse";
pub(crate) const CHUNK_LEN: usize = MIN_CHUNK_LEN;

// ---- content

pub(crate) fn document(fields: &[(&str, u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = begin_document(64);
    for (name, bson_type, value) in fields {
        push_element(&mut out, *bson_type, name.as_bytes(), value);
    }
    end_document(&mut out, 0);
    out
}

pub(crate) fn master_key(provider: &str) -> Vec<u8> {
    match provider {
        "local" => document(&[("provider", ty::STRING, string_value("local"))]),
        _ => document(&[
            ("provider", ty::STRING, string_value(provider)),
            ("region", ty::STRING, string_value("us-east-1")),
            (
                "key",
                ty::STRING,
                string_value("arn:aws:kms:us-east-1:111122223333:key/one"),
            ),
        ]),
    }
}

pub(crate) fn facts() -> Vec<u8> {
    document(&[
        (
            "createdAt",
            ty::DATETIME,
            1_700_000_000_000i64.to_le_bytes().to_vec(),
        ),
        ("tool", ty::STRING, string_value("csfle-wasm 7.3.0")),
        (
            "keyVault",
            ty::STRING,
            string_value("encryption.__keyVault"),
        ),
        ("notRead", ty::ARRAY, document(&[])),
    ])
}

pub(crate) fn key_document(id: u8) -> Vec<u8> {
    document(&[
        ("_id", ty::BINARY, binary_value(4, &[id; 16])),
        ("keyMaterial", ty::BINARY, binary_value(0, &[id; 160])),
        (
            "creationDate",
            ty::DATETIME,
            1_700_000_000_000i64.to_le_bytes().to_vec(),
        ),
        (
            "updateDate",
            ty::DATETIME,
            1_700_000_000_000i64.to_le_bytes().to_vec(),
        ),
        ("status", ty::INT32, 0i32.to_le_bytes().to_vec()),
        ("masterKey", ty::DOCUMENT, master_key("local")),
    ])
}

pub(crate) fn record(kind: &str, fields: &[(&str, u8, Vec<u8>)]) -> Vec<u8> {
    let mut all = vec![("type", ty::STRING, string_value(kind))];
    all.extend_from_slice(fields);
    document(&all)
}

pub(crate) fn records() -> Vec<u8> {
    let namespace = |name: &str| ("namespace", ty::STRING, string_value(name));
    let index = document(&[("name", ty::STRING, string_value("keyAltNames_1"))]);
    let options = document(&[("validator", ty::DOCUMENT, document(&[]))]);
    let mut all: Vec<u8> = (1..=6)
        .flat_map(|id| record("key", &[("document", ty::DOCUMENT, key_document(id))]))
        .collect();
    all.extend(record(
        "index",
        &[
            namespace("encryption.__keyVault"),
            ("definition", ty::DOCUMENT, index),
        ],
    ));
    all.extend(record(
        "collection",
        &[
            namespace("hospital.patients"),
            ("options", ty::DOCUMENT, options),
        ],
    ));
    all.extend(record(
        "schema",
        &[
            ("name", ty::STRING, string_value("schema.json")),
            ("bytes", ty::BINARY, binary_value(0, b"{}")),
        ],
    ));
    all.extend(record(
        "localMasterKey",
        &[
            ("provider", ty::STRING, string_value("local")),
            ("key", ty::BINARY, binary_value(0, &LOCAL_KEY)),
        ],
    ));
    all
}

// ---- sealing and opening

pub(crate) fn seal(provider: &str) -> Vec<u8> {
    seal_by(Host::new(), provider)
}

/// Sealed with randomness that no other seed gives.
pub(crate) fn seal_with_seed(provider: &str, seed: u64) -> Vec<u8> {
    let mut host = Host::new();
    host.entropy.0 = seed;
    seal_by(host, provider)
}

fn seal_by(mut host: Host, provider: &str) -> Vec<u8> {
    let machine = Machine::seal_backup(
        &mut host.context(),
        &master_key(provider),
        &facts(),
        &records(),
        CHUNK_LEN,
    );
    host.run(machine.unwrap()).unwrap()
}

pub(crate) fn seal_with_passphrase() -> Vec<u8> {
    let mut host = Host::new();
    let passphrase = SecretBytes::copy_from(PASSPHRASE.as_bytes());
    let machine = Machine::seal_backup_with_passphrase(
        &mut host.context(),
        &passphrase,
        Argon2Parameters::LEAST,
        &facts(),
        &records(),
        CHUNK_LEN,
    );
    host.run(machine.unwrap()).unwrap()
}

pub(crate) fn open(file: &[u8], passphrase: Option<&str>) -> Result<Vec<u8>> {
    let mut host = Host::new();
    let passphrase = passphrase.map(|text| SecretBytes::copy_from(text.as_bytes()));
    let machine = Machine::open_backup(&mut host.context(), file, passphrase.as_ref())?;
    host.run(machine)
}

pub(crate) fn code<T>(result: Result<T>) -> Option<Code> {
    result.err().map(|error| error.code())
}

pub(crate) fn content() -> Vec<u8> {
    compose(&facts(), &records()).unwrap().expose().to_vec()
}
