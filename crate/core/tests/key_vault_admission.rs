//! Which master keys pass the gate: patterns, their short forms, endpoints, and what errors tell.

mod support;

use bson::{RawDocumentBuf, rawdoc};
use csfle_core::{
    Code,
    key_vault::{
        Admission, KeyDocument, KeyId, MasterKey, MasterKeyPattern, TrustedMasterKey,
        WrappedKeyMaterial,
    },
};

const ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn stored(master_key: RawDocumentBuf) -> KeyDocument {
    let master_key = MasterKey::parse(&master_key).expect("the master key is well-formed");
    KeyDocument::build(
        KeyId::new([7; 16]),
        &["patients.ssn".to_owned()],
        WrappedKeyMaterial::new(vec![0; 160]),
        0,
        master_key,
    )
    .expect("the document is complete")
}

fn aws(region: &str, key: &str) -> RawDocumentBuf {
    rawdoc! { "provider": "aws", "region": region, "key": key }
}

fn aws_at(endpoint: &str) -> RawDocumentBuf {
    rawdoc! { "provider": "aws", "region": "us-east-1", "key": ARN, "endpoint": endpoint }
}

fn pinned(patterns: &[TrustedMasterKey]) -> Admission {
    let mut admission = Admission::default();
    admission.trust(patterns.to_vec());
    admission
}

fn text(pattern: &str) -> TrustedMasterKey {
    TrustedMasterKey::from_text(pattern).expect("the pattern is well-formed")
}

fn fields(pattern: RawDocumentBuf) -> TrustedMasterKey {
    TrustedMasterKey::parse(&pattern).expect("the pattern is well-formed")
}

fn refusal(admission: &Admission, master_key: RawDocumentBuf) -> Option<Code> {
    let stored = stored(master_key);
    let of_stored = admission.check_stored(&stored).err().map(|e| e.code());
    if admission.is_pinned() {
        let of_target = admission.check_target(&stored.master_key).err();
        assert_eq!(of_stored, of_target.map(|e| e.code()));
    }
    of_stored
}

const NOT_TRUSTED: Option<Code> = Some(Code::KeyVaultMasterKeyNotTrusted);
const NOT_ALLOWED: Option<Code> = Some(Code::KmsEndpointNotAllowed);

#[test]
fn no_list_trusts_every_master_key_and_an_empty_one_none() {
    for master_key in [rawdoc! { "provider": "local" }, aws("us-east-1", ARN)] {
        assert_eq!(refusal(&Admission::default(), master_key.clone()), None);
        assert_eq!(refusal(&pinned(&[]), master_key), NOT_TRUSTED);
    }
}

#[test]
fn a_key_has_to_match_a_pattern_of_each_list() {
    let mut both = pinned(&[text("local"), text(ARN)]);
    both.trust(vec![text(ARN), text("local:other")]);
    assert_eq!(refusal(&both, aws("us-east-1", ARN)), None);
    assert_eq!(refusal(&both, rawdoc! { "provider": "local" }), NOT_TRUSTED);
    let other = rawdoc! { "provider": "local:other" };
    assert_eq!(refusal(&both, other), NOT_TRUSTED);
}

