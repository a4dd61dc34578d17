//! Whole documents: encryption by rules, decryption, and the updates of a migration.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use csfle_core::{
    Code, Machine, Step,
    raw::{
        begin_document, binary_value, check_value, element_type as ty, elements, end_document,
        find_field, push_element, single_field_document, split_documents, string_value,
    },
};
use proptest::prelude::*;
use support::host::{DETERMINISTIC, Host, RANDOM, aws, field, local, options};

fn document(fields: &[(&str, u8, Vec<u8>)]) -> Vec<u8> {
    let mut document = begin_document(256);
    for (name, bson_type, value) in fields {
        push_element(&mut document, *bson_type, name.as_bytes(), value);
    }
    end_document(&mut document, 0);
    document
}

fn text(text: &str) -> Vec<u8> {
    string_value(text)
}

fn int(value: i32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn rules(paths: &[&str], algorithm: &str, key_id: [u8; 16]) -> Vec<u8> {
    document(
        &paths
            .iter()
            .map(|path| (*path, ty::DOCUMENT, options(algorithm, key_id)))
            .collect::<Vec<_>>(),
    )
}

/// Rules that documents need not meet.
fn optional_rules(paths: &[&str], algorithm: &str, key_id: [u8; 16]) -> Vec<u8> {
    let mut rule = options(algorithm, key_id);
    rule.pop();
    push_element(&mut rule, ty::BOOL, b"optional", &[1]);
    end_document(&mut rule, 0);
    document(
        &paths
            .iter()
            .map(|path| (*path, ty::DOCUMENT, rule.clone()))
            .collect::<Vec<_>>(),
    )
}

/// `{_id: 1, name, ssn, visits: [{note, at: {ward}}, {note}], list: [1, 2]}`.
fn patient() -> Vec<u8> {
    let ward = document(&[("ward", ty::STRING, text("B"))]);
    let first = document(&[
        ("note", ty::STRING, text("first")),
        ("at", ty::DOCUMENT, ward),
    ]);
    let second = document(&[("note", ty::STRING, text("second, longer than one block"))]);
    document(&[
        ("_id", ty::INT32, int(1)),
        ("name", ty::STRING, text("Ada")),
        ("ssn", ty::STRING, text("123-45-6789")),
        (
            "visits",
            ty::ARRAY,
            document(&[("0", ty::DOCUMENT, first), ("1", ty::DOCUMENT, second)]),
        ),
        (
            "list",
            ty::ARRAY,
            document(&[("0", ty::INT32, int(1)), ("1", ty::INT32, int(2))]),
        ),
        ("tail", ty::BOOL, vec![1]),
    ])
}

fn code<T>(result: csfle_core::Result<T>) -> Code {
    result.err().expect("expected a failure").code()
}

fn with_key(master_key: &[u8]) -> (Host, [u8; 16]) {
    let mut host = Host::new();
    let id = host.create_key(master_key, &[], None);
    (host, id)
}

#[test]
fn decryption_undoes_encryption_at_any_depth_and_leaves_the_rest() {
    let (mut host, id) = with_key(&aws());
    let plain = [
        patient(),
        document(&[("other", ty::NULL, vec![])]),
        patient(),
    ]
    .concat();
    let paths = [
        "ssn",
        "visits.note",
        "visits.at.ward",
        "list",
        "absent.path",
        "name.not.a.document",
    ];
    let encrypted = host
        .run(Machine::encrypt_documents(&plain, &optional_rules(&paths, RANDOM, id)).unwrap())
        .unwrap();
    let documents = split_documents(&encrypted).unwrap();
    assert_eq!(documents.len(), 3);
    check_value(ty::DOCUMENT, documents[0]).unwrap();
    assert_eq!(
        find_field(documents[0], "ssn")
            .unwrap()
            .unwrap()
            .as_binary()
            .unwrap()
            .0,
        6
    );
    assert_eq!(
        find_field(documents[0], "list")
            .unwrap()
            .unwrap()
            .as_binary()
            .unwrap()
            .0,
        6
    );
    assert_eq!(field(documents[0], "name").unwrap(), text("Ada"));
    assert_eq!(documents[1], split_documents(&plain).unwrap()[1]);
    assert_ne!(
        documents[0], documents[2],
        "random encryption differs each time"
    );
    assert_eq!(
        host.run(Machine::decrypt_documents(&encrypted).unwrap())
            .unwrap(),
        plain
    );
}

#[test]
fn a_reply_without_encrypted_values_is_done_at_once_and_unchanged() {
    let mut host = Host::new();
    let foreign = document(&[
        ("marking", ty::BINARY, binary_value(6, &[0; 30])),
        ("command", ty::BINARY, binary_value(6, &[5; 30])),
        ("unknown", ty::BINARY, binary_value(6, &[99; 30])),
        ("empty", ty::BINARY, binary_value(6, &[])),
        (
            "scope",
            ty::CODE_WITH_SCOPE,
            code_with_scope(&document(&[("in", ty::BINARY, binary_value(6, &[1; 82]))])),
        ),
    ]);
    let mut machine = Machine::decrypt_documents(&foreign).unwrap();
    assert_eq!(host.step(&mut machine).unwrap(), Step::Done);
    assert_eq!(machine.output().unwrap().expose(), foreign);
}

fn code_with_scope(scope: &[u8]) -> Vec<u8> {
    let code = text("x");
    let total = (4 + code.len() + scope.len()) as u32;
    [total.to_le_bytes().to_vec(), code, scope.to_vec()].concat()
}

#[test]
fn stored_queryable_values_are_refused_by_name_with_their_path() {
    let inner = document(&[("q", ty::BINARY, binary_value(6, &[14; 90]))]);
    let outer = document(&[("a", ty::ARRAY, document(&[("0", ty::DOCUMENT, inner)]))]);
    let error = Machine::decrypt_documents(&outer).err().unwrap();
    assert_eq!(error.code(), Code::PayloadIsQueryable);
    assert!(error.details().contains(&("path", "a.0.q".into())));
}

#[test]
fn one_damaged_value_fails_the_whole_call_and_names_path_and_key() {
    let (mut host, id) = with_key(&local());
    let rules = rules(&["ssn", "visits.note"], DETERMINISTIC, id);
    let encrypted = host
        .run(Machine::encrypt_documents(&patient(), &rules).unwrap())
        .unwrap();
    let position = encrypted
        .windows(5)
        .position(|window| window == b"note\0")
        .unwrap()
        + 5
        + 5
        + 30;
    let mut damaged = encrypted;
    damaged[position] ^= 1;
    let error = host
        .run(Machine::decrypt_documents(&damaged).unwrap())
        .unwrap_err();
    assert_eq!(error.code(), Code::CryptoAuthenticationFailed);
    assert!(error.details().contains(&("path", "visits.0.note".into())));
    assert!(error.details().iter().any(|(name, _)| *name == "keyId"));
}

#[test]
fn rules_refuse_values_and_paths_that_cannot_be() {
    let (_, id) = with_key(&local());
    let null = document(&[("a", ty::DOCUMENT, document(&[("b", ty::NULL, vec![])]))]);
    let error = Machine::encrypt_documents(&null, &rules(&["a.b"], RANDOM, id))
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::ValueTypeNotEncryptable);
    assert!(error.details().contains(&("path", "a.b".into())));
    let encrypted = document(&[("a", ty::BINARY, binary_value(6, &[1; 82]))]);
    assert_eq!(
        code(Machine::encrypt_documents(
            &encrypted,
            &rules(&["a"], RANDOM, id)
        )),
        Code::ValueTypeNotEncryptable
    );
    for paths in [
        &["a", "a.b"][..],
        &["a.b", "a"],
        &["a", "a"],
        &[""],
        &["a..b"],
    ] {
        let result = Machine::encrypt_documents(&patient(), &rules(paths, RANDOM, id));
        assert_eq!(code(result), Code::OptionInvalid, "{paths:?}");
    }
    let not_a_rule = document(&[("a", ty::INT32, int(1))]);
    assert_eq!(
        code(Machine::encrypt_documents(&patient(), &not_a_rule)),
        Code::OptionInvalid
    );
}

