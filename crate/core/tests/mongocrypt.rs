//! Contexts as official drivers run them, without a driver: time, bytes cut anywhere, calls in any order.
//!
//! That states and messages are those of libmongocrypt is shown in tests/mongocrypt, on the library itself.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::{Binary, RawDocumentBuf, rawdoc, spec::BinarySubtype};
use csfle_core::{
    Code, Entropy, Result,
    key_vault::KeyDocument,
    mongocrypt::{Call, ExplicitOptions, MongoCrypt, MongoCryptContext, MongoCryptOptions, State},
};
use proptest::prelude::*;

const DETERMINISTIC: &str = "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic";

/// Counts up, so that ids and keys differ.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        self.0 += 1;
        out.fill(self.0);
        Ok(())
    }
}

struct Host {
    library: MongoCrypt,
    entropy: Counting,
    now_ms: f64,
}

impl Host {
    fn new(providers: &RawDocumentBuf, options: MongoCryptOptions<'_>) -> Self {
        let library = MongoCrypt::new(&MongoCryptOptions {
            kms_providers: Some(providers.as_bytes()),
            ..options
        });
        Self {
            library: library.unwrap(),
            entropy: Counting(0),
            now_ms: 1_000_000.0,
        }
    }

    fn local() -> Self {
        let key = binary(BinarySubtype::Generic, &[9; 96]);
        let options = MongoCryptOptions {
            key_ttl_ms: 60_000.0,
            ..MongoCryptOptions::default()
        };
        Self::new(&rawdoc! { "local": { "key": key } }, options)
    }

    fn aws() -> Self {
        let providers = rawdoc! { "aws": { "accessKeyId": "a", "secretAccessKey": "b" } };
        Self::new(&providers, MongoCryptOptions::default())
    }

    fn call(&mut self) -> Call<'_> {
        Call {
            library: &mut self.library,
            entropy: &mut self.entropy,
            now_ms: self.now_ms,
        }
    }

    fn data_key(&mut self, name: &str) -> Vec<u8> {
        let (master_key, name) = (
            rawdoc! { "provider": "local" },
            rawdoc! { "keyAltName": name },
        );
        let mut call = self.call();
        let mut context = MongoCryptContext::create_data_key(
            &mut call,
            master_key.as_bytes(),
            &[name.as_bytes()],
            None,
        )
        .unwrap();
        assert_eq!(context.state(), State::Ready);
        context.finalize(&mut call).unwrap().expose().to_vec()
    }

    fn explicit_encrypt(&mut self, name: &str) -> MongoCryptContext {
        let (value, name) = (rawdoc! { "v": "x" }, rawdoc! { "keyAltName": name });
        let options = ExplicitOptions {
            key_alt_name: Some(name.as_bytes()),
            algorithm: Some(DETERMINISTIC),
            ..ExplicitOptions::default()
        };
        MongoCryptContext::explicit_encrypt(&mut self.call(), value.as_bytes(), &options).unwrap()
    }

    fn feed(&mut self, context: &mut MongoCryptContext, documents: &[&[u8]]) {
        for document in documents {
            context.feed_mongo(&mut self.call(), document);
        }
        context.finish_mongo(&mut self.call());
    }

    fn find(&mut self) -> MongoCryptContext {
        let command = rawdoc! { "find": "c", "filter": { "a": 1 } };
        MongoCryptContext::encrypt(&mut self.call(), "db", command.as_bytes()).unwrap()
    }
}

fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Binary {
    Binary {
        subtype,
        bytes: bytes.to_vec(),
    }
}

fn code(context: &MongoCryptContext) -> Option<Code> {
    context.failure().map(csfle_core::Error::code)
}

#[test]
fn a_value_goes_there_and_back() {
    let mut host = Host::local();
    let key = host.data_key("n");
    assert_eq!(KeyDocument::parse(&key).unwrap().key_alt_names, ["n"]);
    let mut context = host.explicit_encrypt("n");
    assert_eq!(context.state(), State::NeedMongoKeys);
    host.feed(&mut context, &[&key]);
    let encrypted = context.finalize(&mut host.call()).unwrap();
    assert_eq!(context.state(), State::Done);
    let mut context =
        MongoCryptContext::explicit_decrypt(&mut host.call(), encrypted.expose()).unwrap();
    let decrypted = context.finalize(&mut host.call()).unwrap();
    assert_eq!(decrypted.expose(), rawdoc! { "v": "x" }.as_bytes());
}

#[test]
fn keys_are_cached_for_their_time_to_live() {
    let mut host = Host::local();
    let key = host.data_key("n");
    let mut context = host.explicit_encrypt("n");
    host.feed(&mut context, &[&key]);
    for (passed_ms, state) in [(60_000.0, State::Ready), (1.0, State::NeedMongoKeys)] {
        host.now_ms += passed_ms;
        assert_eq!(host.explicit_encrypt("n").state(), state);
    }
}

