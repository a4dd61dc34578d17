//! Judging a vault before a migration.

use bson::{Binary, DateTime, raw::RawDocumentBuf, rawdoc, spec::BinarySubtype};
use csfle_core::{
    Code,
    key_vault::{Disposition, KeyAssessment, KeyId, MasterKey, MasterKeyPattern, assess},
};

fn key(id: u8, master_key: RawDocumentBuf) -> Vec<u8> {
    let date = DateTime::from_millis(1);
    rawdoc! {
        "_id": Binary { subtype: BinarySubtype::Uuid, bytes: vec![id; 16] },
        "keyAltNames": [format!("name {id}")],
        "keyMaterial": Binary { subtype: BinarySubtype::Generic, bytes: vec![1; 160] },
        "creationDate": date,
        "updateDate": date,
        "status": 0,
        "masterKey": master_key,
    }
    .into_bytes()
}

fn aws(key: &str) -> RawDocumentBuf {
    rawdoc! { "provider": "aws", "region": "r", "key": key }
}

fn local() -> RawDocumentBuf {
    rawdoc! { "provider": "local" }
}

fn judge(
    documents: &[Vec<u8>],
    from: Option<RawDocumentBuf>,
    to: &RawDocumentBuf,
) -> Vec<KeyAssessment> {
    let from = from.map(|from| MasterKeyPattern::parse(&from).expect("a pattern"));
    let to = MasterKey::parse(to).expect("a master key");
    assess(&documents.concat(), from.as_ref(), &to)
}

fn dispositions(assessments: &[KeyAssessment]) -> Vec<&'static str> {
    assessments.iter().map(|a| a.disposition.as_str()).collect()
}

#[test]
fn keys_are_migrated_done_or_other() {
    let vault = [
        key(1, local()),
        key(2, aws("new")),
        key(3, aws("old")),
        key(4, rawdoc! { "provider": "local:b" }),
    ];
    let judged = judge(&vault, Some(local()), &aws("new"));
    assert_eq!(dispositions(&judged), ["migrate", "done", "other", "other"]);
    assert_eq!(
        judged[0],
        KeyAssessment {
            key_id: Some(KeyId::new([1; 16])),
            key_alt_names: vec!["name 1".to_owned()],
            provider: "local".to_owned(),
            disposition: Disposition::Migrate,
            error: None,
        }
    );
    assert_eq!(judged[3].provider, "local:b");
    let judged = judge(&vault, None, &aws("new"));
    assert_eq!(
        dispositions(&judged),
        ["migrate", "done", "migrate", "migrate"]
    );
    let judged = judge(&vault, Some(rawdoc! { "provider": "aws" }), &aws("new"));
    assert_eq!(dispositions(&judged), ["other", "done", "migrate", "other"]);
    assert!(judge(&[], None, &local()).is_empty());
}

#[test]
fn any_kmip_object_satisfies_a_target_without_key_id() {
    let vault = [
        key(1, rawdoc! { "provider": "kmip", "keyId": "1" }),
        key(
            2,
            rawdoc! { "provider": "kmip", "keyId": "2", "delegated": true },
        ),
    ];
    let judged = judge(&vault, None, &rawdoc! { "provider": "kmip" });
    assert_eq!(dispositions(&judged), ["done", "migrate"]);
    let judged = judge(&vault, None, &rawdoc! { "provider": "kmip", "keyId": "2" });
    assert_eq!(dispositions(&judged), ["migrate", "migrate"]);
}

#[test]
fn malformed_documents_do_not_hide_the_others() {
    let mut broken = key(2, local());
    broken[4] = 0x7e;
    let mut cut = key(6, local());
    cut.truncate(40);
    let vault = [
        key(1, rawdoc! { "provider": "aws" }),
        broken,
        rawdoc! { "x": 1 }.into_bytes(),
        key(4, rawdoc! { "provider": "kmip" }),
        key(5, local()),
        cut,
    ];
    let judged = judge(&vault, Some(local()), &aws("new"));
    assert_eq!(
        dispositions(&judged),
        [
            "malformed",
            "malformed",
            "malformed",
            "malformed",
            "migrate",
            "malformed"
        ]
    );
    let code = |index: usize| judged[index].error.as_ref().map(csfle_core::Error::code);
    assert_eq!(code(0), Some(Code::MasterKeyInvalid));
    assert_eq!(
        (judged[0].key_id, judged[0].provider.as_str()),
        (Some(KeyId::new([1; 16])), "aws")
    );
    assert_eq!(
        (code(1), judged[1].key_id),
        (Some(Code::KeyVaultDocumentMalformed), None)
    );
    assert_eq!(
        (code(2), judged[2].provider.as_str()),
        (Some(Code::KeyVaultFieldUnknown), "")
    );
    assert_eq!(
        (code(3), judged[3].key_id),
        (Some(Code::MasterKeyInvalid), Some(KeyId::new([4; 16])))
    );
    assert_eq!(code(4), None);
    assert_eq!(
        (code(5), judged[5].key_id),
        (Some(Code::KeyVaultDocumentMalformed), None)
    );
}
