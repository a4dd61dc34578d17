//! Master key descriptors: what is read, what is refused and with which words, what is written.

use bson::{
    raw::{RawDocument, RawDocumentBuf, cstr},
    rawdoc,
};
use csfle_core::{
    Code,
    key_vault::{KeyId, MasterKey, MasterKeyPattern},
};
use proptest::prelude::*;

fn parse(document: &RawDocument) -> MasterKey {
    MasterKey::parse(document).expect("the master key is acceptable")
}

fn assert_refused(document: &RawDocument, code: Code, field: &str, message: &str) {
    let error = MasterKey::parse(document).expect_err("the master key is not acceptable");
    assert_eq!((error.code(), error.message()), (code, message));
    let detail = error.details().iter().find(|(name, _)| *name == "field");
    assert_eq!(
        detail.map(|(_, value)| value.as_str()),
        Some(field),
        "{message}"
    );
}

fn assert_invalid(document: &RawDocument, field: &str, message: &str) {
    assert_refused(document, Code::MasterKeyInvalid, field, message);
}

fn aws() -> RawDocumentBuf {
    rawdoc! { "provider": "aws", "region": "r", "key": "k" }
}

fn azure() -> RawDocumentBuf {
    rawdoc! { "provider": "azure", "keyVaultEndpoint": "a.b", "keyName": "n" }
}

fn gcp() -> RawDocumentBuf {
    rawdoc! { "provider": "gcp", "projectId": "p", "location": "l", "keyRing": "r", "keyName": "n" }
}

// The expectations on refusals were observed with libmongocrypt 1.21.0.

#[test]
fn parse_rejects_a_missing_or_wrong_provider() {
    for document in [rawdoc! {}, rawdoc! { "q": 1 }, rawdoc! { "provider": 1 }] {
        assert_invalid(&document, "provider", "expected UTF-8 provider");
    }
    assert_refused(
        &rawdoc! { "provider": "aws:" },
        Code::KmsProviderUnrecognized,
        "provider",
        "unrecognized KMS provider `aws:`: empty name. Expected `<type>` or `<type>:<name>`. Example: `local` or \
         `local:name`.",
    );
}

#[test]
fn parse_rejects_aws_in_the_order_key_region_endpoint_others() {
    for document in [
        rawdoc! { "provider": "aws" },
        rawdoc! { "provider": "aws", "region": 1 },
        rawdoc! { "provider": "aws", "key": 1, "region": 1, "endpoint": "z" },
    ] {
        assert_invalid(&document, "key", "expected UTF-8 key");
    }
    for document in [
        rawdoc! { "provider": "aws", "key": "k" },
        rawdoc! { "provider": "aws", "key": "k", "region": 1, "endpoint": 1, "x": 1 },
    ] {
        assert_invalid(&document, "region", "expected UTF-8 region");
    }
    for endpoint in [rawdoc! { "endpoint": 1 }, rawdoc! { "endpoint": null }] {
        assert_invalid(
            &joined(&aws(), &endpoint),
            "endpoint",
            "expected UTF-8 endpoint",
        );
    }
    assert_refused(
        &joined(&aws(), &rawdoc! { "endpoint": "z", "x": 1 }),
        Code::KmsEndpointInvalid,
        "endpoint",
        "Invalid endpoint, expected dot separator in host, but got: z",
    );
    assert_invalid(
        &joined(&aws(), &rawdoc! { "x": 1, "y": 1 }),
        "x",
        "Unexpected field: 'x'",
    );
}

#[test]
fn parse_rejects_azure_in_the_order_endpoint_name_version_others() {
    assert_invalid(
        &rawdoc! { "provider": "azure" },
        "keyVaultEndpoint",
        "expected endpoint keyVaultEndpoint",
    );
    assert_invalid(
        &rawdoc! { "provider": "azure", "keyVaultEndpoint": 1, "keyName": 1 },
        "keyVaultEndpoint",
        "expected UTF-8 keyVaultEndpoint",
    );
    assert_refused(
        &rawdoc! { "provider": "azure", "keyVaultEndpoint": "localhost" },
        Code::KmsEndpointInvalid,
        "keyVaultEndpoint",
        "Invalid endpoint, expected dot separator in host, but got: localhost",
    );
    for document in [
        rawdoc! { "provider": "azure", "keyVaultEndpoint": "a.b", "keyVersion": 1 },
        rawdoc! { "provider": "azure", "keyVaultEndpoint": "a.b", "keyName": 1 },
    ] {
        assert_invalid(&document, "keyName", "expected UTF-8 keyName");
    }
    assert_invalid(
        &joined(&azure(), &rawdoc! { "keyVersion": 1 }),
        "keyVersion",
        "expected UTF-8 keyVersion",
    );
    assert_invalid(
        &joined(&azure(), &rawdoc! { "q": 1 }),
        "q",
        "Unexpected field: 'q'",
    );
}