#[test]
fn an_arn_pattern_matches_arns_of_its_account_region_and_kind_alone() {
    let exact = pinned(&[text(ARN)]);
    let of_account = pinned(&[text("arn:aws:kms:us-east-1:111122223333:key/*")]);
    let of_any_region = pinned(&[text("arn:aws:kms:*:111122223333:key/*")]);
    for admission in [&exact, &of_account, &of_any_region] {
        assert_eq!(refusal(admission, aws("us-east-1", ARN)), None);
        for (region, key) in [
            // Another account, and texts that begin or end like the trusted one.
            ("us-east-1", "arn:aws:kms:us-east-1:999999999999:key/1234"),
            ("us-east-1", "arn:aws:kms:us-east-1:1111222233330:key/1234"),
            (
                "us-east-1",
                "xarn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            ),
            ("us-east-1", &format!("{ARN}/x")),
            ("us-east-1", &format!("{ARN}\n")),
            ("us-east-1", "arn:aws:kms:us-east-1:111122223333:key/"),
            ("us-east-1", "arn:aws:kms:us-east-1:111122223333:key/*"),
            ("us-east-1", "arn:aws:kms:us-east-1:*:key/1234"),
            // Other partitions and services, aliases, bare ids.
            (
                "us-east-1",
                "arn:aws-cn:kms:us-east-1:111122223333:key/1234",
            ),
            ("us-east-1", "arn:aws:s3:us-east-1:111122223333:key/1234"),
            (
                "us-east-1",
                "arn:aws:kms:us-east-1:111122223333:alias/csfle",
            ),
            ("us-east-1", "alias/csfle"),
            ("us-east-1", "1234abcd-12ab-34cd-56ef-1234567890ab"),
            // The region that is asked is another one than that of the ARN.
            ("eu-central-1", ARN),
            ("US-EAST-1", ARN),
        ] {
            assert_eq!(
                refusal(admission, aws(region, key)),
                NOT_TRUSTED,
                "{region} {key}"
            );
        }
    }
    let frankfurt = "arn:aws:kms:eu-central-1:111122223333:key/1234";
    assert_eq!(
        refusal(&of_any_region, aws("eu-central-1", frankfurt)),
        None
    );
    assert_eq!(
        refusal(&of_account, aws("eu-central-1", frankfurt)),
        NOT_TRUSTED
    );
}

#[test]
fn aliases_and_ids_are_trusted_as_they_are_written() {
    let alias = pinned(&[fields(
        rawdoc! { "provider": "aws", "region": "us-east-1", "key": "alias/csfle" },
    )]);
    assert_eq!(refusal(&alias, aws("us-east-1", "alias/csfle")), None);
    for (region, key) in [
        ("us-east-1", "alias/csfle2"),
        ("us-east-1", "alias/CSFLE"),
        ("eu-central-1", "alias/csfle"),
        (
            "us-east-1",
            "arn:aws:kms:us-east-1:111122223333:alias/csfle",
        ),
    ] {
        assert_eq!(
            refusal(&alias, aws(region, key)),
            NOT_TRUSTED,
            "{region} {key}"
        );
    }
    let of_account = pinned(&[text("arn:aws:kms:us-east-1:111122223333:alias/*")]);
    let alias_arn = "arn:aws:kms:us-east-1:111122223333:alias/team/csfle";
    assert_eq!(refusal(&of_account, aws("us-east-1", alias_arn)), None);
    assert_eq!(refusal(&of_account, aws("us-east-1", ARN)), NOT_TRUSTED);
}

#[test]
fn providers_are_compared_with_their_names() {
    let unnamed = pinned(&[text("aws"), text("local")]);
    let named = pinned(&[text(&format!("aws:eu={ARN}")), text("local:other")]);
    let of = |provider: &str| rawdoc! { "provider": provider, "region": "us-east-1", "key": ARN };
    assert_eq!(refusal(&unnamed, of("aws")), None);
    assert_eq!(refusal(&unnamed, of("aws:eu")), NOT_TRUSTED);
    assert_eq!(refusal(&named, of("aws:eu")), None);
    assert_eq!(refusal(&named, of("aws")), NOT_TRUSTED);
    assert_eq!(refusal(&named, of("aws:EU")), NOT_TRUSTED);
    assert_eq!(
        refusal(&unnamed, rawdoc! { "provider": "local:other" }),
        NOT_TRUSTED
    );
    assert_eq!(
        refusal(&named, rawdoc! { "provider": "local" }),
        NOT_TRUSTED
    );
}

#[test]
fn a_pattern_without_an_endpoint_takes_that_of_the_cloud_for_the_region() {
    let admission = pinned(&[text("arn:aws:kms:*:111122223333:key/*")]);
    for own in [
        "kms.us-east-1.amazonaws.com",
        "KMS.us-east-1.AmazonAWS.com.:443",
        "https://kms-fips.us-east-1.amazonaws.com/",
        "vpce-0a1b-2c3d.kms.us-east-1.vpce.amazonaws.com",
    ] {
        assert_eq!(refusal(&admission, aws_at(own)), None, "{own}");
        assert_eq!(refusal(&Admission::default(), aws_at(own)), None, "{own}");
    }
    for foreign in [
        "kms.us-east-1.amazonaws.com.evil.example",
        "kms.us-east-1.evil-amazonaws.com",
        "evil-amazonaws.com",
        "kms.eu-central-1.amazonaws.com",
        "kms.us-east-1.amazonaws.com:8443",
        "a1.execute-api.us-east-1.amazonaws.com",
        "kms.us-east-1.amazonaws.com..",
        "kms.us-east-1.amazonaws%2ecom",
        "xn--kms-abc.us-east-1.amazonaws.com",
        "127.0.0.1:5000",
        "169.254.169.254",
    ] {
        assert_eq!(
            refusal(&admission, aws_at(foreign)),
            NOT_TRUSTED,
            "{foreign}"
        );
        assert_eq!(
            refusal(&Admission::default(), aws_at(foreign)),
            NOT_ALLOWED,
            "{foreign}"
        );
        assert_eq!(
            refusal(&Admission::any_endpoint(), aws_at(foreign)),
            None,
            "{foreign}"
        );
    }
    // User information and names outside ASCII are no endpoints at all.
    for malformed in [
        "kms.us-east-1.amazonaws.com@evil.example",
        "kms.us-east-1.amazonaws.com:443@evil.example",
        "kms.us-east-1.amazonaws.com#@evil.example",
        "kms.us-east-1.аmazonaws.com",
    ] {
        let error = MasterKey::parse(&aws_at(malformed)).expect_err("it is no endpoint");
        assert_eq!(error.code(), Code::KmsEndpointInvalid, "{malformed}");
    }
}

#[test]
fn a_region_that_is_no_part_of_a_host_name_is_an_endpoint_in_disguise() {
    for region in [
        "evil.example/",
        "us-east-1.evil.example#",
        "",
        "us-east-1@x",
    ] {
        let key = aws(region, "alias/csfle");
        assert_eq!(refusal(&Admission::default(), key.clone()), NOT_ALLOWED);
        assert_eq!(refusal(&pinned(&[text("aws")]), key), NOT_TRUSTED);
    }
}

#[test]
fn a_pattern_with_an_endpoint_takes_that_place_and_no_other() {
    let admission = pinned(&[fields(
        rawdoc! { "provider": "aws", "key": ARN, "endpoint": "https://KMS.Hospital.example.:8443" },
    )]);
    assert_eq!(
        refusal(&admission, aws_at("kms.hospital.example:8443")),
        None
    );
    for other in [
        "kms.hospital.example",
        "kms.hospital.example:443",
        "x.kms.hospital.example:8443",
        "kms.hospital.example.evil.example:8443",
        "kms%2ehospital.example:8443",
        "kms.us-east-1.amazonaws.com",
    ] {
        assert_eq!(refusal(&admission, aws_at(other)), NOT_TRUSTED, "{other}");
    }
    assert_eq!(refusal(&admission, aws("us-east-1", ARN)), NOT_TRUSTED);
}

#[test]
fn an_allowed_endpoint_counts_where_no_pattern_names_one() {
    let mut unpinned = Admission::default();
    unpinned
        .allow_endpoint("127.0.0.1:5000")
        .expect("it is host and port");
    assert_eq!(refusal(&unpinned, aws_at("127.0.0.1:5000")), None);
    assert_eq!(refusal(&unpinned, aws_at("127.0.0.1")), NOT_ALLOWED);
    assert_eq!(refusal(&unpinned, aws_at("127.0.0.1:5001")), NOT_ALLOWED);
    let mut both = pinned(&[text(ARN)]);
    both.allow_endpoint("127.0.0.1:5000")
        .expect("it is host and port");
    assert_eq!(refusal(&both, aws_at("127.0.0.1:5000")), None);
    assert_eq!(refusal(&both, aws_at("127.0.0.1:5001")), NOT_TRUSTED);
    for text in [
        "",
        "*.example",
        "a%2eb",
        "a@b.c",
        ":443",
        "a.b:x",
        "é.example",
    ] {
        let error = Admission::default().allow_endpoint(text);
        assert_eq!(
            error.map_err(|e| e.code()),
            Err(Code::OptionInvalid),
            "{text}"
        );
    }
}

#[test]
fn a_star_allows_every_endpoint_and_widens_no_pattern() {
    let mut unpinned = Admission::default();
    unpinned.allow_endpoint("*").expect("it is any endpoint");
    assert_eq!(refusal(&unpinned, aws_at("evil.example")), None);
    let mut both = pinned(&[text(ARN)]);
    both.allow_endpoint("*").expect("it is any endpoint");
    assert_eq!(refusal(&both, aws_at("evil.example")), NOT_TRUSTED);
}

#[test]
fn vaults_projects_and_servers_are_matched_by_their_fields() {
    let azure = |endpoint: &str, name: &str| rawdoc! { "provider": "azure", "keyVaultEndpoint": endpoint, "keyName": name };
    let vault = pinned(&[text("https://hospital.vault.azure.net/keys/csfle")]);
    let own = azure("Hospital.vault.azure.net:443", "csfle");
    assert_eq!(refusal(&vault, own), None);
    for (endpoint, name) in [
        ("evil.vault.azure.net", "csfle"),
        ("hospital.vault.azure.net", "csfle2"),
        ("hospital.vault.azure.net", "CSFLE"),
        ("hospital.vault.azure.net.evil.example", "csfle"),
    ] {
        assert_eq!(
            refusal(&vault, azure(endpoint, name)),
            NOT_TRUSTED,
            "{endpoint}"
        );
    }
    let unpinned = Admission::default();
    assert_eq!(refusal(&unpinned, azure("evil.vault.azure.net", "x")), None);
    let foreign = azure("vault.evil.example", "x");
    assert_eq!(refusal(&unpinned, foreign.clone()), NOT_ALLOWED);
    assert_eq!(refusal(&pinned(&[text("azure")]), foreign), NOT_TRUSTED);

    let gcp = |project: &str, endpoint: Option<&str>| {
        let mut key = rawdoc! {
            "provider": "gcp", "projectId": project, "location": "global", "keyRing": "csfle", "keyName": "patients",
        };
        if let Some(endpoint) = endpoint {
            key.append(bson::raw::cstr!("endpoint"), endpoint);
        }
        key
    };
    let ring = pinned(&[text("projects/hospital/locations/global/keyRings/csfle")]);
    assert_eq!(refusal(&ring, gcp("hospital", None)), None);
    let regional = gcp("hospital", Some("cloudkms.us-east1.rep.googleapis.com"));
    assert_eq!(refusal(&ring, regional), None);
    assert_eq!(refusal(&ring, gcp("evil", None)), NOT_TRUSTED);
    let elsewhere = gcp("hospital", Some("kms.evil.example"));
    assert_eq!(refusal(&ring, elsewhere.clone()), NOT_TRUSTED);
    assert_eq!(refusal(&unpinned, elsewhere), NOT_ALLOWED);

    let kmip = |endpoint: Option<&str>, id: &str| {
        let mut key = rawdoc! { "provider": "kmip" };
        if let Some(endpoint) = endpoint {
            key.append(bson::raw::cstr!("endpoint"), endpoint);
        }
        key.append(bson::raw::cstr!("keyId"), id);
        key
    };
    let server = pinned(&[text("kmip://kmip.hospital.example")]);
    let there = kmip(Some("kmip.hospital.example:5696"), "1");
    assert_eq!(refusal(&server, there.clone()), None);
    assert_eq!(refusal(&unpinned, there), NOT_ALLOWED);
    assert_eq!(refusal(&server, kmip(None, "1")), NOT_TRUSTED);
    assert_eq!(refusal(&unpinned, kmip(None, "1")), None);
    let object = pinned(&[fields(rawdoc! { "provider": "kmip", "keyId": "1" })]);
    assert_eq!(refusal(&object, kmip(None, "1")), None);
    assert_eq!(refusal(&object, kmip(None, "2")), NOT_TRUSTED);
    assert_eq!(
        refusal(&object, kmip(Some("evil.example"), "1")),
        NOT_TRUSTED
    );
}

#[test]
fn what_is_no_pattern_is_refused() {
    for pattern in [
        "",
        "*",
        "AWS",
        "arn:*",
        "arn:aws:kms:us-*:111122223333:key/*",
        "arn:aws:kms:us-east-1:111122223333:key/12*",
        "arn:aws:kms:us-east-1:111122223333:*",
        "arn:*:kms:us-east-1:111122223333:key/*",
        "arn:aws:s3:::bucket",
        "aws:eu=https://hospital.vault.azure.net/keys/csfle",
        "azure=arn:aws:kms:us-east-1:111122223333:key/*",
        "https://hospital.vault.azure.net/secrets/csfle",
        "https://hospital.vault.azure.net/keys/csfle/1/2",
        "https://*.vault.azure.net/keys/csfle",
        "projects/hospital/keyRings/csfle",
        "projects/",
        "kmip://host/path",
        "local:",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
    ] {
        assert!(TrustedMasterKey::from_text(pattern).is_err(), "{pattern}");
    }
    for pattern in [
        rawdoc! {},
        rawdoc! { "provider": "aws", "arn": ARN },
        rawdoc! { "provider": "aws", "key": 1 },
        rawdoc! { "provider": "aws", "key": "alias/*" },
        rawdoc! { "provider": "aws", "region": "us-*" },
        rawdoc! { "provider": "aws", "region": "eu-central-1", "key": ARN },
        rawdoc! { "provider": "gcp", "projectId": "hospital*" },
        rawdoc! { "provider": "aws", "endpoint": "*.example.com" },
        rawdoc! { "provider": "local", "key": "x" },
        rawdoc! { "provider": "*" },
    ] {
        assert!(TrustedMasterKey::parse(&pattern).is_err(), "{pattern:?}");
    }
}

#[test]
fn the_source_and_target_of_a_migration_mean_their_fields_as_they_are() {
    let exactly = |pattern: RawDocumentBuf| {
        TrustedMasterKey::exactly(MasterKeyPattern::parse(&pattern).expect("it is a pattern"))
    };
    let mut admission = Admission::default();
    admission.trust(vec![
        exactly(rawdoc! { "provider": "local" }),
        exactly(aws("us-east-1", "*")),
    ]);
    admission.wrap_only_under(vec![exactly(aws("us-east-1", "*"))]);
    let parsed = |key: RawDocumentBuf| MasterKey::parse(&key).expect("it is a master key");
    assert_eq!(
        admission.check_stored(&stored(rawdoc! { "provider": "local" })),
        Ok(())
    );
    assert!(
        admission
            .check_target(&parsed(rawdoc! { "provider": "local" }))
            .is_err()
    );
    assert_eq!(
        admission.check_target(&parsed(aws("us-east-1", "*"))),
        Ok(())
    );
    assert!(
        admission
            .check_target(&parsed(aws("us-east-1", ARN)))
            .is_err()
    );
}

#[test]
fn a_refusal_names_the_key_and_what_is_wrong_with_it_and_shows_no_control_characters() {
    let key = rawdoc! {
        "provider": "aws", "region": "us-east-1", "key": "arn:evil\u{202e}\n", "endpoint": "evil.example",
    };
    let error = Admission::default()
        .check_stored(&stored(key))
        .expect_err("it is refused");
    let detail = |wanted: &str| {
        let found = error.details().iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(
        detail("keyId"),
        Some("07070707-0707-0707-0707-070707070707")
    );
    assert_eq!(detail("keyAltNames"), Some("patients.ssn"));
    assert_eq!(detail("provider"), Some("aws"));
    assert_eq!(detail("endpoint"), Some("evil.example"));
    assert_eq!(
        detail("masterKey"),
        Some("aws us-east-1 arn:evil\\u{202e}\\u{a} endpoint evil.example")
    );
    assert!(!error.message().chars().any(char::is_control));
}
