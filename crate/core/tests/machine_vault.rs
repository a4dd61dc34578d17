//! The key vault's own operations: create, rewrap, fingerprint, probe.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use csfle_core::{
    Code, Machine, Step,
    key_vault::KeyDocument,
    kms::KmsOperation,
    raw::{elements, split_documents},
};
use support::host::{Host, WRAPPED_BY, aws, field, local};

const EVERYTHING: &[u8] = &[5, 0, 0, 0, 0];

fn items(output: &[u8]) -> Vec<Vec<u8>> {
    let array = field(output, "v").unwrap();
    elements(&array)
        .unwrap()
        .map(|item| item.unwrap().value.to_vec())
        .collect()
}

/// Writes the result of a rewrap into the vault, as a store would.
fn apply(host: &mut Host, output: &[u8]) {
    for item in items(output) {
        let id: [u8; 16] = field(&item, "_id").unwrap()[5..].try_into().unwrap();
        let document = host
            .vault
            .iter_mut()
            .find(|document| KeyDocument::parse(document).unwrap().id.as_bytes() == &id);
        let document = document.unwrap();
        let mut changed = csfle_core::raw::begin_document(512);
        for element in elements(document).unwrap() {
            let element = element.unwrap();
            let name = std::str::from_utf8(element.name).unwrap();
            let value = match name {
                "keyMaterial" | "masterKey" => field(&item, name).unwrap(),
                _ => element.value.to_vec(),
            };
            csfle_core::raw::push_element(&mut changed, element.bson_type, element.name, &value);
        }
        csfle_core::raw::end_document(&mut changed, 0);
        *document = changed;
    }
}

fn fingerprints(host: &mut Host) -> Vec<Vec<u8>> {
    let output = host
        .run(Machine::fingerprint(EVERYTHING, EVERYTHING, false).unwrap())
        .unwrap();
    items(&output)
        .iter()
        .map(|item| field(item, "fingerprint").unwrap())
        .collect()
}

fn code<T>(result: csfle_core::Result<T>) -> Code {
    result.err().expect("expected a failure").code()
}

#[test]
fn a_new_key_document_is_what_the_format_demands() {
    let mut host = Host::new();
    let material = [0x5a; 96];
    let id = host.create_key(&aws(), &["a", "b", "c"], Some(&material));
    let document = KeyDocument::parse(&host.vault[0]).unwrap();
    assert_eq!(document.id.as_bytes(), &id);
    assert_eq!((id[6] >> 4, id[8] >> 6), (4, 2), "a UUID of version 4");
    assert_eq!(document.key_alt_names, ["c", "b", "a"]);
    assert_eq!(document.creation_date_ms, 1_700_000_000_000);
    assert_eq!(
        document.key_material.as_bytes(),
        [WRAPPED_BY, &[!0x5a; 96]].concat()
    );
    let names: Vec<String> = elements(&host.vault[0])
        .unwrap()
        .map(|element| String::from_utf8(element.unwrap().name.to_vec()).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "_id",
            "keyAltNames",
            "keyMaterial",
            "creationDate",
            "updateDate",
            "status",
            "masterKey"
        ]
    );
}

#[test]
fn creating_a_key_refuses_bad_names_and_master_keys() {
    let mut host = Host::new();
    let twice = vec!["a".into(), "a".into()];
    assert_eq!(
        code(Machine::create_data_key(
            &mut host.context(),
            &local(),
            twice,
            None
        )),
        Code::KeyAltNameInvalid
    );
    assert_eq!(
        code(Machine::create_data_key(
            &mut host.context(),
            EVERYTHING,
            Vec::new(),
            None
        )),
        Code::MasterKeyInvalid
    );
    assert_eq!(
        code(Machine::create_data_key(
            &mut host.context(),
            b"",
            Vec::new(),
            None
        )),
        Code::MasterKeyInvalid
    );
    assert_eq!(
        code(Machine::probe(&mut host.context(), b"")),
        Code::MasterKeyInvalid
    );
    assert_eq!(
        code(Machine::rewrap(b"", None, None, EVERYTHING)),
        Code::BsonMalformed
    );
}

