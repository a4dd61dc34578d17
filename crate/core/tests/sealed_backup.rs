//! Sealed backups as machines.

mod support;

use csfle_core::{
    Code, Machine,
    crypto::Argon2Parameters,
    raw::find_field,
    sealed_backup::{Header, KeyMethod, MAX_CHUNK_LEN, MIN_CHUNK_LEN, parse},
    secret::SecretBytes,
};
use support::{
    backup::{
        CHUNK_LEN, PASSPHRASE, code, content, facts, key_document, master_key, open, records, seal,
        seal_with_passphrase, seal_with_seed,
    },
    host::Host,
};

#[test]
fn open_gives_what_was_sealed_under_every_kind_of_key() {
    assert_eq!(open(&seal("local"), None).unwrap(), content());
    assert_eq!(open(&seal("aws"), None).unwrap(), content());
    assert_eq!(
        open(&seal_with_passphrase(), Some(PASSPHRASE)).unwrap(),
        content()
    );
}

#[test]
fn a_kms_wraps_once_and_unwraps_once_before_the_file_is_given_out() {
    let mut host = Host::new();
    let machine = Machine::seal_backup(
        &mut host.context(),
        &master_key("aws"),
        &facts(),
        &records(),
        CHUNK_LEN,
    );
    host.run(machine.unwrap()).unwrap();
    assert_eq!(host.kms_calls, 2);
}

#[test]
fn a_wrapping_that_unwraps_to_other_bytes_is_refused() {
    let mut host = Host::new();
    let mut machine = Machine::seal_backup(
        &mut host.context(),
        &master_key("aws"),
        &facts(),
        &records(),
        CHUNK_LEN,
    )
    .unwrap();
    host.step(&mut machine).unwrap();
    machine.provide_kms(0, &[9; 184], None).unwrap();
    host.step(&mut machine).unwrap();
    machine.provide_kms(1, &[7; 96], None).unwrap();
    assert_eq!(code(host.step(&mut machine)), Some(Code::KmsReplyMismatch));
    assert_eq!(code(machine.output()), Some(Code::MachineOutOfOrder));
}

#[test]
fn the_key_has_to_be_of_the_kind_that_the_header_names() {
    assert_eq!(
        code(open(&seal_with_passphrase(), None)),
        Some(Code::BackupKeyMissing)
    );
    let file = seal("local");
    let mut host = Host::new();
    host.engine = csfle_core::Engine::new(0.0, 1);
    assert_eq!(
        code(Machine::open_backup(&mut host.context(), &file, None)),
        Some(Code::BackupKeyMissing)
    );
    let mut host = Host::with_local_key(&[2; 96]);
    assert_eq!(
        code(Machine::open_backup(&mut host.context(), &file, None)),
        Some(Code::BackupKeyWrong)
    );
    assert_eq!(
        code(open(&seal_with_passphrase(), Some("wrong horse"))),
        Some(Code::BackupKeyWrong)
    );
}

#[test]
fn a_short_passphrase_seals_nothing() {
    let seal = |passphrase: &[u8]| {
        let mut host = Host::new();
        let passphrase = SecretBytes::copy_from(passphrase);
        code(Machine::seal_backup_with_passphrase(
            &mut host.context(),
            &passphrase,
            Argon2Parameters::LEAST,
            &facts(),
            b"",
            CHUNK_LEN,
        ))
    };
    for refused in [
        &b""[..],
        b"seven77",
        "ääääää7".as_bytes(),
        &[0xff; 8],
        &[b'a'; 1025],
    ] {
        assert_eq!(seal(refused), Some(Code::BackupPassphraseInvalid));
    }
    assert_eq!(seal("ääääääää".as_bytes()), None);
}

#[test]
fn chunk_lengths_outside_of_the_limits_seal_nothing() {
    for chunk_len in [0, MIN_CHUNK_LEN - 1, MAX_CHUNK_LEN + 1] {
        let mut host = Host::new();
        let machine = Machine::seal_backup(
            &mut host.context(),
            &master_key("local"),
            &facts(),
            b"",
            chunk_len,
        )
        .unwrap();
        assert_eq!(code(host.run(machine)), Some(Code::BackupLimitExceeded));
    }
}

#[test]
fn no_altered_bit_of_a_file_goes_unnoticed() {
    let file = seal("local");
    for position in (0..file.len()).step_by(7).chain(0..460) {
        let mut altered = file.clone();
        altered[position] ^= 1 << (position % 8);
        assert!(
            open(&altered, None).is_err(),
            "bit {} of byte {position}",
            position % 8
        );
    }
}

#[test]
fn no_cut_of_a_file_goes_unnoticed() {
    let file = seal("local");
    for len in (0..file.len()).step_by(5) {
        assert!(open(&file[..len], None).is_err(), "{len} bytes");
    }
}

#[test]
fn two_files_of_the_same_content_share_nothing() {
    let (one, other) = (seal_with_seed("local", 1), seal_with_seed("local", 2));
    let start = one.len() - content().len() / CHUNK_LEN * 16 - content().len();
    assert!(
        one[start..]
            .chunks(16)
            .zip(other[start..].chunks(16))
            .all(|(a, b)| a != b)
    );
}

#[test]
fn the_header_tells_what_opens_the_file() {
    assert!(
        matches!(Header::parse(&seal_with_passphrase()).unwrap().method, KeyMethod::Passphrase { parameters, .. } if parameters == Argon2Parameters::LEAST)
    );
    assert!(
        matches!(Header::parse(&seal("aws")).unwrap().method, KeyMethod::MasterKey { master_key, .. } if master_key.provider().to_string() == "aws")
    );
}

#[test]
fn the_content_parses_into_manifest_and_records() {
    let content = content();
    let documents = parse(&content).unwrap();
    assert_eq!(documents.len(), 11);
    assert_eq!(
        find_field(documents[1], "document").unwrap().unwrap().value,
        key_document(1)
    );
}
