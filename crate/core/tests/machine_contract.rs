//! The contract of machines: order of calls, sticky errors, what each failure is called.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use csfle_core::{Code, Machine, Step, kms::KmsProvider, raw::string_value, secret::KeyMaterial};
use support::host::{DETERMINISTIC, Host, aws, local, options, v};

fn encrypt(key_id: [u8; 16]) -> Machine {
    Machine::encrypt(
        &v(2, &string_value("hello")),
        &options(DETERMINISTIC, key_id),
    )
    .unwrap()
}

fn code<T>(result: csfle_core::Result<T>) -> Code {
    result.err().expect("expected a failure").code()
}

#[test]
fn a_step_without_progress_is_the_same_step() {
    let mut host = Host::new();
    let id = host.create_key(&aws(), &[], None);
    let mut machine = encrypt(id);
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKeys);
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKeys);
    let documents = host.vault.concat();
    machine
        .provide_keys(&mut host.context(), &documents)
        .unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKms);
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKms);
    host.answer_all(&mut machine).unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::Done);
    assert_eq!(host.step(&mut machine).unwrap(), Step::Done);
}

#[test]
fn calls_out_of_order_are_refused_and_the_refusal_is_sticky() {
    let mut host = Host::new();
    let id = host.create_key(&local(), &[], None);
    let documents = host.vault.concat();

    let mut before_step = encrypt(id);
    assert_eq!(
        code(before_step.provide_keys(&mut host.context(), &documents)),
        Code::MachineOutOfOrder
    );
    assert_eq!(code(host.step(&mut before_step)), Code::MachineOutOfOrder);

    let mut twice = encrypt(id);
    host.step(&mut twice).unwrap();
    twice.provide_keys(&mut host.context(), &documents).unwrap();
    assert_eq!(
        code(twice.provide_keys(&mut host.context(), &documents)),
        Code::MachineOutOfOrder
    );

    let mut no_kms = encrypt(id);
    host.step(&mut no_kms).unwrap();
    assert_eq!(
        code(no_kms.provide_kms(0, &[0; 96], None)),
        Code::MachineOutOfOrder
    );

    let mut too_early = encrypt(id);
    assert_eq!(code(too_early.output()), Code::MachineOutOfOrder);
    assert_eq!(
        code(too_early.filter().map(<[u8]>::to_vec)),
        Code::MachineOutOfOrder
    );
    assert_eq!(
        code(too_early.kms_requests().map(|_| ())),
        Code::MachineOutOfOrder
    );
}

#[test]
fn the_output_is_given_out_once() {
    let mut host = Host::new();
    let id = host.create_key(&local(), &[], None);
    let mut machine = encrypt(id);
    host.step(&mut machine).unwrap();
    let documents = host.vault.concat();
    machine
        .provide_keys(&mut host.context(), &documents)
        .unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::Done);
    machine.output().unwrap();
    assert_eq!(code(machine.output()), Code::MachineOutOfOrder);
}

#[test]
fn kms_replies_must_fit_their_request() {
    let mut host = Host::new();
    let id = host.create_key(&aws(), &[], None);
    let documents = host.vault.concat();
    let mut at_kms = || {
        let mut machine = encrypt(id);
        host.step(&mut machine).unwrap();
        machine
            .provide_keys(&mut host.context(), &documents)
            .unwrap();
        assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKms);
        machine
    };
    assert_eq!(
        code(at_kms().provide_kms(7, &[0; 96], None)),
        Code::MachineOutOfOrder
    );
    for length in [0, 95, 97, 192] {
        assert_eq!(
            code(at_kms().provide_kms(0, &vec![0; length], None)),
            Code::KmsReplyLength
        );
    }
    let mut machine = at_kms();
    machine.provide_kms(0, &[0; 96], None).unwrap();
    assert_eq!(
        code(machine.provide_kms(0, &[0; 96], None)),
        Code::MachineOutOfOrder
    );
}

#[test]
fn a_wrapped_key_shorter_than_the_key_is_refused() {
    let mut host = Host::new();
    let mut machine =
        Machine::create_data_key(&mut host.context(), &aws(), Vec::new(), None).unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::NeedKms);
    assert_eq!(
        code(machine.provide_kms(0, &[0; 95], None)),
        Code::KmsReplyLength
    );
    assert_eq!(code(host.step(&mut machine)), Code::KmsReplyLength);
}

#[test]
fn missing_keys_are_named_by_id_and_by_name() {
    let mut host = Host::new();
    let machine = encrypt([7; 16]);
    let error = host.run(machine).unwrap_err();
    assert_eq!(error.code(), Code::KeyVaultKeyNotFound);
    assert!(
        error
            .message()
            .starts_with("not all keys requested were satisfied")
    );
    assert!(
        error
            .details()
            .contains(&("keyIds", "07070707-0707-0707-0707-070707070707".into()))
    );

    let mut by_name = csfle_core::raw::begin_document(64);
    csfle_core::raw::push_element(&mut by_name, 2, b"algorithm", &string_value(DETERMINISTIC));
    csfle_core::raw::push_element(&mut by_name, 2, b"keyAltName", &string_value("nobody"));
    csfle_core::raw::end_document(&mut by_name, 0);
    let machine = Machine::encrypt(&v(16, &[1, 0, 0, 0]), &by_name).unwrap();
    let error = host.run(machine).unwrap_err();
    assert!(error.details().contains(&("keyAltNames", "nobody".into())));
}