#[test]
fn rewrapping_there_and_back_keeps_every_key() {
    let mut host = Host::new();
    for name in ["a", "b", "c"] {
        host.create_key(&local(), &[name], None);
    }
    let before = fingerprints(&mut host);
    assert_ne!(before[0], before[1]);
    for target in [aws(), local(), local(), aws(), aws()] {
        let output = host
            .run(Machine::rewrap(EVERYTHING, Some(&target), None, EVERYTHING).unwrap())
            .unwrap();
        for (item, document) in items(&output).iter().zip(&host.vault) {
            assert_eq!(
                field(item, "previousKeyMaterial"),
                field(document, "keyMaterial")
            );
            assert_eq!(
                field(item, "previousMasterKey"),
                field(document, "masterKey")
            );
        }
        apply(&mut host, &output);
        assert_eq!(fingerprints(&mut host), before);
        for document in &host.vault {
            assert_eq!(field(document, "masterKey").unwrap(), target);
        }
    }
    let other_engine = {
        let mut other = Host::new();
        other.entropy.0 = 99;
        other.vault = host.vault.clone();
        fingerprints(&mut other)
    };
    assert_ne!(
        other_engine, before,
        "a fingerprint tells nothing outside its engine"
    );
}

#[test]
fn without_a_target_each_key_keeps_its_own_master_key() {
    let mut host = Host::new();
    host.create_key(&local(), &[], None);
    host.create_key(&aws(), &[], None);
    let output = host
        .run(Machine::rewrap(EVERYTHING, None, None, EVERYTHING).unwrap())
        .unwrap();
    let items = items(&output);
    assert_eq!(field(&items[0], "masterKey").unwrap(), local());
    assert_eq!(field(&items[1], "masterKey").unwrap(), aws());
    assert_ne!(
        field(&items[0], "keyMaterial"),
        field(&host.vault[0], "keyMaterial")
    );
}

#[test]
fn an_empty_vault_gives_an_empty_result() {
    let mut host = Host::new();
    let output = host
        .run(Machine::rewrap(EVERYTHING, Some(&aws()), None, EVERYTHING).unwrap())
        .unwrap();
    assert!(items(&output).is_empty());
}

#[test]
fn a_rewrap_never_trusts_the_key_cache() {
    let mut host = Host::new();
    let id = host.create_key(&aws(), &[], None);
    let options = support::host::options(support::host::DETERMINISTIC, id);
    let machine = Machine::encrypt(&support::host::v(16, &[1, 0, 0, 0]), &options).unwrap();
    host.run(machine).unwrap();
    let calls = host.kms_calls;
    host.run(Machine::rewrap(EVERYTHING, Some(&aws()), None, EVERYTHING).unwrap())
        .unwrap();
    assert_eq!(
        host.kms_calls - calls,
        4,
        "two unwraps of the old wrapping, one wrap, one unwrap of the new wrapping"
    );
}

#[test]
fn a_kms_that_gives_back_other_material_is_caught_before_anything_is_written() {
    let mut host = Host::new();
    host.create_key(&local(), &[], None);
    let mut machine = Machine::rewrap(EVERYTHING, Some(&aws()), None, EVERYTHING).unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKeys);
    let documents = host.vault.concat();
    machine
        .provide_keys(&mut host.context(), &documents)
        .unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKms);
    host.answer_all(&mut machine).unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKms);
    let id = machine.kms_requests().unwrap()[0].id;
    machine.provide_kms(id, &[0; 96], None).unwrap();
    let error = host.step(&mut machine).unwrap_err();
    assert_eq!(error.code(), Code::KmsReplyMismatch);
    assert!(error.details().iter().any(|(name, _)| *name == "keyId"));
    assert_eq!(code(machine.output()), Code::MachineOutOfOrder);
}

/// Drives a machine whose KMS answers its call number `wrong` with other key material.
fn run_with_wrong_answer(
    host: &mut Host,
    machine: Machine,
    wrong: usize,
) -> csfle_core::Result<usize> {
    let mut machine = machine;
    let mut calls = 0;
    loop {
        match host.step(&mut machine)? {
            Step::NeedKeys => {
                let documents = host.vault.concat();
                machine.provide_keys(&mut host.context(), &documents)?;
            }
            Step::NeedKms => {
                let answers: Vec<(u32, Vec<u8>)> = machine
                    .kms_requests()?
                    .iter()
                    .map(|request| (request.id, support::host::kms(&request.operation)))
                    .collect();
                for (id, mut answer) in answers {
                    if calls == wrong {
                        answer.reverse();
                    }
                    calls += 1;
                    machine.provide_kms(id, &answer, None)?;
                }
            }
            Step::Done => return machine.output().map(|_| calls),
        }
    }
}