#[test]
fn parse_rejects_gcp_in_the_order_endpoint_project_location_ring_name_version_others() {
    assert_invalid(
        &rawdoc! { "provider": "gcp", "endpoint": 1 },
        "endpoint",
        "expected UTF-8 endpoint",
    );
    assert_refused(
        &rawdoc! { "provider": "gcp", "endpoint": "x" },
        Code::KmsEndpointInvalid,
        "endpoint",
        "Invalid endpoint, expected dot separator in host, but got: x",
    );
    let mut document = rawdoc! { "provider": "gcp", "keyVersion": 1, "z": 1 };
    for (name, message) in [
        (cstr!("projectId"), "expected UTF-8 projectId"),
        (cstr!("location"), "expected UTF-8 location"),
        (cstr!("keyRing"), "expected UTF-8 keyRing"),
        (cstr!("keyName"), "expected UTF-8 keyName"),
    ] {
        assert_invalid(&document, name.as_str(), message);
        let wrong = joined(&document, &rawdoc! { name: 1 });
        assert_invalid(&wrong, name.as_str(), message);
        document = joined(&document, &rawdoc! { name: "x" });
    }
    assert_invalid(&document, "keyVersion", "expected UTF-8 keyVersion");
    assert_invalid(
        &joined(&gcp(), &rawdoc! { "z": 1 }),
        "z",
        "Unexpected field: 'z'",
    );
}

#[test]
fn parse_rejects_kmip_in_the_order_endpoint_id_delegated_others() {
    let mut document = rawdoc! { "provider": "kmip", "q": 1 };
    for (name, message) in [
        (cstr!("q"), "Unexpected field: 'q'"),
        (cstr!("delegated"), "expected bool delegated"),
        (cstr!("keyId"), "expected UTF-8 keyId"),
        (cstr!("endpoint"), "expected UTF-8 endpoint"),
    ] {
        document = joined(&document, &rawdoc! { name: 1 });
        assert_invalid(&document, name.as_str(), message);
    }
    assert_refused(
        &rawdoc! { "provider": "kmip", "endpoint": "a b" },
        Code::KmsEndpointInvalid,
        "endpoint",
        "Invalid character in endpoint at offset 1: 0x20",
    );
}

#[test]
fn parse_rejects_fields_beside_a_local_provider() {
    assert_invalid(
        &rawdoc! { "provider": "local:x", "key": "k" },
        "key",
        "Unexpected field: 'key'",
    );
}

#[test]
fn parse_rejects_damaged_bson() {
    let mut bytes = aws().into_bytes();
    bytes[4] = 0x7e; // no such element type
    let document = RawDocument::from_bytes(&bytes).expect("the frame is intact");
    let error = MasterKey::parse(document).expect_err("the element is not");
    assert_eq!(
        (error.code(), error.message()),
        (Code::MasterKeyInvalid, "invalid BSON")
    );
}

#[test]
fn from_bytes_reads_descriptors_and_rejects_other_bytes() {
    assert_eq!(MasterKey::from_bytes(aws().as_bytes()), Ok(parse(&aws())));
    let pattern = MasterKeyPattern::from_bytes(aws().as_bytes()).expect("a pattern");
    assert!(pattern.matches(&parse(&aws())));
    let error = MasterKey::from_bytes(&[1]).expect_err("no document");
    assert_eq!(error.code(), Code::MasterKeyInvalid);
    let error = MasterKeyPattern::from_bytes(&[]).expect_err("no document");
    assert_eq!(error.code(), Code::MasterKeyInvalid);
}

#[test]
fn parse_takes_the_first_of_two_fields() {
    let master_key = parse(&joined(&aws(), &rawdoc! { "key": 1, "provider": "local" }));
    assert_eq!(master_key, parse(&aws()));
}

