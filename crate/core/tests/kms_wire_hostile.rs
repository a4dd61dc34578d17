//! Answers of a KMS that means no good, and answers that arrive in pieces.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops at the first surprise and says what it ran"
)]

mod kms_wire_support;
mod support;

use kms_wire_support::{Host, NOW_MS, bytes, read, request, text, vectors};

use csfle_core::{
    Code,
    kms::wire::{KmsProviders, WireRequest, WireStep, http::ResponseParser},
};
use proptest::prelude::*;
use serde_json::Value;

/// What a request comes to after `replies`, each fed in pieces of at most `piece` bytes, the first one of `first`.
fn outcome(
    vector: &Value,
    replies: &[Vec<u8>],
    first: usize,
    piece: usize,
) -> Result<Vec<u8>, String> {
    let mut host = Host::new(vector["nowMs"].as_i64().unwrap_or(NOW_MS));
    let mut request = request(vector).map_err(|error| error.to_string())?;
    for reply in replies {
        match host.step(&mut request).map_err(|error| error.to_string())? {
            WireStep::Exchange => {}
            other => return Err(format!("{other:?}")),
        }
        let (head, tail) = reply.split_at(first.min(reply.len()));
        if read(&mut request, head, usize::MAX).is_empty() {
            read(&mut request, tail, piece);
        }
    }
    match request.finish(&mut host.context()) {
        Ok(WireStep::Done) => Ok(request.take_reply().expect("it is done").expose().to_vec()),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn replies(vector: &Value) -> Vec<Vec<u8>> {
    let exchanges = vector["exchanges"].as_array().expect("there are exchanges");
    exchanges
        .iter()
        .map(|exchange| bytes(exchange, "reply"))
        .collect()
}

#[test]
fn a_call_comes_to_the_same_wherever_its_answers_are_cut() {
    let mut cuts = 0;
    for vector in &vectors("flows.json") {
        let replies = replies(vector);
        let whole = outcome(vector, &replies, 0, usize::MAX);
        assert_eq!(whole.as_deref(), Ok(bytes(vector, "result").as_slice()));
        let longest = replies
            .iter()
            .map(Vec::len)
            .max()
            .expect("there is a reply");
        for first in 1..longest {
            assert_eq!(
                outcome(vector, &replies, first, usize::MAX),
                whole,
                "{} at {first}",
                text(vector, "name")
            );
            cuts += 1;
        }
        for piece in [1, 2, 3, 7, 64] {
            assert_eq!(
                outcome(vector, &replies, 0, piece),
                whole,
                "{} by {piece}",
                text(vector, "name")
            );
            cuts += 1;
        }
    }
    println!("{cuts} ways of cutting");
}

#[test]
fn an_answer_is_refused_alike_wherever_it_is_cut() {
    let mut compared = 0;
    for vector in vectors("answers.json")
        .iter()
        .chain(&vectors("kmip-answers.json"))
    {
        let acts = vector["acts"].as_array().expect("there are acts");
        let [read, ..] = acts.as_slice() else {
            continue;
        };
        if read.get("read").is_none() || read["left"] != 0 {
            continue;
        }
        let reply = [bytes(read, "read")];
        let whole = outcome(vector, &reply, 0, usize::MAX);
        // What comes after the end is not read when the cut is there.
        if whole.as_ref().is_err_and(|error| {
            error.contains("extra HTTP content") || error.contains("exceeded content")
        }) {
            continue;
        }
        for piece in [1, 2, 3, 5, 17, 1000] {
            assert_eq!(
                outcome(vector, &reply, 0, piece),
                whole,
                "{} by {piece}",
                text(vector, "name")
            );
        }
        compared += 1;
    }
    assert!(compared > 150, "{compared}");
}

fn endless(unit: &[u8], head: &[u8]) -> (usize, Code) {
    let mut parser = ResponseParser::new();
    parser.feed(head).expect("the head is in order");
    let mut fed = head.len();
    let unit = unit.repeat(1 + 1000 / unit.len());
    loop {
        if let Err(error) = parser.feed(&unit) {
            return (fed, error.code());
        }
        fed += unit.len();
        assert!(fed < 64 << 20, "it goes on for ever");
        assert!(parser.body().len() <= 16 << 20);
    }
}

#[test]
fn endless_answers_come_to_an_end() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (name, unit, head, most, code) in [
        (
            "a line without end",
            &b"a"[..],
            &b"HTTP/1.1 200 OK\r\nX: "[..],
            66_000,
            Code::KmsResponseTooLarge,
        ),
        (
            "a status line without end",
            b"a",
            b"HTTP/1.1 200 ",
            66_000,
            Code::KmsResponseTooLarge,
        ),
        (
            "headers without end",
            b"a: b\r\n",
            b"HTTP/1.1 200 OK\r\n",
            66_000,
            Code::KmsResponseTooLarge,
        ),
        ("line feeds", b"\n", b"", 66_000, Code::KmsResponseTooLarge),
        (
            "a chunk length without end",
            b"0",
            chunked,
            6000,
            Code::KmsResponseMalformed,
        ),
        (
            "an extension without end",
            b"x",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            6000,
            Code::KmsResponseMalformed,
        ),
        (
            "chunks without end",
            b"10\r\n0123456789abcdef\r\n",
            chunked,
            22 << 20,
            Code::KmsResponseTooLarge,
        ),
        (
            "tiny chunks without end",
            b"1;aaaaaaaaaaaaaaaaaaaa\r\na\r\n",
            chunked,
            33 << 20,
            Code::KmsResponseTooLarge,
        ),
    ] {
        let (fed, found) = endless(unit, head);
        assert!(fed <= most, "{name}: {fed}");
        assert_eq!(found, code, "{name}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn announcing_much_takes_no_memory() {
    fn address_space_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmSize:"))
            .expect("it has a size");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .expect("it is a number")
    }
    let flows = vectors("flows.json");
    let kmip = flows
        .iter()
        .find(|vector| text(vector, "name").starts_with("kmip wrap"))
        .expect("there is one");
    let aws = flows
        .iter()
        .find(|vector| text(vector, "name").starts_with("aws wrap"))
        .expect("there is one");
    let before = address_space_kib();
    let kept: Vec<WireRequest> = [
        (
            aws,
            &b"HTTP/1.1 200 OK\r\nContent-Length: 16777216\r\n\r\nx"[..],
        ),
        (
            aws,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000\r\nx",
        ),
        (kmip, b"\x42\x00\x7b\x01\x01\x00\x00\x00x"),
    ]
    .into_iter()
    .flat_map(|(vector, reply)| {
        (0..300).map(move |_| {
            let mut request = request(vector).expect("the request is acceptable");
            Host::new(NOW_MS).step(&mut request).expect("it steps");
            assert!(read(&mut request, reply, usize::MAX).is_empty());
            assert!(request.bytes_needed() > 0);
            request
        })
    })
    .collect();
    let grown = address_space_kib().saturating_sub(before);
    assert!(
        grown < 128 << 10,
        "{} requests took {grown} KiB",
        kept.len()
    );
}

/// Feeds everything that a request asks for, answer after answer, and checks what must hold whatever comes.
fn survive(vector: &Value, mut answers: impl Iterator<Item = Vec<u8>>) {
    let mut host = Host::new(NOW_MS);
    let mut request = request(vector).expect("the request is acceptable");
    for _ in 0..20 {
        match host.step(&mut request) {
            Ok(WireStep::Exchange) => {
                assert!(request.bytes_needed() > 0);
                let Some(answer) = answers.next() else { break };
                read(&mut request, &answer, 1 + answer.len() / 3);
            }
            Ok(WireStep::Retry) => {
                assert_eq!(request.bytes_needed(), 0);
                assert!((1..=20_000_000).contains(&request.sleep_us(7)));
                request.resend().expect("it waits to be sent again");
            }
            Ok(WireStep::NeedSignature) => panic!("the host has signed"),
            Ok(WireStep::Done) => {
                let reply = request.take_reply().expect("it is done");
                assert!(reply.expose().len() >= 96);
                return;
            }
            Err(error) => {
                assert_eq!(request.bytes_needed(), 0);
                assert_eq!(
                    host.step(&mut request),
                    Err(error.clone()),
                    "errors are sticky"
                );
                assert_eq!(request.message().err(), Some(error.clone()));
                assert_eq!(request.feed(b"x"), Err(error));
                assert!(!request.fail());
                return;
            }
        }
    }
    let _ = request.finish(&mut host.context());
    let finished = request.finish(&mut host.context());
    assert_eq!(request.finish(&mut host.context()), finished);
}

/// A reply with a few bytes changed, removed or doubled.
fn mangled(mut reply: Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (place, kind, byte) in changes {
        if reply.is_empty() {
            break;
        }
        let at = place.index(reply.len());
        match kind % 4 {
            0 => reply[at] = *byte,
            1 => reply[at] ^= 1 << (byte % 8),
            2 => drop(reply.drain(at..(at + usize::from(*byte % 16)).min(reply.len()))),
            _ => {
                let part = reply[at..].to_vec();
                reply.splice(at..at, part);
                reply.truncate(100_000);
            }
        }
    }
    reply
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mangled_answers_never_panic(flow in any::<prop::sample::Index>(), changes in changes(), which in 0usize..4) {
        let flows = flows();
        let vector = &flows[flow.index(flows.len())];
        let replies = replies(vector).into_iter().enumerate();
        survive(vector, replies.map(|(index, reply)| if which == 3 || index == which { mangled(reply, &changes) } else { reply }));
    }

    #[test]
    fn random_answers_never_panic(flow in any::<prop::sample::Index>(), answers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6)) {
        let flows = flows();
        survive(&flows[flow.index(flows.len())], answers.into_iter());
    }

    #[test]
    fn random_bodies_never_panic(flow in any::<prop::sample::Index>(), status in prop::sample::select(vec![200, 200, 200, 400, 429, 500, 302]), body in "\\PC{0,40}|\\{\"(value|Plaintext|CiphertextBlob|plaintext|ciphertext|access_token|expires_in|__type)\": ?\\PC{0,40}\\}") {
        let flows = flows();
        let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
        survive(&flows[flow.index(flows.len())], std::iter::repeat(reply));
    }

    #[test]
    fn any_cut_of_a_mangled_answer_gives_the_same_refusal(flow in any::<prop::sample::Index>(), changes in changes(), piece in 1usize..40) {
        let flows = flows();
        let vector = &flows[flow.index(flows.len())];
        let replies: Vec<_> = replies(vector).into_iter().take(1).map(|reply| mangled(reply, &changes)).collect();
        let whole = outcome(vector, &replies, 0, usize::MAX);
        let is_about_the_end = whole.as_ref().is_err_and(|error| error.contains("extra HTTP content") || error.contains("exceeded content"));
        // What comes after the end is not read when the cut is there.
        if is_about_the_end {
            return Ok(());
        }
        prop_assert_eq!(outcome(vector, &replies, 0, piece), whole);
    }

    #[test]
    fn mangled_provider_documents_never_panic(index in any::<prop::sample::Index>(), changes in changes()) {
        let vectors = provider_documents();
        let document = bytes(&vectors[index.index(vectors.len())], "document");
        let _ = KmsProviders::parse(&mangled(document, &changes));
    }
}

fn flows() -> &'static [Value] {
    static FLOWS: std::sync::OnceLock<Vec<Value>> = std::sync::OnceLock::new();
    FLOWS.get_or_init(|| vectors("flows.json"))
}

fn provider_documents() -> &'static [Value] {
    static DOCUMENTS: std::sync::OnceLock<Vec<Value>> = std::sync::OnceLock::new();
    DOCUMENTS.get_or_init(|| vectors("providers.json"))
}
