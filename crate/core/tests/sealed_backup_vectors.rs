//! The vectors of `tests/vectors/sealed-backup`: one fault each, with the code it gives.

mod support;

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use csfle_core::{Machine, secret::SecretBytes};
use serde_json::{Value, json};
use support::{
    backup::{LOCAL_KEY, content},
    backup_faults::faults,
    host::Host,
};

// ---- vectors

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/sealed-backup")
}

/// Writes the vectors anew. The randomness of the files is fixed, so that nothing changes unless the format does, and a
/// released vector must never change: `cargo test -p csfle-core --test sealed_backup_vectors write_vectors -- --ignored`.
#[test]
#[ignore = "writes tests/vectors/sealed-backup"]
fn write_vectors() {
    fs::create_dir_all(folder()).unwrap();
    for (name, comment, file, passphrase, expect) in faults() {
        let mut vector = json!({
            "origin": "crate/core/tests/sealed_backup_vectors.rs, write_vectors",
            "comment": comment,
            "expect": expect,
            "localMasterKey": hex::encode(LOCAL_KEY),
            "file": STANDARD.encode(&file),
        });
        if let Some(passphrase) = passphrase {
            vector["passphrase"] = json!(passphrase);
        }
        if expect == "ok" {
            vector["content"] = json!(STANDARD.encode(content()));
        }
        let text = serde_json::to_string_pretty(&vector).unwrap() + "\n";
        fs::write(folder().join(format!("{name}.json")), text).unwrap();
    }
}

#[test]
fn every_vector_gives_what_it_expects() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let vector: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let known = [
            "origin",
            "comment",
            "expect",
            "localMasterKey",
            "file",
            "passphrase",
            "content",
        ];
        for name in vector.as_object().unwrap().keys() {
            assert!(
                known.contains(&name.as_str()),
                "{}: unknown field {name}",
                path.display()
            );
        }
        let local_key = hex::decode(vector["localMasterKey"].as_str().unwrap()).unwrap();
        let mut host = Host::without_remote(&local_key);
        let file = STANDARD.decode(vector["file"].as_str().unwrap()).unwrap();
        let passphrase = vector["passphrase"]
            .as_str()
            .map(|text| SecretBytes::copy_from(text.as_bytes()));
        let opened = Machine::open_backup(&mut host.context(), &file, passphrase.as_ref())
            .and_then(|machine| host.run(machine));
        let found = opened
            .as_ref()
            .err()
            .map_or("ok", |error| error.code().as_str());
        assert_eq!(
            found,
            vector["expect"].as_str().unwrap(),
            "{}",
            path.display()
        );
        if let Ok(opened) = opened {
            assert_eq!(
                opened,
                STANDARD
                    .decode(vector["content"].as_str().unwrap())
                    .unwrap()
            );
        }
        seen += 1;
    }
    assert!(seen >= 30, "{seen} vectors");
}

#[test]
fn the_files_of_the_vectors_are_still_written_byte_for_byte() {
    for (name, _, file, _, expect) in faults() {
        if expect == "ok" {
            let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
            let vector: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                STANDARD.encode(&file),
                vector["file"].as_str().unwrap(),
                "{name}"
            );
        }
    }
}