#[test]
fn to_raw_writes_in_the_stored_order_and_normalises() {
    for (input, stored) in [
        (
            rawdoc! { "provider": "local:a" },
            rawdoc! { "provider": "local:a" },
        ),
        (
            rawdoc! { "endpoint": "https://A.b:1/p", "key": "", "region": "", "provider": "aws:eu" },
            rawdoc! { "provider": "aws:eu", "region": "", "key": "", "endpoint": "A.b:1" },
        ),
        (
            rawdoc! { "keyVersion": "v", "keyName": "n", "keyVaultEndpoint": "https://a.b/", "provider": "azure" },
            rawdoc! { "provider": "azure", "keyVaultEndpoint": "a.b", "keyName": "n", "keyVersion": "v" },
        ),
        (
            rawdoc! { "provider": "gcp", "endpoint": "e.f", "keyVersion": "v", "keyName": "n", "keyRing": "r",
            "location": "l", "projectId": "p" },
            rawdoc! { "provider": "gcp", "projectId": "p", "location": "l", "keyRing": "r", "keyName": "n",
            "keyVersion": "v", "endpoint": "e.f" },
        ),
        (
            rawdoc! { "provider": "kmip", "keyId": "1", "delegated": true, "endpoint": "localhost" },
            rawdoc! { "provider": "kmip", "endpoint": "localhost", "delegated": true, "keyId": "1" },
        ),
        (
            rawdoc! { "provider": "kmip", "delegated": false, "keyId": "" },
            rawdoc! { "provider": "kmip", "keyId": "" },
        ),
    ] {
        let master_key = parse(&input);
        assert_eq!(master_key.to_stored(), Ok(stored.clone()));
        assert_eq!(master_key, parse(&stored));
        assert_eq!(master_key.check_usable(), Ok(()));
    }
}

#[test]
fn kmip_without_key_id_is_neither_stored_nor_used() {
    let master_key = parse(&rawdoc! { "provider": "kmip", "delegated": true });
    let error = master_key.to_stored().expect_err("there is no keyId");
    assert_eq!(
        (error.code(), error.message()),
        (Code::MasterKeyInvalid, "keyId required for KMIP")
    );
    let error = master_key.check_usable().expect_err("there is no keyId");
    assert_eq!(
        (error.code(), error.message()),
        (
            Code::MasterKeyInvalid,
            "KMIP key malformed, no keyId present"
        )
    );
    assert_eq!(
        master_key.to_raw(),
        rawdoc! { "provider": "kmip", "delegated": true }
    );
    let created = master_key.clone().with_kmip_key_id("7".to_owned());
    assert_eq!(created.kmip_key_id(), Some("7"));
    assert!(created.satisfies(&master_key) && created.satisfies(&created));
    assert!(!created.satisfies(&created.clone().with_kmip_key_id("8".to_owned())));
    assert!(
        !created.satisfies(&parse(&rawdoc! { "provider": "kmip" })),
        "delegated differs"
    );
    assert_eq!(
        parse(&aws()).with_kmip_key_id("7".to_owned()),
        parse(&aws())
    );
}

#[test]
fn pattern_matches_on_the_fields_it_has() {
    let stored = [
        rawdoc! { "provider": "aws", "region": "r", "key": "k" },
        rawdoc! { "provider": "aws", "region": "r", "key": "k", "endpoint": "a.b" },
        rawdoc! { "provider": "aws:eu", "region": "r", "key": "k" },
        rawdoc! { "provider": "kmip", "keyId": "1" },
        rawdoc! { "provider": "kmip", "keyId": "1", "delegated": true },
    ];
    for (pattern, expected) in [
        (
            rawdoc! { "provider": "aws" },
            [true, true, false, false, false],
        ),
        (
            rawdoc! { "provider": "aws", "endpoint": "https://a.b/" },
            [false, true, false, false, false],
        ),
        (rawdoc! { "key": "x", "provider": "aws" }, [false; 5]),
        (
            rawdoc! { "provider": "aws:eu", "region": "r" },
            [false, false, true, false, false],
        ),
        (
            rawdoc! { "provider": "kmip" },
            [false, false, false, true, true],
        ),
        (
            rawdoc! { "provider": "kmip", "delegated": false },
            [false, false, false, true, false],
        ),
        (
            rawdoc! { "provider": "kmip", "delegated": true },
            [false, false, false, false, true],
        ),
        (rawdoc! { "provider": "local" }, [false; 5]),
    ] {
        let compiled = MasterKeyPattern::parse(&pattern).expect("the pattern is acceptable");
        assert_eq!(
            stored
                .each_ref()
                .map(|document| compiled.matches(&parse(document))),
            expected,
            "{pattern:?}"
        );
    }
}