#[test]
fn collections_are_remembered_for_a_minute_and_keys_do_not_matter_for_that() {
    let mut host = Host::local();
    let mut context = host.find();
    assert_eq!(context.state(), State::NeedMongoCollinfo);
    host.feed(&mut context, &[]);
    for (passed_ms, state) in [
        (60_000.0, State::NeedMongoMarkings),
        (1.0, State::NeedMongoCollinfo),
    ] {
        host.now_ms += passed_ms;
        assert_eq!(host.find().state(), state);
    }
}

#[test]
fn every_failure_of_automatic_encryption_has_its_code() {
    let mut host = Host::local();
    let refused = |host: &mut Host, command: RawDocumentBuf| {
        let made = MongoCryptContext::encrypt(&mut host.call(), "db", command.as_bytes());
        made.err().map(|error| error.code())
    };
    assert_eq!(
        refused(&mut host, rawdoc! { "mapreduce": "c" }),
        Some(Code::AutoEncryptionCommandUnsupported)
    );
    let mut context = host.find();
    let view = rawdoc! { "name": "c", "type": "view" };
    host.feed(&mut context, &[view.as_bytes()]);
    assert_eq!(code(&context), Some(Code::AutoEncryptionCollectionInvalid));

    let mut host = Host::local();
    let mut context = host.find();
    let queryable = rawdoc! { "name": "c", "options": { "encryptedFields": { "fields": [] } } };
    host.feed(&mut context, &[queryable.as_bytes()]);
    assert_eq!(code(&context), Some(Code::AutoEncryptionQueryable));

    let encrypting =
        || rawdoc! { "$jsonSchema": { "properties": { "ssn": { "encrypt": { "keyId": "/k" } } } } };
    let plain =
        || rawdoc! { "$jsonSchema": { "properties": { "encrypt": { "bsonType": "int" } } } };
    for (options, is_refused) in [
        (rawdoc! { "validator": encrypting() }, false),
        (
            rawdoc! { "validator": { "$and": [plain()], "encrypt": 1 } },
            false,
        ),
        (rawdoc! { "validator": { "$and": [encrypting()] } }, true),
        (
            rawdoc! { "validator": { "$or": [{ "$nor": [encrypting()] }] } },
            true,
        ),
        (rawdoc! { "validator": [encrypting()] }, true),
        (
            rawdoc! { "validator": { "$and": [{ "$jsonSchema": { "anyOf": [{ "encrypt": {} }] } }] } },
            true,
        ),
    ] {
        let mut host = Host::local();
        let mut context = host.find();
        let collinfo = rawdoc! { "name": "c", "type": "collection", "options": options.clone() };
        host.feed(&mut context, &[collinfo.as_bytes()]);
        let expected = is_refused.then_some(Code::AutoEncryptionCollectionInvalid);
        assert_eq!(code(&context), expected, "{options:?}");
        if let Ok(Some(validator)) = options.get("validator") {
            let mut host = Host::local();
            let mut command = rawdoc! { "create": "c" };
            command.append(
                bson::raw::cstr!("validator"),
                bson::RawBson::from(validator),
            );
            let made = MongoCryptContext::encrypt(&mut host.call(), "db", command.as_bytes());
            let mut context = made.unwrap();
            let hello = rawdoc! { "maxWireVersion": 26 };
            host.feed(&mut context, &[hello.as_bytes()]);
            assert_eq!(code(&context), expected, "{options:?}");
        }
    }

    let mut host = Host::local();
    let mut context = host.find();
    host.feed(&mut context, &[]);
    let reply = rawdoc! { "result": 1 };
    host.feed(&mut context, &[reply.as_bytes()]);
    assert_eq!(code(&context), Some(Code::AutoEncryptionAnalysisInvalid));
}

#[test]
fn a_value_that_must_not_be_encrypted_is_refused_even_when_it_is_marked() {
    let mut host = Host::local();
    let key = host.data_key("n");
    let command = rawdoc! { "find": "c", "filter": { "a": [1.5] } };
    let mut context =
        MongoCryptContext::encrypt(&mut host.call(), "db", command.as_bytes()).unwrap();
    host.feed(&mut context, &[]);
    let mut marking = vec![0];
    marking.extend_from_slice(rawdoc! { "v": 1.5, "a": 1, "ka": "n" }.as_bytes());
    let marking = binary(BinarySubtype::Encrypted, &marking);
    let reply = rawdoc! { "result": { "find": "c", "filter": { "a": [marking] } } };
    host.feed(&mut context, &[reply.as_bytes()]);
    host.feed(&mut context, &[&key]);
    assert!(context.finalize(&mut host.call()).is_none());
    assert_eq!(code(&context), Some(Code::ValueTypeNotDeterministic));
    let path = context.failure().unwrap().details().iter();
    assert!(
        path.clone()
            .any(|detail| *detail == ("path", "filter.a.0".into()))
    );
}

