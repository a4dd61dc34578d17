//! Key documents: what is read and what is written.

mod support;

use bson::{RawBson, raw::cstr, rawdoc, spec::BinarySubtype};
use csfle_core::{
    Code,
    key_vault::{
        KeyDocument, KeyId, MasterKey, WrappedKeyMaterial, check_new_alt_names, check_unique,
        split_documents,
    },
};
use proptest::prelude::*;
use support::key_documents::{ID, array, binary, detail, document};

#[test]
fn parse_reads_every_field() {
    let key = KeyDocument::parse(&document(&[])).expect("a key document");
    assert_eq!(key.id, KeyId::new(ID));
    assert_eq!(key.key_alt_names, ["b", "a"]);
    assert_eq!(key.key_material.as_bytes(), [7; 160]);
    assert_eq!(
        (key.creation_date_ms, key.update_date_ms),
        (1_577_836_800_000, 1_577_836_800_000)
    );
    assert_eq!(key.master_key.provider().to_string(), "aws");
    assert_eq!(key.to_bytes(), Ok(document(&[])));
}

/// A key document that libmongocrypt 1.21.0 made for `local:a` and the names `a`, `b`, `c`, in this order.
const MADE_BY_LIBMONGOCRYPT: &str = "\
    5a010000055f6964001000000004fa680c61d4774b338201c6166cb64c99046b6579416c744e616d6573\
    002000000002300002000000630002310002000000620002320002000000610000056b65794d61746572\
    69616c00a000000000e2fcc3d7af71e89c715e33455f3d5c99a21e997f226b7035e56acdb0585c4f1b65\
    4dfc458681d04109e4d30e260094d4a0d09b63fd7737a3aef666ac89436be0ae9fa85936084b771dcb49\
    2be8458268fb12d59bda6516abb4a5991e8c5008cf7e28b7529950bac19b97aedd3a9880541cf4201ae6\
    c861e264d48ed2ac637ad72eede39a9ff2d3e5ac30fa9978fdf8b0c7d97cc1d8488948c454616e074be4\
    f8096372656174696f6e44617465009635b40ba20100000975706461746544617465009635b40ba20100\
    00107374617475730000000000036d61737465724b6579001b0000000270726f76696465720008000000\
    6c6f63616c3a61000000";

#[test]
fn build_writes_what_libmongocrypt_writes() {
    let theirs = hex::decode(MADE_BY_LIBMONGOCRYPT).expect("hexadecimal");
    let read = KeyDocument::parse(&theirs).expect("a key document");
    assert_eq!(read.to_bytes().as_ref(), Ok(&theirs));
    let ours = KeyDocument::build(
        read.id,
        &["a", "b", "c"].map(str::to_owned),
        read.key_material.clone(),
        read.creation_date_ms,
        MasterKey::parse(&rawdoc! { "provider": "local:a" }).expect("a master key"),
    )
    .expect("a new key");
    assert_eq!(ours.to_bytes().as_ref(), Ok(&theirs));
    assert_eq!(ours, read);
}

#[test]
fn build_rejects_duplicate_names_and_kmip_without_key_id() {
    let kmip = MasterKey::parse(&rawdoc! { "provider": "kmip" }).expect("a master key");
    let build = |names: &[&str], master_key: &MasterKey| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let wrapped = WrappedKeyMaterial::new(vec![1]);
        KeyDocument::build(KeyId::new(ID), &names, wrapped, 5, master_key.clone())
    };
    let error = build(&["a", "b", "a"], &kmip).expect_err("a name is there twice");
    assert_eq!(
        (error.code(), error.message()),
        (Code::KeyAltNameInvalid, "duplicate keyAltNames found")
    );
    let error = build(&["a\0b", "a\0c", ""], &kmip).expect_err("there is no keyId");
    assert_eq!(
        (error.code(), error.message()),
        (Code::MasterKeyInvalid, "keyId required for KMIP")
    );
    assert!(build(&["a"], &kmip.with_kmip_key_id("1".to_owned())).is_ok());
    assert_eq!(check_new_alt_names(&[]), Ok(()));
}

#[test]
fn wrapped_key_material_hides_its_bytes_from_debug() {
    let key = KeyDocument::parse(&document(&[])).expect("a key document");
    assert!(format!("{key:?}").contains("WrappedKeyMaterial(160 bytes)"));
    assert_eq!(key.key_material.into_bytes(), [7; 160]);
}

#[test]
fn check_unique_rejects_shared_ids_and_names() {
    let key = |id: u8, names: &[&str]| {
        let bytes = document(&[
            (cstr!("_id"), Some(binary(BinarySubtype::Uuid, &[id; 16]))),
            (cstr!("keyAltNames"), Some(RawBson::Array(array(names)))),
        ]);
        KeyDocument::parse(&bytes).expect("a key document")
    };
    let fine = [key(1, &["a", "b\0c"]), key(2, &[]), key(3, &["b\0d"])];
    assert_eq!(check_unique(&fine), Ok(()));
    for (other, name) in [(key(1, &["z"]), None), (key(4, &["z", "a"]), Some("a"))] {
        let error = check_unique(fine.iter().chain([&other])).expect_err("something is shared");
        assert_eq!(
            (error.code(), error.message()),
            (
                Code::KeyVaultDuplicateKey,
                "keys returned have duplicate keyAltNames or _id"
            )
        );
        assert_eq!(detail(&error, "keyId"), Some(other.id.to_string().as_str()));
        assert_eq!(detail(&error, "keyAltName"), name);
    }
}