#[test]
fn keys_that_were_not_asked_for_and_duplicates_are_refused() {
    let mut host = Host::new();
    let wanted = host.create_key(&local(), &[], None);
    host.create_key(&local(), &[], None);
    let (first, second) = (host.vault[0].clone(), host.vault[1].clone());

    let mut machine = encrypt(wanted);
    host.step(&mut machine).unwrap();
    let both = [first.clone(), second].concat();
    assert_eq!(
        code(machine.provide_keys(&mut host.context(), &both)),
        Code::KeyVaultUnexpectedKey
    );

    let mut machine = encrypt(wanted);
    host.step(&mut machine).unwrap();
    let twice = [first.clone(), first.clone()].concat();
    assert_eq!(
        code(machine.provide_keys(&mut host.context(), &twice)),
        Code::KeyVaultDuplicateKey
    );

    let mut machine = encrypt(wanted);
    host.step(&mut machine).unwrap();
    let cut = &first[..first.len() - 1];
    assert_eq!(
        code(machine.provide_keys(&mut host.context(), cut)),
        Code::KeyVaultDocumentMalformed
    );
}

#[test]
fn a_wrong_local_master_key_and_an_absent_provider_name_the_key() {
    let mut host = Host::new();
    let id = host.create_key(&local(), &["patients"], None);
    let mut wrong = Host::with_local_key(&[2; 96]);
    wrong.vault = host.vault.clone();
    let machine = encrypt(id);
    let error = wrong.run(machine).unwrap_err();
    assert_eq!(error.code(), Code::CryptoAuthenticationFailed);
    assert!(
        error
            .details()
            .iter()
            .any(|(name, value)| *name == "keyAltNames" && value == "patients")
    );

    let mut empty = Host::new();
    empty.engine = csfle_core::Engine::new(0.0, 10);
    empty.vault = host.vault.clone();
    let machine = encrypt(id);
    assert_eq!(code(empty.run(machine)), Code::KmsProviderNotConfigured);
    assert_eq!(
        code(Machine::create_data_key(
            &mut empty.context(),
            &local(),
            Vec::new(),
            None
        )),
        Code::KmsProviderNotConfigured
    );
}

#[test]
fn a_provider_is_added_once_and_as_what_it_is() {
    let mut engine = csfle_core::Engine::new(0.0, 10);
    let material = KeyMaterial::copy_from(&[1; 96]).unwrap();
    let provider = |id| KmsProvider::parse(id).unwrap();
    engine.add_local(provider("local:a"), &material).unwrap();
    assert_eq!(
        code(engine.add_local(provider("local:a"), &material)),
        Code::OptionInvalid
    );
    assert_eq!(
        code(engine.add_local(provider("aws"), &material)),
        Code::OptionInvalid
    );
    assert_eq!(
        code(engine.add_remote(provider("local:b"))),
        Code::OptionInvalid
    );
    assert_eq!(
        code(KeyMaterial::copy_from(&[1; 95]).map(|_| ())),
        Code::KeyMaterialLength
    );
}

#[test]
fn a_cached_key_needs_neither_vault_nor_kms_until_it_expires() {
    let mut host = Host::new();
    let id = host.create_key(&aws(), &[], None);
    let machine = encrypt(id);
    host.run(machine).unwrap();
    let calls = host.kms_calls;

    let mut cached = encrypt(id);
    assert_eq!(host.step(&mut cached).unwrap(), Step::Done);
    host.now_ms += 60_001.0;
    let mut expired = encrypt(id);
    assert_eq!(host.step(&mut expired).unwrap(), Step::NeedKeys);
    assert_eq!(host.kms_calls, calls);
}

#[test]
fn a_cached_key_is_found_by_its_name_as_well() {
    use csfle_core::raw::{begin_document, end_document, push_element, string_value};
    let mut host = Host::new();
    host.create_key(&aws(), &["name"], None);
    let mut options = begin_document(128);
    push_element(&mut options, 2, b"algorithm", &string_value(DETERMINISTIC));
    push_element(&mut options, 2, b"keyAltName", &string_value("name"));
    end_document(&mut options, 0);
    let value = support::host::v(16, &[1, 0, 0, 0]);
    let first = host
        .run(Machine::encrypt(&value, &options).unwrap())
        .unwrap();
    host.vault.clear();
    let again = host
        .run(Machine::encrypt(&value, &options).unwrap())
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(
        host.kms_calls, 3,
        "a new key takes two calls, and its use one"
    );
}