#[test]
fn an_answer_of_a_kms_may_come_in_any_pieces() {
    let body = format!("{{\"CiphertextBlob\":\"{}\"}}", STANDARD.encode([5; 184]));
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let master_key = rawdoc! { "provider": "aws", "region": "r", "key": "k" };
    for cut in 0..=answer.len() {
        let mut host = Host::aws();
        let mut context =
            MongoCryptContext::create_data_key(&mut host.call(), master_key.as_bytes(), &[], None)
                .unwrap();
        let number = context.next_kms_request().unwrap();
        assert_eq!(context.next_kms_request(), None);
        let (first, second) = answer.as_bytes().split_at(cut);
        for piece in [first, second] {
            for part in piece.chunks(1024).filter(|part| !part.is_empty()) {
                let request = context.kms_request(number).unwrap();
                for part in part.chunks(request.bytes_needed().max(1)) {
                    let _ = request.feed(part);
                }
            }
        }
        context.finish_kms(&mut host.call());
        // A piece may hold more than is asked for: then it is refused, never taken in part.
        assert!(
            matches!(context.state(), State::Ready | State::Error),
            "cut at {cut}"
        );
        if context.state() == State::Ready {
            let key = context.finalize(&mut host.call()).unwrap();
            let key = KeyDocument::parse(key.expose()).unwrap();
            assert_eq!(key.key_material.as_bytes(), [5; 184]);
        }
    }
}

#[test]
fn rewrapping_gives_the_documents_in_the_order_they_came() {
    let mut host = Host::local();
    let keys: Vec<_> = ["a", "b", "c"].map(|name| host.data_key(name)).into();
    let filter = rawdoc! { "keyAltNames": "a" };
    let mut context = MongoCryptContext::rewrap(&mut host.call(), filter.as_bytes(), None).unwrap();
    let asked = context.mongo_operation(&mut host.call());
    assert_eq!(asked.unwrap().expose(), filter.as_bytes());
    let fed: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    host.feed(&mut context, &fed);
    let output = context.finalize(&mut host.call()).unwrap();
    let output = RawDocumentBuf::from_bytes(output.expose().to_vec()).unwrap();
    let ids: Vec<_> = output
        .get_array("v")
        .unwrap()
        .into_iter()
        .map(|item| {
            let item = item.unwrap();
            let document = item.as_document().unwrap();
            let names: Vec<_> = document
                .iter()
                .map(|field| field.unwrap().0.as_str())
                .collect();
            assert_eq!(names, ["keyMaterial", "masterKey", "_id"]);
            document.get_binary("_id").unwrap().bytes.to_vec()
        })
        .collect();
    let expected: Vec<_> = keys
        .iter()
        .map(|key| KeyDocument::parse(key).unwrap().id.as_bytes().to_vec())
        .collect();
    assert_eq!(ids, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is fed, in whatever order: no panic, and an error is final.
    #[test]
    fn no_bytes_and_no_order_break_a_context(
        kind in 0..6u8,
        input in proptest::collection::vec(any::<u8>(), 0..80),
        calls in proptest::collection::vec((0..8u8, proptest::collection::vec(any::<u8>(), 0..60)), 0..12),
    ) {
        let mut host = if kind % 2 == 0 { Host::local() } else { Host::aws() };
        let reply = rawdoc! { "a": binary(BinarySubtype::Encrypted, &input) };
        let value = rawdoc! { "v": binary(BinarySubtype::Encrypted, &input) };
        let made = match kind {
            0 => MongoCryptContext::decrypt(&mut host.call(), &input),
            1 => MongoCryptContext::decrypt(&mut host.call(), reply.as_bytes()),
            2 => MongoCryptContext::explicit_decrypt(&mut host.call(), value.as_bytes()),
            3 => MongoCryptContext::encrypt(&mut host.call(), "db", &input),
            4 => Ok(host.find()),
            _ => MongoCryptContext::rewrap(&mut host.call(), &input, None),
        };
        let Ok(mut context) = made else { return Ok(()) };
        for (call, bytes) in calls {
            let has_failed = context.state() == State::Error;
            match call {
                0 => drop(context.mongo_operation(&mut host.call())),
                1 | 2 => context.feed_mongo(&mut host.call(), &bytes),
                3 => context.finish_mongo(&mut host.call()),
                4 => drop(context.next_kms_request()),
                5 => context.finish_kms(&mut host.call()),
                6 => context.provide_kms_providers(&mut host.call(), &bytes),
                _ => drop(context.finalize(&mut host.call())),
            }
            prop_assert!(!has_failed || context.state() == State::Error);
            prop_assert_eq!(context.failure().is_some(), context.state() == State::Error);
        }
    }
}