#[test]
fn split_documents_checks_every_length() {
    let (a, b) = (document(&[]), rawdoc! {}.into_bytes());
    let both = [a.as_slice(), &b].concat();
    let parts: Vec<_> = split_documents(&both).collect();
    assert_eq!(parts, [Ok(a.as_slice()), Ok(b.as_slice())]);
    assert_eq!(split_documents(&[]).count(), 0);
    let tails: [&[u8]; 5] = [
        &[1],
        &[4, 0, 0, 0],
        &[6, 0, 0, 0, 0],
        &[255; 9],
        &[0, 0, 0, 128, 0],
    ];
    for tail in tails {
        let bytes = [b.as_slice(), tail].concat();
        let parts: Vec<_> = split_documents(&bytes).collect();
        let [Ok(first), Err(error)] = parts.as_slice() else {
            unreachable!("one document and one error: {parts:?}");
        };
        assert_eq!(*first, b);
        assert_eq!(
            (error.code(), error.message(), detail(error, "offset")),
            (
                Code::KeyVaultDocumentMalformed,
                "malformed BSON for key document",
                Some("5")
            )
        );
    }
}

#[test]
fn parse_survives_every_truncation_and_bit_flip() {
    let good = document(&[(
        cstr!("status"),
        Some(RawBson::Document(rawdoc! { "a": [1, { "b": "c" }] })),
    )]);
    for length in 0..good.len() {
        let mut cut = good[..length].to_vec();
        assert!(KeyDocument::parse(&cut).is_err());
        if let Some(prefix) = cut.first_chunk_mut() {
            *prefix = u32::try_from(length).expect("short").to_le_bytes();
            assert!(KeyDocument::parse(&cut).is_err(), "cut at {length}");
        }
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(key) = KeyDocument::parse(&flipped) {
            let again = key.to_bytes().and_then(|bytes| KeyDocument::parse(&bytes));
            assert_eq!(again, Ok(key), "bit {bit}");
        }
    }
}

/// Key documents of every provider type with what a key document can vary in.
fn key_documents() -> impl Strategy<Value = KeyDocument> {
    let master_key = prop_oneof![
        Just(rawdoc! { "provider": "local:x" }),
        ".{0,9}".prop_map(
            |key| rawdoc! { "provider": "aws", "region": "r", "key": key, "endpoint": "a.b:1" }
        ),
        ".{0,9}".prop_map(
            |name| rawdoc! { "provider": "azure", "keyVaultEndpoint": "a.b", "keyName": name }
        ),
        ".{0,9}".prop_map(
            |ring| rawdoc! { "provider": "gcp", "projectId": "p", "location": "l", "keyRing": ring,
            "keyName": "n" }
        ),
        ".{0,9}".prop_map(|id| rawdoc! { "provider": "kmip", "delegated": true, "keyId": id }),
    ];
    let names = proptest::collection::btree_set(".{0,5}|[\0a]{0,3}", 0..5);
    let material = proptest::collection::vec(any::<u8>(), 0..200);
    (
        any::<[u8; 16]>(),
        names,
        material,
        any::<[i64; 2]>(),
        master_key,
    )
        .prop_map(
            |(id, names, material, [created, updated], master_key)| KeyDocument {
                id: KeyId::new(id),
                key_alt_names: names.into_iter().collect(),
                key_material: WrappedKeyMaterial::new(material),
                creation_date_ms: created,
                update_date_ms: updated,
                master_key: MasterKey::parse(&master_key).expect("a master key"),
            },
        )
}

proptest! {
    #[test]
    fn documents_survive_a_round_trip(key in key_documents()) {
        let bytes = key.to_bytes().expect("every KMIP key has an id");
        let parsed = KeyDocument::parse(&bytes).expect("what was written is a key document");
        prop_assert_eq!(&parsed, &key);
        prop_assert_eq!(parsed.to_bytes(), Ok(bytes));
    }

    #[test]
    fn parse_and_split_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = KeyDocument::parse(&bytes);
        let covered: usize = split_documents(&bytes).map_while(Result::ok).map(<[u8]>::len).sum();
        prop_assert!(covered <= bytes.len());
    }

    #[test]
    fn parse_never_panics_on_framed_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 5..300)) {
        let length = u32::try_from(bytes.len()).expect("short").to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        *bytes.last_mut().expect("not empty") = 0;
        prop_assert!(KeyDocument::parse(&bytes).is_err());
    }
}