#[test]
fn options_and_values_are_refused_by_code() {
    use csfle_core::raw::{begin_document, binary_value, end_document, push_element};
    let build = |fields: &[(&str, u8, Vec<u8>)]| {
        let mut document = begin_document(128);
        for (name, bson_type, value) in fields {
            push_element(&mut document, *bson_type, name.as_bytes(), value);
        }
        end_document(&mut document, 0);
        document
    };
    let text = |text: &str| string_value(text);
    let (id, name) = (
        ("keyId", 5, binary_value(4, &[1; 16])),
        ("keyAltName", 2, text("a")),
    );
    let algorithm = |algorithm: &str| ("algorithm", 2, text(algorithm));
    let cases = [
        (build(&[]), Code::AlgorithmUnsupported),
        (
            build(&[("algorithm", 16, vec![0; 4])]),
            Code::AlgorithmUnsupported,
        ),
        (
            build(&[algorithm("ROT13"), id.clone()]),
            Code::AlgorithmUnsupported,
        ),
        (
            build(&[algorithm("Indexed"), id.clone()]),
            Code::AlgorithmQueryable,
        ),
        (
            build(&[algorithm("rangePreview"), id.clone()]),
            Code::AlgorithmQueryable,
        ),
        (
            build(&[algorithm(DETERMINISTIC)]),
            Code::KeyReferenceInvalid,
        ),
        (
            build(&[algorithm(DETERMINISTIC), id.clone(), name.clone()]),
            Code::KeyReferenceInvalid,
        ),
        (
            build(&[
                algorithm(DETERMINISTIC),
                ("keyId", 5, binary_value(4, &[1; 15])),
            ]),
            Code::KeyReferenceInvalid,
        ),
        (
            build(&[
                algorithm(DETERMINISTIC),
                ("keyId", 5, binary_value(0, &[1; 16])),
            ]),
            Code::KeyReferenceInvalid,
        ),
        (
            build(&[algorithm(DETERMINISTIC), ("keyAltName", 16, vec![0; 4])]),
            Code::KeyReferenceInvalid,
        ),
        (
            build(&[
                algorithm(DETERMINISTIC),
                id.clone(),
                ("queryType", 2, text("equality")),
            ]),
            Code::OptionInvalid,
        ),
    ];
    for (options, expected) in cases {
        assert_eq!(
            code(Machine::encrypt(&v(16, &[1, 0, 0, 0]), &options)),
            expected
        );
    }
    assert!(
        Machine::encrypt(
            &v(16, &[0; 4]),
            &build(&[algorithm(&DETERMINISTIC.to_lowercase()), name])
        )
        .is_ok()
    );
    let good = build(&[algorithm(DETERMINISTIC), id]);
    assert_eq!(
        code(Machine::encrypt(&build(&[("w", 16, vec![0; 4])]), &good)),
        Code::ValueMissing
    );
    assert_eq!(
        code(Machine::encrypt(&v(10, &[]), &good)),
        Code::ValueTypeNotEncryptable
    );
    assert_eq!(
        code(Machine::encrypt(&v(1, &[0; 8]), &good)),
        Code::ValueTypeNotDeterministic
    );
    assert_eq!(
        code(Machine::encrypt(b"\x05\0\0\0", &good)),
        Code::BsonMalformed
    );
    assert_eq!(
        code(Machine::decrypt(&v(16, &[0; 4]))),
        Code::PayloadNotEncrypted
    );
    assert_eq!(
        code(Machine::decrypt(&v(5, &binary_value(0, &[1; 90])))),
        Code::PayloadNotEncrypted
    );
    assert_eq!(
        code(Machine::decrypt(&v(5, &binary_value(6, &[])))),
        Code::PayloadTooShort
    );
    assert_eq!(
        code(Machine::decrypt(&v(5, &binary_value(6, &[14; 90])))),
        Code::PayloadIsQueryable
    );
    assert_eq!(
        code(Machine::decrypt(&v(5, &binary_value(6, &[0; 90])))),
        Code::PayloadIsMarking
    );
    assert_eq!(
        code(Machine::decrypt(&v(5, &binary_value(6, &[99; 90])))),
        Code::PayloadKindUnknown
    );
}

#[test]
fn a_source_of_randomness_that_fails_stops_everything() {
    struct Broken;
    impl csfle_core::Entropy for Broken {
        fn fill(&mut self, _out: &mut [u8]) -> csfle_core::Result<()> {
            Err(csfle_core::Error::new(
                Code::CryptoRandomUnavailable,
                "none",
            ))
        }
    }
    let mut host = Host::new();
    let mut context = csfle_core::Context {
        engine: &mut host.engine,
        entropy: &mut Broken,
        now_ms: 0.0,
    };
    assert_eq!(
        code(Machine::create_data_key(
            &mut context,
            &local(),
            Vec::new(),
            None
        )),
        Code::CryptoRandomUnavailable
    );
}