#[test]
fn a_rule_that_meets_no_value_is_refused_unless_it_is_optional() {
    let (mut host, id) = with_key(&local());
    let array = |items: &[(&str, u8, Vec<u8>)]| document(&[("list", ty::ARRAY, document(items))]);
    let empty = array(&[]);
    let of_text = array(&[("0", ty::STRING, text("x"))]);
    let nested_empty = array(&[("0", ty::ARRAY, document(&[]))]);
    let lacking = array(&[("0", ty::DOCUMENT, document(&[]))]);
    for (path, plain) in [
        ("ssm", &patient()),
        ("ssn.last", &patient()),
        ("visits.nope", &patient()),
        ("list.a", &of_text),
        ("list.a", &lacking),
    ] {
        let error = Machine::encrypt_documents(plain, &rules(&[path], RANDOM, id))
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::ValuePathNotFound, "{path}");
        assert!(error.details().contains(&("path", path.into())));
        let result = host
            .run(Machine::encrypt_documents(plain, &optional_rules(&[path], RANDOM, id)).unwrap());
        assert_eq!(&result.unwrap(), plain);
    }
    // Each element has to have it: the second visit has no ward. An empty array has nothing to encrypt.
    let error = Machine::encrypt_documents(&patient(), &rules(&["visits.at.ward"], RANDOM, id))
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::ValuePathNotFound);
    for (path, plain) in [
        ("visits.note", &patient()),
        ("list.a", &empty),
        ("list.a.b", &empty),
        ("list.a", &nested_empty),
    ] {
        Machine::encrypt_documents(plain, &rules(&[path], RANDOM, id)).unwrap();
    }
    // Each document of a call for itself, and the first that fails is named.
    let two = [patient(), document(&[("ssn", ty::NULL, vec![])])].concat();
    for (path, code) in [
        ("name", Code::ValuePathNotFound),
        ("ssn", Code::ValueTypeNotEncryptable),
    ] {
        let error = Machine::encrypt_documents(&two, &rules(&[path], RANDOM, id))
            .err()
            .unwrap();
        assert_eq!(error.code(), code);
        assert!(error.details().contains(&("index", "1".into())));
    }
}