#[test]
fn no_single_wrong_answer_of_a_kms_leads_to_a_wrapping() {
    let mut host = Host::new();
    let id = host.create_key(&aws(), &[], None);
    let expected = fingerprints(&mut host)[0][5..].to_vec();
    for (fingerprint, calls) in [(None, 4), (Some(&expected[..]), 3)] {
        for wrong in 0..calls {
            let machine =
                Machine::rewrap(EVERYTHING, Some(&aws()), fingerprint, EVERYTHING).unwrap();
            let outcome = run_with_wrong_answer(&mut host, machine, wrong);
            assert_eq!(code(outcome), Code::KmsReplyMismatch, "call {wrong}");
        }
        let machine = Machine::rewrap(EVERYTHING, Some(&aws()), fingerprint, EVERYTHING).unwrap();
        assert_eq!(
            run_with_wrong_answer(&mut host, machine, calls).unwrap(),
            calls
        );
    }
    for wrong in 0..2 {
        let machine =
            Machine::create_data_key(&mut host.context(), &aws(), Vec::new(), None).unwrap();
        let outcome = run_with_wrong_answer(&mut host, machine, wrong);
        assert_eq!(code(outcome), Code::KmsReplyMismatch, "call {wrong}");
    }
    let other = [0; 32];
    let machine = Machine::rewrap(EVERYTHING, Some(&local()), Some(&other), EVERYTHING).unwrap();
    assert_eq!(code(host.run(machine)), Code::KmsReplyMismatch);
    assert_eq!(
        code(Machine::rewrap(
            EVERYTHING,
            None,
            Some(&other[..31]),
            EVERYTHING
        )),
        Code::OptionInvalid
    );
    assert_eq!(host.vault.len(), 1, "{id:?}");
}

#[test]
fn a_fingerprint_counts_the_values_that_its_key_opens() {
    let mut host = Host::new();
    let id = host.create_key(&aws(), &[], None);
    let options = support::host::options(support::host::DETERMINISTIC, id);
    let machine = Machine::encrypt(&support::host::v(16, &[1, 0, 0, 0]), &options).unwrap();
    let good = host.run(machine).unwrap();
    let mut bad = good.clone();
    let end = bad.len() - 2;
    bad[end] ^= 1;
    host.engine.clear_cache();
    let mut values = csfle_core::raw::begin_document(256);
    for (name, value) in [(&b"0"[..], &good), (b"1", &bad), (b"2", &good)] {
        csfle_core::raw::push_element(&mut values, 3, name, value);
    }
    csfle_core::raw::end_document(&mut values, 0);
    let int = |number: i32| number.to_le_bytes().to_vec();
    for keep in [false, true] {
        let calls = host.kms_calls;
        let machine = Machine::fingerprint(EVERYTHING, &values, keep).unwrap();
        let output = host.run(machine).unwrap();
        let item = &items(&output)[0];
        assert_eq!(field(item, "tried").unwrap(), int(3));
        assert_eq!(field(item, "opened").unwrap(), int(2));
        assert_eq!(host.kms_calls - calls, 1);
    }
    let calls = host.kms_calls;
    host.run(Machine::decrypt(&good).unwrap()).unwrap();
    assert_eq!(host.kms_calls, calls, "the kept key opens it");
}

/// A document with these values.
fn values_of(values: &[&Vec<u8>]) -> Vec<u8> {
    let mut document = csfle_core::raw::begin_document(256);
    for (index, value) in values.iter().enumerate() {
        csfle_core::raw::push_element(&mut document, 3, index.to_string().as_bytes(), value);
    }
    csfle_core::raw::end_document(&mut document, 0);
    document
}

/// A host whose key `_id` is wrapped around other material in each of these bytes, and a deterministic and a random value
/// that are under the right material.
fn host_with_changed_material(at: usize) -> (Host, Vec<u8>, Vec<u8>) {
    let mut host = Host::new();
    let material: Vec<u8> = (0..96).collect();
    let id = host.create_key(&aws(), &[], Some(&material));
    let [deterministic, random] =
        [support::host::DETERMINISTIC, support::host::RANDOM].map(|algorithm| {
            let options = support::host::options(algorithm, id);
            let value = support::host::v(16, &[1, 0, 0, 0]);
            host.run(Machine::encrypt(&value, &options).unwrap())
                .unwrap()
        });
    let mut changed = material;
    changed[at] ^= 1;
    let mut other = Host::new();
    other.create_key(&aws(), &[], Some(&changed));
    let wrapped = field(&other.vault[0], "keyMaterial").unwrap();
    let mut document = csfle_core::raw::begin_document(512);
    for element in elements(&host.vault[0]).unwrap() {
        let element = element.unwrap();
        let is_wrapping = element.name == b"keyMaterial";
        let value = if is_wrapping { &wrapped } else { element.value };
        csfle_core::raw::push_element(&mut document, element.bson_type, element.name, value);
    }
    csfle_core::raw::end_document(&mut document, 0);
    host.vault[0] = document;
    host.engine.clear_cache();
    (host, deterministic, random)
}

