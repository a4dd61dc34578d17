//! Every refusal has its code, and no secret in it.

mod kms_wire_support;
mod support;

use kms_wire_support::{
    Host, NOW_MS, aws, aws_key, azure, azure_key, bytes, gcp, gcp_key, http, master_key, new,
    providers, read, request, text, unwrap, vectors, wrap,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use csfle_core::{
    Code, Error,
    kms::wire::{WireReply, WireRequest, WireStep},
};
use serde_json::json;

/// Every refusal that an answer can provoke, with the request it belongs to.
fn code_after(mut request: WireRequest, reply: &[u8]) -> Error {
    let mut host = Host::new(NOW_MS);
    host.step(&mut request).expect("it steps");
    read(&mut request, reply, usize::MAX);
    request
        .finish(&mut host.context())
        .expect_err("the answer is bad")
}

#[test]
fn a_signature_that_is_missing_is_an_error() {
    for signature in [&[][..], &[1; 2049]] {
        let mut request = new(wrap(), &gcp_key(), &gcp());
        let mut host = Host::new(NOW_MS);
        assert_eq!(
            request.step(&mut host.context()),
            Ok(WireStep::NeedSignature)
        );
        let error = request
            .provide_signature(signature)
            .expect_err("it is no signature");
        assert_eq!(error.code(), Code::KmsSignatureFailed);
        assert_eq!(
            error.message(),
            "error constructing KMS message: Failed to create GCP oauth request signature"
        );
        assert_eq!(request.step(&mut host.context()), Err(error));
    }
    let mut request = new(wrap(), &gcp_key(), &gcp());
    let mut host = Host::new(NOW_MS);
    assert_eq!(
        request.step(&mut host.context()),
        Ok(WireStep::NeedSignature)
    );
    assert_eq!(
        request.finish(&mut host.context()).err().map(|e| e.code()),
        Some(Code::KmsSignatureFailed)
    );
    let mut request = new(wrap(), &aws_key(), &aws());
    assert_eq!(
        request.provide_signature(b"x").err().map(|e| e.code()),
        Some(Code::MachineOutOfOrder)
    );
    assert_eq!(
        request.signature_wanted().err().map(|e| e.code()),
        Some(Code::MachineOutOfOrder)
    );
}

#[test]
fn calls_out_of_order_are_refused() {
    let out_of_order = |result: Result<(), Error>| {
        assert_eq!(
            result.err().map(|e| e.code()),
            Some(Code::MachineOutOfOrder)
        )
    };
    let fresh = || new(wrap(), &aws_key(), &aws());
    assert_eq!(
        (fresh().bytes_needed(), fresh().sleep_us(1), fresh().fail()),
        (0, 0, false)
    );
    out_of_order(fresh().message().map(|_| ()));
    out_of_order(fresh().endpoint().map(|_| ()));
    out_of_order(fresh().feed(b"x"));
    out_of_order(fresh().resend());
    out_of_order(fresh().take_reply().map(|_| ()));
    let mut host = Host::new(NOW_MS);
    let mut request = fresh();
    assert_eq!(host.step(&mut request), Ok(WireStep::Exchange));
    assert_eq!(
        host.step(&mut request),
        Ok(WireStep::Exchange),
        "asking twice changes nothing"
    );
    out_of_order(request.take_reply().map(|_| ()));
    out_of_order(request.resend());
    let mut request = fresh();
    host.step(&mut request).expect("it steps");
    read(
        &mut request,
        &http(
            200,
            &json!({"CiphertextBlob": STANDARD.encode([1; 100])}).to_string(),
        ),
        usize::MAX,
    );
    assert_eq!(host.step(&mut request), Ok(WireStep::Done));
    assert!(matches!(
        request.take_reply(),
        Ok(WireReply::Wrapped {
            kmip_key_id: None,
            ..
        })
    ));
    out_of_order(request.take_reply().map(|_| ()));
}

#[test]
fn providers_that_are_not_configured_or_local_take_no_request() {
    for (key, document) in [
        (
            json!({"provider": "aws:eu", "region": "r", "key": "k"}),
            aws(),
        ),
        (aws_key(), azure()),
        (aws_key(), json!({"aws": {}})),
        (
            json!({"provider": "local"}),
            json!({"local": {"key": STANDARD.encode([1; 96])}}),
        ),
    ] {
        let error = WireRequest::new(wrap(), master_key(&key), &providers(&document))
            .err()
            .expect("it is refused");
        assert_eq!(error.code(), Code::KmsProviderNotConfigured);
    }
}

#[test]
fn every_bad_answer_has_its_code() {
    let good = json!({"CiphertextBlob": STANDARD.encode([1; 100])}).to_string();
    for (reply, code) in [
        (b"HTTP/1.1 2x0\r\n".to_vec(), Code::KmsResponseMalformed),
        (http(200, "{"), Code::KmsResponseMalformed),
        (http(200, "{}"), Code::KmsResponseMalformed),
        (
            http(200, r#"{"CiphertextBlob": "!"}"#),
            Code::KmsResponseMalformed,
        ),
        (
            http(200, r#"{"CiphertextBlob": "eA=="}"#),
            Code::KmsReplyLength,
        ),
        (http(400, "no"), Code::KmsErrorStatus),
        (http(302, "no"), Code::KmsErrorStatus),
        (http(200, &good)[..40].to_vec(), Code::KmsResponseUnfinished),
        (
            [&b"HTTP/1.1 200 X\r\nX: "[..], &[b'a'; 70_000]].concat(),
            Code::KmsResponseTooLarge,
        ),
    ] {
        let error = code_after(new(wrap(), &aws_key(), &aws()), &reply);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.details().contains(&("provider", "aws".to_string())));
    }
    let error = code_after(
        new(wrap(), &aws_key(), &aws()),
        &http(400, r#"{"__type":"x#DisabledException"}"#),
    );
    assert!(error.details().contains(&("status", "400".to_string())));
    assert!(
        error
            .details()
            .contains(&("errorType", "DisabledException".to_string()))
    );
    for (file, name, code) in [
        (
            "kmip-answers.json",
            "kmip: Register, reason 1",
            Code::KmsOperationFailed,
        ),
        (
            "kmip-answers.json",
            "kmip: Register, no id",
            Code::KmsResponseMalformed,
        ),
        (
            "kmip-answers.json",
            "kmip: Register, huge",
            Code::KmsResponseTooLarge,
        ),
        (
            "kmip-answers.json",
            "kmip unwrap: Get, another secret",
            Code::CryptoAuthenticationFailed,
        ),
        (
            "kmip-answers.json",
            "kmip unwrap: Decrypt, 95 bytes",
            Code::KmsReplyLength,
        ),
        (
            "answers.json",
            "token: lifetime null",
            Code::KmsResponseMalformed,
        ),
    ] {
        let vectors = vectors(file);
        let vector = vectors
            .iter()
            .find(|vector| text(vector, "name") == name)
            .expect("it is there");
        let error = code_after(
            request(vector).expect("the request is acceptable"),
            &bytes(&vector["acts"][0], "read"),
        );
        assert_eq!(error.code(), code, "{name}: {error}");
    }
    let lifetime = code_after(
        new(wrap(), &azure_key(), &azure()),
        &http(200, r#"{"access_token":"a","expires_in":-5}"#),
    );
    assert_eq!(
        lifetime.message(),
        "OAuth response invalid, no 'expires_in' field."
    );
    let unnamed = json!({"provider": "kmip"});
    let mut request = new(unwrap(), &unnamed, &json!({"kmip": {"endpoint": "h"}}));
    assert_eq!(
        Host::new(NOW_MS).step(&mut request).err().map(|e| e.code()),
        Some(Code::MasterKeyInvalid)
    );
}

#[test]
fn failures_that_stay_have_their_codes() {
    let mut host = Host::new(NOW_MS);
    let mut request = new(wrap(), &aws_key(), &aws());
    host.step(&mut request).expect("it steps");
    for most in [0, 200_000, 400_000, 800_000] {
        assert_eq!(request.sleep_us(u32::MAX), most);
        read(&mut request, &http(503, "busy"), usize::MAX);
        if most < 800_000 {
            assert_eq!(host.step(&mut request), Ok(WireStep::Retry));
            request.resend().expect("it waits to be sent again");
            assert_eq!(host.step(&mut request), Ok(WireStep::Exchange));
        }
    }
    let error = host
        .step(&mut request)
        .expect_err("it has failed four times");
    assert_eq!(error.code(), Code::KmsRetriesExhausted);
    assert!(error.details().contains(&("status", "503".to_string())));

    let mut request = new(wrap(), &aws_key(), &aws());
    host.step(&mut request).expect("it steps");
    for _ in 0..3 {
        assert!(request.fail());
        assert!(request.fail(), "failing twice counts once");
        request.resend().expect("it waits to be sent again");
    }
    assert!(!request.fail());
    assert_eq!(
        host.step(&mut request).err().map(|e| e.code()),
        Some(Code::KmsNetworkFailed)
    );
}

/// What an answer may say that an error must not: the request itself, and a reply under names that are not expected.
fn leaks(request: &str, reply: &str) -> Vec<Vec<u8>> {
    let (_, body) = reply.split_once("\r\n\r\n").expect("it has a body");
    let renamed = body.replace('"', "'");
    let mut replies: Vec<_> = [200, 201].map(|status| http(status, &renamed)).into();
    // Error messages are cut, and no part of a secret may stand at the cut.
    for padding in [0, 3000, 3500, 3900, 4000, 4090] {
        let echo = format!("{}{request}", " ".repeat(padding));
        replies.extend([200, 201, 302, 400, 403, 501].map(|status| http(status, &echo)));
    }
    // The answer itself, under the status of a failure.
    replies.extend([201, 302, 400, 403, 501].map(|status| http(status, body)));
    replies
}

#[test]
fn no_error_quotes_a_secret() {
    let material = STANDARD.encode((0..96).collect::<Vec<u8>>());
    let secrets = [
        "fetched-token",
        "given-token",
        "client~secret",
        "AQoD/YXdz+EPT==",
        "AAECAwQFBgcICQoLDA0ODxAR",
        &material,
    ];
    let mut checked = 0;
    for vector in &vectors("flows.json") {
        let exchanges = vector["exchanges"].as_array().expect("there are exchanges");
        if text(vector, "name").starts_with("kmip") {
            continue;
        }
        for at in 0..exchanges.len() {
            let message = bytes(&exchanges[at], "message");
            let reply = bytes(&exchanges[at], "reply");
            for leak in leaks(
                &String::from_utf8_lossy(&message),
                &String::from_utf8_lossy(&reply),
            ) {
                let mut host = Host::new(vector["nowMs"].as_i64().expect("a time"));
                let mut request = request(vector).expect("the request is acceptable");
                for exchange in &exchanges[..at] {
                    host.step(&mut request).expect("it steps");
                    read(&mut request, &bytes(exchange, "reply"), usize::MAX);
                }
                host.step(&mut request).expect("it steps");
                read(&mut request, &leak, usize::MAX);
                let error = request
                    .finish(&mut host.context())
                    .expect_err("the answer is bad");
                let shown = format!("{error:?}");
                for secret in secrets {
                    assert!(!shown.contains(secret), "{}: {shown}", text(vector, "name"));
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}

/// A KMIP answer of one failed batch item.
fn kmip_failure(operation: u8, message: &[u8]) -> Vec<u8> {
    let item = |tag: u8, kind: u8, value: &[u8]| {
        let len = u32::try_from(value.len()).expect("it is short");
        let fill = vec![0; value.len().next_multiple_of(8) - value.len()];
        [&[0x42, 0, tag, kind], &len.to_be_bytes()[..], value, &fill].concat()
    };
    let items = [
        item(0x5c, 5, &[0, 0, 0, operation]),
        item(0x7f, 5, &[0, 0, 0, 1]),
        item(0x7e, 5, &[0, 0, 1, 0]),
        item(0x7d, 7, message),
    ];
    item(0x7b, 1, &item(0x0f, 1, &items.concat()))
}

#[test]
fn no_kmip_error_quotes_key_material() {
    let key = json!({"provider": "kmip", "delegated": true, "keyId": "1"});
    let kmip = json!({"kmip": {"endpoint": "h"}});
    let error = code_after(
        new(wrap(), &key, &kmip),
        &kmip_failure(0x1f, b"no such key"),
    );
    assert_eq!(error.code(), Code::KmsOperationFailed);
    assert_eq!(
        error.message(),
        "Error getting data from KMIP Encrypt response: KMIP response error. Result Status (1): Operation Failed. \
         Result Reason (256): General Failure. Result Message: no such key"
    );
    let echo = [&b"cannot encrypt "[..], &[7; 96]].concat();
    let error = code_after(new(wrap(), &key, &kmip), &kmip_failure(0x1f, &echo));
    assert!(error.message().ends_with("Result Message: "), "{error}");
}