#[test]
fn another_spelling_of_a_path_is_refused_even_if_the_rule_is_optional() {
    let (_, id) = with_key(&local());
    let inner = document(&[("b", ty::STRING, text("x"))]);
    let cases = [
        ("ssn", document(&[("$set", ty::DOCUMENT, inner.clone())])),
        (
            "a.b",
            document(&[
                ("a.b", ty::STRING, text("x")),
                ("a", ty::DOCUMENT, inner.clone()),
            ]),
        ),
        ("a.b.c", document(&[("a.b", ty::DOCUMENT, inner.clone())])),
        ("a.b", document(&[("a.b.c", ty::STRING, text("x"))])),
        ("a.b", document(&[("a.0.b", ty::STRING, text("x"))])),
        (
            "o.a.b",
            document(&[("o", ty::DOCUMENT, document(&[("a.b", ty::INT32, int(1))]))]),
        ),
        ("visits.0.note", patient()),
        ("list.0", patient()),
    ];
    for (path, plain) in cases {
        let error = Machine::encrypt_documents(&plain, &optional_rules(&[path], RANDOM, id))
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::ValuePathAmbiguous, "{path}");
    }
    // A rule may name the operator itself, and other names with dots are no concern of a rule.
    let set = document(&[("$set", ty::DOCUMENT, inner)]);
    Machine::encrypt_documents(&set, &rules(&["$set.b"], RANDOM, id)).unwrap();
    let dotted = document(&[
        ("x.y", ty::INT32, int(1)),
        ("1.7", ty::INT32, int(1)),
        ("$m", ty::DOCUMENT, document(&[])),
        ("ssn", ty::INT32, int(1)),
    ]);
    Machine::encrypt_documents(&dotted, &rules(&["ssn"], RANDOM, id)).unwrap();
}