#[test]
fn a_deterministic_value_shows_each_part_of_the_material() {
    let int = |number: i32| number.to_le_bytes().to_vec();
    // Sub-keys: 32 bytes for the tag, 32 to encrypt, 32 to derive initialisation vectors.
    for at in [0, 40, 95] {
        let (mut host, deterministic, random) = host_with_changed_material(at);
        let values = values_of(&[&random, &deterministic, &random]);
        let machine = Machine::fingerprint(EVERYTHING, &values, false).unwrap();
        let output = host.run(machine).unwrap();
        let item = &items(&output)[0];
        assert_eq!(field(item, "tried").unwrap(), int(1), "byte {at}");
        assert_eq!(field(item, "opened").unwrap(), int(0), "byte {at}");
    }
    let (mut host, _, random) = host_with_changed_material(95);
    let machine = Machine::fingerprint(EVERYTHING, &values_of(&[&random]), false).unwrap();
    let output = host.run(machine).unwrap();
    assert_eq!(field(&items(&output)[0], "opened").unwrap(), int(1));
}

#[test]
fn material_that_opens_no_value_is_not_wrapped() {
    for at in [0, 40, 95] {
        let (mut host, deterministic, random) = host_with_changed_material(at);
        let calls = host.kms_calls;
        let values = values_of(&[&deterministic, &random]);
        let machine = Machine::rewrap(EVERYTHING, Some(&aws()), None, &values).unwrap();
        assert_eq!(code(host.run(machine)), Code::CryptoAuthenticationFailed);
        assert_eq!(host.kms_calls - calls, 1, "unwrapped, and no more");
    }
}

#[test]
fn a_new_key_that_is_kept_needs_no_answer_of_a_kms() {
    let mut host = Host::new();
    let machine =
        Machine::create_and_keep_data_key(&mut host.context(), &aws(), vec!["a".into()]).unwrap();
    let document = host.run(machine).unwrap();
    assert_eq!(host.kms_calls, 2, "wrapped, and unwrapped again");
    let id = KeyDocument::parse(&document).unwrap().id;
    let options = support::host::options(support::host::DETERMINISTIC, *id.as_bytes());
    let machine = Machine::encrypt(&support::host::v(16, &[1, 0, 0, 0]), &options).unwrap();
    host.run(machine).unwrap();
    assert_eq!(host.kms_calls, 2);
}

#[test]
fn a_vault_that_returns_a_key_twice_is_refused() {
    let mut host = Host::new();
    host.create_key(&local(), &["a"], None);
    host.vault.push(host.vault[0].clone());
    for machine in [
        Machine::rewrap(EVERYTHING, Some(&aws()), None, EVERYTHING),
        Machine::fingerprint(EVERYTHING, EVERYTHING, false),
    ] {
        assert_eq!(code(host.run(machine.unwrap())), Code::KeyVaultDuplicateKey);
    }
}

#[test]
fn a_reply_from_an_earlier_round_is_refused() {
    let mut host = Host::new();
    host.create_key(&aws(), &[], None);
    let mut machine = Machine::rewrap(EVERYTHING, Some(&aws()), None, EVERYTHING).unwrap();
    host.step(&mut machine).unwrap();
    let documents = host.vault.concat();
    machine
        .provide_keys(&mut host.context(), &documents)
        .unwrap();
    let mut ids = Vec::new();
    while host.step(&mut machine).unwrap() == Step::NeedKms && ids.len() < 2 {
        ids.extend(machine.kms_requests().unwrap().iter().map(|call| call.id));
        host.answer_all(&mut machine).unwrap();
    }
    assert_eq!(ids, [0, 1], "ids keep counting over rounds");
    // The third round, which verifies: a late repetition of the first answer must not count as its own.
    assert_eq!(
        code(machine.provide_kms(0, &[0; 96], None)),
        Code::MachineOutOfOrder
    );
}

