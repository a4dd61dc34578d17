//! What libmongocrypt sends, takes and refuses (tests/vectors/kms-wire), against what this crate does.
//!
//! Where both differ, the vector is named in differences.json with the reason, and with what this crate does instead.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops at the first surprise and says what it ran"
)]

mod kms_wire_support;
mod support;

use kms_wire_support::{Host, NOW_MS, bytes, message, read, request, text, vector_file, vectors};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use csfle_core::{
    Code,
    kms::wire::{KmsProviders, WireRequest, WireStep},
};
use serde_json::{Map, Value, json};

/// Compares with the reference, or with the listed difference. Returns a complaint.
fn compare(
    differences: &Map<String, Value>,
    name: &str,
    theirs: &Value,
    ours: &Value,
) -> Option<String> {
    match differences.get(name) {
        None if ours == theirs => None,
        None => Some(format!("{name}\n  theirs {theirs}\n  ours   {ours}")),
        Some(_) if ours == theirs => Some(format!("{name}\n  is listed, but does not differ")),
        Some(listed) if listed["ours"] == *ours && listed["reason"].is_string() => None,
        Some(listed) => Some(format!(
            "{name}\n  listed {}\n  ours   {ours}",
            listed["ours"]
        )),
    }
}

fn differences(file: &str) -> Map<String, Value> {
    vector_file("differences.json")[file]
        .as_object()
        .cloned()
        .unwrap_or_default()
}

fn check(file: &str, observe: impl Fn(&Value) -> (Value, Value)) {
    let listed = differences(file);
    let vectors = vectors(file);
    for name in listed.keys() {
        assert!(
            vectors.iter().any(|vector| text(vector, "name") == name),
            "{file} has no vector {name}"
        );
    }
    let complaints: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let (theirs, ours) = observe(vector);
            compare(&listed, text(vector, "name"), &theirs, &ours)
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    println!(
        "{file}: {} vectors, {} listed differences",
        vectors.len(),
        listed.len()
    );
}

#[test]
fn every_message_is_the_references_byte_for_byte() {
    check("flows.json", |vector| {
        let name = text(vector, "name");
        let mut host = Host::new(vector["nowMs"].as_i64().expect("a time"));
        let mut request = request(vector).expect("the request is acceptable");
        let mut exchanges = Vec::new();
        let mut signed = Value::Null;
        if request.step(&mut host.context()) == Ok(WireStep::NeedSignature) {
            let wanted = request.signature_wanted().expect("a signature is wanted");
            let signature = bytes(&vector["signed"], "signature");
            signed = json!({
                "key": STANDARD.encode(wanted.private_key),
                "input": STANDARD.encode(wanted.input),
                "signature": STANDARD.encode(&signature),
            });
            request
                .provide_signature(&signature)
                .expect("the signature is taken");
        }
        for exchange in vector["exchanges"].as_array().expect("there are exchanges") {
            assert_eq!(
                request.step(&mut host.context()),
                Ok(WireStep::Exchange),
                "{name}"
            );
            let reply = bytes(exchange, "reply");
            exchanges.push(json!({
                "endpoint": request.endpoint().expect("an exchange has an endpoint"),
                "message": STANDARD.encode(request.message().expect("an exchange has a message")),
                "reply": STANDARD.encode(&reply),
            }));
            assert!(read(&mut request, &reply, usize::MAX).is_empty(), "{name}");
        }
        assert_eq!(
            request.step(&mut host.context()),
            Ok(WireStep::Done),
            "{name}"
        );
        let reply = request.take_reply().expect("there is a reply");
        let ours = json!({
            "exchanges": exchanges,
            "signed": signed,
            "result": STANDARD.encode(reply.expose()),
            "kmipKeyId": reply.kmip_key_id(),
        });
        let theirs = json!({
            "exchanges": vector["exchanges"],
            "signed": vector["signed"],
            "result": vector["result"],
            "kmipKeyId": vector["kmipKeyId"],
        });
        (theirs, ours)
    });
}

/// Does what was done to the reference, and notes what it says after each act.
fn acts(vector: &Value) -> Value {
    let mut host = Host::new(NOW_MS);
    let mut request = match request(vector).and_then(|mut request| {
        host.step(&mut request)?;
        Ok(request)
    }) {
        Ok(request) => request,
        Err(error) => return message(&error),
    };
    let mut seen = Vec::new();
    for act in vector["acts"].as_array().expect("there are acts") {
        let mut now = match act_kind(act) {
            "read" => {
                let reply = bytes(act, "read");
                let left = read(&mut request, &reply, usize::MAX).len();
                json!({"left": left})
            }
            "fail" => json!({"fail": request.fail()}),
            "next" => {
                let is_wanted = request.is_retry_wanted();
                if is_wanted {
                    request.resend().expect("it waits to be sent again");
                }
                json!({"next": is_wanted})
            }
            "overfeed" => {
                let _ = request.feed(&vec![b'x'; request.bytes_needed() + 1]);
                json!({"overfeed": true})
            }
            "empty" => {
                let _ = request.feed(b"");
                json!({"empty": true})
            }
            _ => {
                let outcome = finish(&mut host, &mut request);
                let is_over = outcome.is_string();
                seen.push(json!({"done": outcome}));
                if is_over {
                    break;
                }
                continue;
            }
        };
        now["needed"] = json!(request.bytes_needed());
        now["status"] = request.failure().map_or(Value::Null, message);
        seen.push(now);
    }
    Value::Array(seen)
}

fn act_kind(act: &Value) -> &str {
    ["read", "fail", "next", "overfeed", "empty", "done"]
        .into_iter()
        .find(|kind| act.get(kind).is_some())
        .unwrap_or_else(|| panic!("unknown act: {act}"))
}

fn finish(host: &mut Host, request: &mut WireRequest) -> Value {
    match request.finish(&mut host.context()) {
        Ok(_) => Value::Null,
        Err(error) => message(&error),
    }
}

/// What the reference said, without what it was told.
fn outcome(vector: &Value) -> Value {
    if let Some(error) = vector.get("error") {
        return error.clone();
    }
    let mut acts = vector["acts"].clone();
    for act in acts.as_array_mut().expect("there are acts") {
        act.as_object_mut()
            .expect("acts are objects")
            .remove("read");
    }
    acts
}

#[test]
fn every_answer_over_http_is_taken_or_refused_like_the_reference_does() {
    check("answers.json", |vector| (outcome(vector), acts(vector)));
}

#[test]
fn every_kmip_answer_is_taken_or_refused_like_the_reference_does() {
    check("kmip-answers.json", |vector| {
        (outcome(vector), acts(vector))
    });
}

#[test]
fn every_providers_document_is_taken_or_refused_like_the_reference_does() {
    check("providers.json", |vector| {
        let ours = match KmsProviders::parse(&bytes(vector, "document")) {
            Ok(_) => Value::Null,
            Err(error) => {
                assert!(
                    [
                        Code::KmsProvidersInvalid,
                        Code::KmsProviderUnrecognized,
                        Code::KmsEndpointInvalid
                    ]
                    .contains(&error.code()),
                    "{error}"
                );
                message(&error)
            }
        };
        (vector["error"].clone(), ours)
    });
}