#[test]
fn what_could_not_be_decrypted_again_is_not_encrypted() {
    let (mut host, id) = with_key(&local());
    let nested = |levels: usize| {
        let inner = (1..levels).fold(document(&[]), |inner, _| {
            single_field_document("d", ty::DOCUMENT, &inner)
        });
        document(&[("f", ty::DOCUMENT, inner)])
    };
    let error = Machine::encrypt_documents(&nested(250), &rules(&["f"], RANDOM, id))
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::BsonTooDeep);
    assert!(error.details().contains(&("path", "f".into())));
    let deepest = (150..250)
        .take_while(|levels| {
            Machine::encrypt_documents(&nested(*levels), &rules(&["f"], RANDOM, id)).is_ok()
        })
        .last()
        .unwrap();
    let encrypted = host
        .run(Machine::encrypt_documents(&nested(deepest), &rules(&["f"], RANDOM, id)).unwrap())
        .unwrap();
    let decrypted = host.run(Machine::decrypt_documents(&encrypted).unwrap());
    assert_eq!(decrypted.unwrap(), nested(deepest));
}

#[test]
fn a_document_past_16_mib_after_encryption_is_refused() {
    let (mut host, id) = with_key(&local());
    let rules = rules(&["big"], RANDOM, id);
    // {big: binary}: 4 + 1 + 4 + 5 + n + 1 bytes plain; the payload takes 66 + padded(n + 5) + 5 in place of n + 5.
    let largest = 16 * 1024 * 1024 - 200;
    let fits = document(&[("big", ty::BINARY, binary_value(0, &vec![0; largest]))]);
    host.run(Machine::encrypt_documents(&fits, &rules).unwrap())
        .unwrap();
    let grows = document(&[("big", ty::BINARY, binary_value(0, &vec![0; largest + 150]))]);
    let error = host
        .run(Machine::encrypt_documents(&grows, &rules).unwrap())
        .unwrap_err();
    assert_eq!(error.code(), Code::BsonTooLarge);
}

#[test]
fn nesting_past_200_levels_is_refused() {
    let nest = |levels: usize| {
        (1..levels).fold(document(&[]), |inner, _| {
            single_field_document("d", ty::DOCUMENT, &inner)
        })
    };
    assert!(Machine::decrypt_documents(&nest(200)).is_ok());
    assert_eq!(
        code(Machine::decrypt_documents(&nest(201))),
        Code::BsonTooDeep
    );
    assert_eq!(
        code(Machine::decrypt_documents(&nest(5000))),
        Code::BsonTooDeep
    );
}

fn mapping(from: [u8; 16], to: [u8; 16]) -> Vec<u8> {
    let pair = document(&[
        ("from", ty::BINARY, binary_value(4, &from)),
        ("to", ty::BINARY, binary_value(4, &to)),
    ]);
    document(&[("v", ty::ARRAY, document(&[("0", ty::DOCUMENT, pair)]))])
}