#[test]
fn the_previous_master_key_is_given_out_as_it_is_stored() {
    let mut host = Host::new();
    host.create_key(&aws(), &[], None);
    // Another driver's order of fields and spelling of the endpoint, which parsing would change.
    let mut stored = csfle_core::raw::begin_document(128);
    for (name, value) in [
        ("endpoint", "https://KMS.r.amazonaws.com/"),
        ("key", "k"),
        ("region", "r"),
        ("provider", "aws"),
    ] {
        let value = csfle_core::raw::string_value(value);
        csfle_core::raw::push_element(&mut stored, 2, name.as_bytes(), &value);
    }
    csfle_core::raw::end_document(&mut stored, 0);
    let mut document = csfle_core::raw::begin_document(512);
    for element in elements(&host.vault[0]).unwrap() {
        let element = element.unwrap();
        let value = match element.name {
            b"masterKey" => &stored[..],
            _ => element.value,
        };
        csfle_core::raw::push_element(&mut document, element.bson_type, element.name, value);
    }
    csfle_core::raw::end_document(&mut document, 0);
    host.vault[0] = document;
    let output = host
        .run(Machine::rewrap(EVERYTHING, Some(&local()), None, EVERYTHING).unwrap())
        .unwrap();
    let item = &items(&output)[0];
    assert_eq!(field(item, "previousMasterKey").unwrap(), stored);
    assert_eq!(
        field(item, "previousKeyMaterial"),
        field(&host.vault[0], "keyMaterial")
    );
}

#[test]
fn a_probe_shows_whether_the_master_key_works() {
    let mut host = Host::new();
    let machine = Machine::probe(&mut host.context(), &aws()).unwrap();
    assert_eq!(host.run(machine).unwrap(), EVERYTHING);
    assert_eq!(host.kms_calls, 2);
    let machine = Machine::probe(&mut host.context(), &local()).unwrap();
    host.run(machine).unwrap();

    let mut machine = Machine::probe(&mut host.context(), &aws()).unwrap();
    host.step(&mut machine).unwrap();
    host.answer_all(&mut machine).unwrap();
    host.step(&mut machine).unwrap();
    let id = machine.kms_requests().unwrap()[0].id;
    machine.provide_kms(id, &[0; 96], None).unwrap();
    assert_eq!(code(host.step(&mut machine)), Code::KmsReplyMismatch);
}

#[test]
fn the_object_a_kmip_server_made_is_stored_with_the_key() {
    let mut host = Host::new();
    host.engine
        .add_remote(csfle_core::kms::KmsProvider::parse("kmip").unwrap())
        .unwrap();
    let kmip = csfle_core::raw::single_field_document(
        "provider",
        2,
        &csfle_core::raw::string_value("kmip"),
    );
    let mut machine =
        Machine::create_data_key(&mut host.context(), &kmip, Vec::new(), None).unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKms);
    let material = match &machine.kms_requests().unwrap()[0].operation {
        KmsOperation::Wrap(material) => material.expose().to_vec(),
        KmsOperation::Unwrap(_) => panic!("a new key is wrapped first"),
    };
    machine.provide_kms(0, &[7; 160], Some("object-9")).unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKms);
    machine.provide_kms(1, &material, None).unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::Done);
    let document = KeyDocument::parse(machine.output().unwrap().expose()).unwrap();
    assert_eq!(document.master_key.kmip_key_id(), Some("object-9"));

    let mut machine =
        Machine::create_data_key(&mut host.context(), &kmip, Vec::new(), None).unwrap();
    host.step(&mut machine).unwrap();
    machine.provide_kms(0, &[7; 160], None).unwrap();
    assert_eq!(code(host.step(&mut machine)), Code::MasterKeyInvalid);
}

#[test]
fn a_kmip_key_without_key_id_is_refused_before_a_server_is_asked() {
    let mut host = Host::new();
    host.engine
        .add_remote(csfle_core::kms::KmsProvider::parse("kmip").unwrap())
        .unwrap();
    let kmip = bson::rawdoc! { "provider": "kmip" };
    let stored = support::key_documents::document(&[(
        bson::raw::cstr!("masterKey"),
        Some(bson::RawBson::Document(kmip)),
    )]);
    host.vault.push(stored);
    let error = host
        .run(Machine::fingerprint(EVERYTHING, EVERYTHING, false).unwrap())
        .unwrap_err();
    assert_eq!(error.code(), Code::MasterKeyInvalid);
    assert!(error.details().iter().any(|(name, _)| *name == "keyId"));
    assert_eq!(host.kms_calls, 0);
}

#[test]
fn documents_laid_end_to_end_are_split_or_refused() {
    let both = [local(), aws()].concat();
    assert_eq!(split_documents(&both).unwrap(), [local(), aws()]);
    assert_eq!(
        code(split_documents(&both[..both.len() - 1])),
        Code::BsonMalformed
    );
}
