//! The published corpus: every BSON type, algorithm and key reference, through the core.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use csfle_core::{
    Code, Machine,
    raw::{elements, find_field, single_field_document},
};
use support::{
    extended_json_to_bson,
    host::{DETERMINISTIC, Host, RANDOM, options},
    vector,
};

/// The master key of the published tests (driver specification, `LOCAL_MASTERKEY`).
const LOCAL_MASTER_KEY: &str = "Mng0NCt4ZHVUYUJCa1kxNkVyNUR1QURhZ2h2UzR2d2RrZzh0cFBwM3R6NmdWMDFBMUN3YkQ5aXRRMkhGRGdQV09wOGVNYUMxT2k3NjZKelhaQmRCZGJkTXVyZG9uSjFk";

#[test]
fn the_local_corpus_decrypts_and_its_deterministic_values_encrypt_byte_for_byte() {
    use base64::Engine as _;
    let Some(plain) = vector("driver-specs/corpus/corpus.json") else {
        return;
    };
    let encrypted = vector("driver-specs/corpus/corpus-encrypted.json").unwrap();
    let key = vector("driver-specs/corpus/corpus-key-local.json").unwrap();
    let master_key = base64::engine::general_purpose::STANDARD
        .decode(LOCAL_MASTER_KEY)
        .unwrap();
    let mut host = Host::with_local_key(&master_key);
    host.vault.push(extended_json_to_bson(key));
    let key_id = support::host::key_id(&host.vault[0]);

    let (mut decrypted, mut matched, mut refused) = (0, 0, 0);
    for (name, case) in plain.as_object().unwrap() {
        if case.get("kms").and_then(|kms| kms.as_str()) != Some("local") {
            continue;
        }
        let value_of = |case: &serde_json::Value| {
            let holder = extended_json_to_bson(serde_json::json!({ "v": case["value"].clone() }));
            let value = find_field(&holder, "v").unwrap().unwrap();
            single_field_document("v", value.bson_type, value.value)
        };
        let expected = value_of(case);
        let algorithm = if case["algo"] == "det" {
            DETERMINISTIC
        } else {
            RANDOM
        };
        if case["allowed"] == false {
            let code = Machine::encrypt(&expected, &options(algorithm, key_id))
                .err()
                .unwrap()
                .code();
            assert!(
                matches!(
                    code,
                    Code::ValueTypeNotEncryptable | Code::ValueTypeNotDeterministic
                ),
                "{name}: {code:?}"
            );
            refused += 1;
            continue;
        }
        let ciphertext = value_of(&encrypted[name]);
        assert_eq!(
            host.run(Machine::decrypt(&ciphertext).unwrap()).unwrap(),
            expected,
            "{name}"
        );
        assert_eq!(
            host.run(Machine::decrypt_documents(&ciphertext).unwrap())
                .unwrap(),
            expected,
            "{name}"
        );
        decrypted += 1;
        let ours = host
            .run(Machine::encrypt(&expected, &options(algorithm, key_id)).unwrap())
            .unwrap();
        if algorithm == DETERMINISTIC {
            assert_eq!(ours, ciphertext, "{name}");
            matched += 1;
        } else {
            assert_ne!(ours, ciphertext, "{name}");
            assert_eq!(
                host.run(Machine::decrypt(&ours).unwrap()).unwrap(),
                expected,
                "{name}"
            );
        }
        assert!(elements(&ours).is_ok());
    }
    assert_eq!((decrypted, matched, refused), (142, 53, 28));
}