#[test]
fn reencryption_keeps_algorithm_and_value_and_names_old_values_in_its_filter() {
    let (mut host, old) = with_key(&local());
    let new = host.create_key(&aws(), &[], None);
    let rules = document(&[
        ("ssn", ty::DOCUMENT, options(DETERMINISTIC, old)),
        ("visits.note", ty::DOCUMENT, options(RANDOM, old)),
    ]);
    let untouched = document(&[("_id", ty::INT32, int(2))]);
    let encrypted = host
        .run(Machine::encrypt_documents(&patient(), &rules).unwrap())
        .unwrap();
    let encrypted = [encrypted, untouched].concat();
    let updates = host
        .run(Machine::reencrypt_documents(&encrypted, &mapping(old, new)).unwrap())
        .unwrap();
    let updates = split_documents(&updates).unwrap();
    assert_eq!(
        updates.len(),
        1,
        "a document without such values needs no update"
    );
    assert_eq!(field(updates[0], "values").unwrap(), int(3));
    let filter = field(updates[0], "q").unwrap();
    let set = field(&field(updates[0], "u").unwrap(), "$set").unwrap();
    let names: Vec<&[u8]> = elements(&set)
        .unwrap()
        .map(|element| element.unwrap().name)
        .collect();
    assert_eq!(names, [&b"ssn"[..], b"visits.0.note", b"visits.1.note"]);
    let encrypted = split_documents(&encrypted).unwrap()[0];
    let condition = field(&filter, "$expr").unwrap();
    for path in ["ssn", "visits.0.note", "visits.1.note"] {
        let old = path
            .split('.')
            .fold(encrypted.to_vec(), |at, name| field(&at, name).unwrap());
        assert!(condition.windows(old.len()).any(|window| window == old));
    }
    assert_eq!(field(&filter, "_id").unwrap(), int(1));
    let after = field(updates[0], "r").unwrap();
    assert_eq!(field(&after, "ssn"), field(&set, "ssn"));
    let new_ssn = field(&set, "ssn").unwrap();
    assert_eq!((new_ssn[5], &new_ssn[6..22]), (1, &new[..]));
    assert_eq!(field(&set, "visits.0.note").unwrap()[5], 2);
    let opened = host.run(Machine::decrypt_documents(&set).unwrap()).unwrap();
    assert_eq!(field(&opened, "ssn").unwrap(), text("123-45-6789"));
    assert_eq!(field(&opened, "visits.0.note").unwrap(), text("first"));
}

#[test]
fn leaving_puts_plaintext_back_for_the_named_keys_only() {
    let (mut host, one) = with_key(&local());
    let two = host.create_key(&local(), &[], None);
    let rules = document(&[
        ("ssn", ty::DOCUMENT, options(RANDOM, one)),
        ("name", ty::DOCUMENT, options(RANDOM, two)),
    ]);
    let encrypted = host
        .run(Machine::encrypt_documents(&patient(), &rules).unwrap())
        .unwrap();
    let ids = |ids: &[[u8; 16]]| {
        let items: Vec<_> = ids.iter().map(|id| binary_value(4, id)).collect();
        let mut array = begin_document(64);
        for (index, item) in items.iter().enumerate() {
            push_element(&mut array, ty::BINARY, index.to_string().as_bytes(), item);
        }
        end_document(&mut array, 0);
        document(&[("v", ty::ARRAY, array)])
    };
    let updates = host
        .run(Machine::leave_documents(&encrypted, &ids(&[one])).unwrap())
        .unwrap();
    let set = field(&field(&updates, "u").unwrap(), "$set").unwrap();
    assert_eq!(set, document(&[("ssn", ty::STRING, text("123-45-6789"))]));
    let updates = host
        .run(Machine::leave_documents(&encrypted, &ids(&[])).unwrap())
        .unwrap();
    assert_eq!(field(&updates, "values").unwrap(), int(2));
}

#[test]
fn a_name_that_cannot_stand_in_a_path_gives_a_pipeline() {
    let (mut host, old) = with_key(&local());
    let new = host.create_key(&local(), &[], None);
    for name in ["", "a.b", "$a"] {
        let secret = encrypted_value(&mut host, old);
        let document = document(&[("_id", ty::INT32, int(1)), (name, ty::BINARY, secret)]);
        let update = host
            .run(Machine::reencrypt_documents(&document, &mapping(old, new)).unwrap())
            .unwrap();
        let stage = field(&field(&update, "u").unwrap(), "0").unwrap();
        assert!(field(&field(&stage, "$replaceWith").unwrap(), "$setField").is_some());
        let after = field(&update, "r").unwrap();
        assert_eq!(&field(&after, name).unwrap()[6..22], new);
    }
}