#[test]
fn pattern_rejects_what_no_master_key_has() {
    for (pattern, code) in [
        (rawdoc! {}, Code::MasterKeyInvalid),
        (
            rawdoc! { "provider": "aws", "keyName": "n" },
            Code::MasterKeyInvalid,
        ),
        (
            rawdoc! { "provider": "aws", "key": 1 },
            Code::MasterKeyInvalid,
        ),
        (rawdoc! { "provider": "x" }, Code::KmsProviderUnrecognized),
        (
            rawdoc! { "provider": "aws", "endpoint": "x" },
            Code::KmsEndpointInvalid,
        ),
    ] {
        let error = MasterKeyPattern::parse(&pattern).expect_err("the pattern is not acceptable");
        assert_eq!(error.code(), code);
    }
}

#[test]
fn local_takes_local_providers_only() {
    let provider = |text| csfle_core::kms::KmsProvider::parse(text).expect("an identifier");
    let local = MasterKey::local(provider("local:a")).expect("a local provider");
    assert_eq!(local, parse(&rawdoc! { "provider": "local:a" }));
    assert_eq!(MasterKey::local(provider("aws")), None);
}

fn joined(first: &RawDocument, second: &RawDocument) -> RawDocumentBuf {
    let elements = first.iter().chain(second.iter());
    elements.map(|element| element.expect("BSON")).collect()
}

/// Master keys as they are stored, of every type.
fn stored_master_keys() -> impl Strategy<Value = RawDocumentBuf> {
    let host =
        "[a-zA-Z0-9_%-]{0,3}\\.[a-z.]{0,5}(:[0-9]{1,6})?".prop_map(|host| host.replace('%', "%2f"));
    let texts = proptest::collection::vec("\\PC{0,9}|.{0,3}", 5);
    let optional = proptest::collection::vec(any::<bool>(), 3);
    (0..5, "(:[a-zA-Z0-9_]{1,4})?", host, texts, optional).prop_map(|(kind, name, host, texts, has)| {
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|index: usize| texts[index].as_str());
        let when = |flag: bool, document: RawDocumentBuf| if flag { document } else { rawdoc! {} };
        let version = when(has[0], rawdoc! { "keyVersion": e });
        let endpoint = when(has[1], rawdoc! { "endpoint": host.as_str() });
        let delegated = when(has[2], rawdoc! { "delegated": true });
        match kind {
            0 => rawdoc! { "provider": format!("local{name}") },
            1 => joined(&rawdoc! { "provider": format!("aws{name}"), "region": a, "key": b }, &endpoint),
            2 => joined(
                &rawdoc! { "provider": format!("azure{name}"), "keyVaultEndpoint": host.as_str(), "keyName": a },
                &version,
            ),
            3 => joined(
                &joined(
                    &rawdoc! { "provider": format!("gcp{name}"), "projectId": a, "location": b, "keyRing": c,
                    "keyName": d },
                    &version,
                ),
                &endpoint,
            ),
            _ => joined(
                &joined(&joined(&rawdoc! { "provider": format!("kmip{name}") }, &endpoint), &delegated),
                &rawdoc! { "keyId": a },
            ),
        }
    })
}

proptest! {
    #[test]
    fn stored_master_keys_survive_a_round_trip(stored in stored_master_keys()) {
        let master_key = parse(&stored);
        prop_assert_eq!(master_key.to_stored(), Ok(stored.clone()));
        let pattern = MasterKeyPattern::parse(&stored).expect("a master key is a pattern");
        prop_assert!(pattern.matches(&master_key));
        prop_assert!(master_key.satisfies(&master_key));
    }

    #[test]
    fn parse_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 5..200)) {
        let length = u32::try_from(bytes.len()).expect("short").to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        *bytes.last_mut().expect("not empty") = 0;
        let document = RawDocument::from_bytes(&bytes).expect("the frame is right");
        let _ = MasterKey::parse(document);
        let _ = MasterKeyPattern::parse(document);
        let _ = document.iter().map_while(Result::ok).filter_map(|(_, v)| KeyId::from_bson(v)).count();
    }
}