#[test]
fn an_update_stays_of_the_size_of_its_document_however_long_its_paths_are() {
    let (mut host, old) = with_key(&local());
    let new = host.create_key(&local(), &[], None);
    let secret = encrypted_value(&mut host, old);
    let mut list = begin_document(100_000);
    for index in 0..500 {
        push_element(&mut list, ty::BINARY, index.to_string().as_bytes(), &secret);
    }
    end_document(&mut list, 0);
    let name = "n".repeat(40_000);
    let document = document(&[
        ("_id", ty::INT32, int(1)),
        (&name, ty::DOCUMENT, document(&[("list", ty::ARRAY, list)])),
    ]);
    let update = host
        .run(Machine::reencrypt_documents(&document, &mapping(old, new)).unwrap())
        .unwrap();
    assert_eq!(field(&update, "values").unwrap(), int(500));
    assert!(
        update.len() < 6 * document.len() + 65_536,
        "{} bytes for {}",
        update.len(),
        document.len()
    );
}

#[test]
fn a_document_whose_paths_name_no_single_place_is_refused() {
    let (mut host, old) = with_key(&local());
    let new = host.create_key(&local(), &[], None);
    let secret = encrypted_value(&mut host, old);
    let mut irregular = begin_document(200);
    push_element(&mut irregular, ty::BINARY, b"01", &secret);
    end_document(&mut irregular, 0);
    let inner = document(&[("b", ty::BINARY, secret.clone())]);
    let plain = document(&[("c", ty::INT32, int(1))]);
    // Deeper than any command could say, with two values so that no plain path reaches them.
    let mut deep = document(&[
        ("x", ty::BINARY, secret.clone()),
        ("y", ty::BINARY, secret.clone()),
    ]);
    for _ in 0..110 {
        deep = document(&[("a", ty::DOCUMENT, deep)]);
    }
    let id = |number| ("_id", ty::INT32, int(number));
    for document in [
        document(&[id(1), ("a", ty::ARRAY, irregular)]),
        document(&[
            id(2),
            ("a", ty::DOCUMENT, inner.clone()),
            ("a", ty::DOCUMENT, plain.clone()),
        ]),
        document(&[
            id(3),
            ("a", ty::DOCUMENT, plain),
            ("a", ty::DOCUMENT, inner),
        ]),
        document(&[
            id(4),
            ("$a", ty::BINARY, secret),
            ("b", ty::INT32, int(1)),
            ("b", ty::INT32, int(2)),
        ]),
        document(&[id(5), ("a", ty::DOCUMENT, deep)]),
    ] {
        let update = host
            .run(Machine::reencrypt_documents(&document, &mapping(old, new)).unwrap())
            .unwrap();
        assert_eq!(
            field(&update, "code"),
            Some(text("MIGRATION_DOCUMENT_UNSUPPORTED"))
        );
    }
}

fn encrypted_value(host: &mut Host, key_id: [u8; 16]) -> Vec<u8> {
    let value = single_field_document("v", ty::STRING, &text("secret"));
    let encrypted = host
        .run(Machine::encrypt(&value, &options(RANDOM, key_id)).unwrap())
        .unwrap();
    field(&encrypted, "v").unwrap()
}

#[test]
fn a_document_that_cannot_be_changed_is_reported_and_the_others_go_on() {
    let (mut host, old) = with_key(&local());
    let new = host.create_key(&local(), &[], None);
    let good = document(&[
        ("_id", ty::INT32, int(1)),
        ("a", ty::BINARY, encrypted_value(&mut host, old)),
    ]);
    let mut damaged = document(&[
        ("_id", ty::INT32, int(2)),
        ("a", ty::BINARY, encrypted_value(&mut host, old)),
    ]);
    let end = damaged.len() - 2;
    damaged[end] ^= 1;
    let in_id = document(&[(
        "_id",
        ty::DOCUMENT,
        document(&[("x", ty::BINARY, encrypted_value(&mut host, old))]),
    )]);
    let no_id = document(&[("a", ty::BINARY, encrypted_value(&mut host, old))]);
    let value = encrypted_value(&mut host, old);
    let twice = document(&[
        ("_id", ty::INT32, int(3)),
        ("a", ty::BINARY, value.clone()),
        ("a", ty::BINARY, value),
    ]);
    let value = encrypted_value(&mut host, old);
    let twice_apart = document(&[
        ("_id", ty::INT32, int(4)),
        ("a", ty::BINARY, value.clone()),
        ("b", ty::BINARY, value.clone()),
        ("a", ty::BINARY, value),
    ]);
    let documents = [good, damaged, in_id, no_id, twice, twice_apart].concat();
    let updates = host
        .run(Machine::reencrypt_documents(&documents, &mapping(old, new)).unwrap())
        .unwrap();
    let codes: Vec<Option<Vec<u8>>> = split_documents(&updates)
        .unwrap()
        .iter()
        .map(|update| field(update, "code"))
        .collect();
    let unsupported = Some(text("MIGRATION_DOCUMENT_UNSUPPORTED"));
    assert_eq!(
        codes,
        [
            None,
            Some(text("CRYPTO_AUTHENTICATION_FAILED")),
            unsupported.clone(),
            unsupported.clone(),
            unsupported.clone(),
            unsupported
        ]
    );
    let missing_key = document(&[
        ("_id", ty::INT32, int(1)),
        ("a", ty::BINARY, binary_value(6, &[2; 90])),
    ]);
    let nobody = document(&[("v", ty::ARRAY, document(&[]))]);
    let updates = host
        .run(Machine::leave_documents(&missing_key, &nobody).unwrap())
        .unwrap();
    assert_eq!(
        field(&updates, "code"),
        Some(text("KEY_VAULT_KEY_NOT_FOUND"))
    );
}

#[test]
fn a_mapping_must_be_pairs_of_ids() {
    for bad in [
        document(&[]),
        document(&[("v", ty::INT32, int(1))]),
        document(&[("v", ty::ARRAY, document(&[("0", ty::INT32, int(1))]))]),
        document(&[(
            "v",
            ty::ARRAY,
            document(&[("0", ty::DOCUMENT, document(&[]))]),
        )]),
    ] {
        assert_eq!(
            code(Machine::reencrypt_documents(&patient(), &bad)),
            Code::OptionInvalid
        );
    }
    let short = document(&[
        ("from", ty::BINARY, binary_value(4, &[1; 3])),
        ("to", ty::BINARY, binary_value(4, &[1; 16])),
    ]);
    let short = document(&[("v", ty::ARRAY, document(&[("0", ty::DOCUMENT, short)]))]);
    assert_eq!(
        code(Machine::reencrypt_documents(&patient(), &short)),
        Code::KeyReferenceInvalid
    );
}

/// Any BSON value of any type, nested to a depth.
fn value(depth: u32) -> BoxedStrategy<(u8, Vec<u8>)> {
    let bytes = |n: std::ops::Range<usize>| prop::collection::vec(any::<u8>(), n);
    let fixed = |bson_type: u8, n: usize| bytes(n..n + 1).prop_map(move |value| (bson_type, value));
    let string = "[a-zäß0-9]{0,40}";
    let leaf = prop_oneof![
        fixed(ty::DOUBLE, 8),
        string.prop_map(|s| (ty::STRING, string_value(&s))),
        (0u8..=5, bytes(0..70)).prop_map(|(subtype, bytes)| {
            // Subtype 2 repeats its length inside.
            let old = || [(bytes.len() as u32).to_le_bytes().to_vec(), bytes.clone()].concat();
            let bytes = if subtype == 2 { old() } else { bytes };
            (ty::BINARY, binary_value(subtype, &bytes))
        }),
        fixed(ty::OBJECT_ID, 12),
        any::<bool>().prop_map(|b| (ty::BOOL, vec![u8::from(b)])),
        fixed(ty::DATETIME, 8),
        ("[a-z]{0,20}", "i?m?x?")
            .prop_map(|(p, o)| (ty::REGEX, format!("{p}\0{o}\0").into_bytes())),
        (string, bytes(12..13))
            .prop_map(|(s, id)| (ty::DB_POINTER, [string_value(&s), id].concat())),
        string.prop_map(|s| (ty::CODE, string_value(&s))),
        string.prop_map(|s| (ty::SYMBOL, string_value(&s))),
        Just((
            ty::CODE_WITH_SCOPE,
            code_with_scope(&document(&[("a", ty::NULL, vec![])]))
        )),
        fixed(ty::INT32, 4),
        fixed(ty::TIMESTAMP, 8),
        fixed(ty::INT64, 8),
        fixed(ty::DECIMAL128, 16),
    ]
    .boxed();
    if depth == 0 {
        return leaf;
    }
    let nested = (any::<bool>(), prop::collection::vec(value(depth - 1), 0..5)).prop_map(
        |(array, values)| {
            let names: Vec<String> = (0..values.len())
                .map(|i| {
                    if array {
                        i.to_string()
                    } else {
                        format!("f{i}")
                    }
                })
                .collect();
            let fields: Vec<_> = names
                .iter()
                .zip(values)
                .map(|(name, (bson_type, value))| (name.as_str(), bson_type, value))
                .collect();
            (
                if array { ty::ARRAY } else { ty::DOCUMENT },
                document(&fields),
            )
        },
    );
    prop_oneof![2 => leaf, 1 => nested].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_type_and_length_survives_a_round_trip(a in value(2), b in value(2), c in value(1), deterministic: bool) {
        let (mut host, id) = with_key(&local());
        let inner = document(&[("b", b.0, b.1), ("plain", ty::STRING, text("stays"))]);
        let plain = document(&[("a", a.0, a.1), ("in", ty::DOCUMENT, inner), ("c", c.0, c.1)]);
        let algorithm = if deterministic { DETERMINISTIC } else { RANDOM };
        match Machine::encrypt_documents(&plain, &rules(&["a", "in.b"], algorithm, id)) {
            Ok(machine) => {
                let encrypted = host.run(machine).unwrap();
                check_value(ty::DOCUMENT, &encrypted).unwrap();
                prop_assert_eq!(host.run(Machine::decrypt_documents(&encrypted).unwrap()).unwrap(), plain);
            }
            Err(error) => prop_assert!(deterministic && error.code() == Code::ValueTypeNotDeterministic),
        }
    }

    #[test]
    fn damaged_documents_never_panic(seed in value(3), position: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let (mut host, id) = with_key(&local());
        let plain = document(&[("a", ty::STRING, text("x")), ("b", seed.0, seed.1)]);
        let encrypted = host.run(Machine::encrypt_documents(&plain, &rules(&["a"], RANDOM, id)).unwrap()).unwrap();
        let mut damaged = encrypted.clone();
        damaged[position.index(encrypted.len())] = byte;
        for bytes in [&damaged[..], &encrypted[..cut.index(encrypted.len())]] {
            let _ = Machine::decrypt_documents(bytes).and_then(|machine| host.run(machine));
            let _ = csfle_core::census::census(bytes);
            let _ = Machine::leave_documents(bytes, &document(&[("v", ty::ARRAY, document(&[]))]))
                .and_then(|machine| host.run(machine));
        }
    }
}
