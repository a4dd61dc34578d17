//! Several requests side by side: shared tokens, and what is offered when.

#![allow(clippy::panic, reason = "a test may stop at the first surprise")]

mod kms_wire_support;
mod support;

use kms_wire_support::{
    Host, NOW_MS, aws, aws_key, azure, azure_key, http, new, read, unwrap, with, wrap,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use csfle_core::{
    Code, Error,
    kms::wire::{WireReply, WireRound},
};
use serde_json::json;

/// Sends what the round wants sent, answered by `server`, until it is done.
fn drive(
    round: &mut WireRound,
    host: &mut Host,
    mut server: impl FnMut(&str) -> Vec<u8>,
) -> Result<Vec<String>, Error> {
    let mut sent = Vec::new();
    for _ in 0..10 {
        while let Some(index) = round.next_request() {
            let request = round.request(index).expect("it is there");
            let message = String::from_utf8(request.message()?.to_vec()).expect("it is UTF-8");
            let first = message.lines().next().expect("it has a line").to_string();
            let reply = server(&message);
            read(request, &reply, usize::MAX);
            sent.push(first);
        }
        sent.push("--".to_string());
        if round.finish(&mut host.context())? {
            return Ok(sent);
        }
    }
    panic!("it never ends: {sent:?}");
}

fn azure_server(message: &str) -> Vec<u8> {
    if message.contains("/oauth2/") {
        return http(200, r#"{"access_token": "tok-1", "expires_in": 3}"#);
    }
    assert!(
        message.contains("Authorization:Bearer tok-1\r\n"),
        "{message}"
    );
    http(200, &json!({"value": STANDARD.encode([5; 96])}).to_string())
}

#[test]
fn requests_of_one_round_share_a_token_however_short_its_life() {
    let mut host = Host::new(NOW_MS);
    let other_cloud = with(azure_key(), &["keyVaultEndpoint"], "kv.vault.azure.us");
    let requests = vec![
        new(wrap(), &azure_key(), &azure()),
        new(unwrap(), &azure_key(), &azure()),
        new(wrap(), &other_cloud, &azure()),
        new(wrap(), &azure_key(), &azure()),
    ];
    let mut round = WireRound::new(requests, &mut host.context()).expect("it begins");
    let sent = drive(&mut round, &mut host, azure_server).expect("it goes well");
    let token = "POST /t/oauth2/v2.0/token HTTP/1.1";
    let wrapped = "POST /keys/n/v/wrapkey?api-version=7.1 HTTP/1.1";
    let unwrapped = "POST /keys/n/v/unwrapkey?api-version=7.1 HTTP/1.1";
    assert_eq!(
        sent,
        [
            token, token, "--", wrapped, unwrapped, wrapped, wrapped, "--"
        ]
    );
    assert!(
        host.tokens.is_empty(),
        "a token of three seconds is not kept"
    );
    assert_eq!(round.requests().count(), 4);
    for index in 0..4 {
        let reply = round
            .request(index)
            .expect("it is there")
            .take_reply()
            .expect("it is done");
        assert_eq!(reply.expose(), [5; 96]);
    }
}

#[test]
fn a_token_serves_later_rounds_until_it_expires() {
    let mut host = Host::new(NOW_MS);
    let server = |message: &str| {
        if message.contains("/oauth2/") {
            return http(200, r#"{"access_token": "tok-1", "expires_in": 65}"#);
        }
        azure_server(message)
    };
    for (after_ms, messages) in [(0, 2), (1000, 1), (59_999, 1), (60_000, 2)] {
        host.now_ms = NOW_MS + after_ms;
        let requests = vec![new(wrap(), &azure_key(), &azure())];
        let mut round = WireRound::new(requests, &mut host.context()).expect("it begins");
        let sent = drive(&mut round, &mut host, server).expect("it goes well");
        assert_eq!(
            sent.iter().filter(|line| *line != "--").count(),
            messages,
            "after {after_ms}"
        );
    }
}

#[test]
fn requests_that_wait_for_a_token_fail_with_the_one_that_fetches_it() {
    let mut host = Host::new(NOW_MS);
    let requests = vec![
        new(wrap(), &azure_key(), &azure()),
        new(wrap(), &azure_key(), &azure()),
    ];
    let mut round = WireRound::new(requests, &mut host.context()).expect("it begins");
    let error = drive(&mut round, &mut host, |_| {
        http(401, r#"{"error":"invalid_client"}"#)
    })
    .expect_err("it is refused");
    assert_eq!(error.code(), Code::KmsErrorStatus);
    let failures: Vec<_> = round
        .requests()
        .map(|request| request.failure().cloned().expect("all failed"))
        .collect();
    // The last one fetches.
    assert_eq!(failures[1], error);
    assert_eq!(failures[0].code(), Code::KmsTokenMissing);
    assert_eq!(
        failures[0].message(),
        "authentication failed, no oauth token"
    );
}

#[test]
fn a_round_offers_what_failed_again_and_nothing_else() {
    let mut host = Host::new(NOW_MS);
    let requests = vec![
        new(unwrap(), &aws_key(), &aws()),
        new(unwrap(), &aws_key(), &aws()),
    ];
    let mut round = WireRound::new(requests, &mut host.context()).expect("it begins");
    let good = http(
        200,
        &json!({"Plaintext": STANDARD.encode([3; 96])}).to_string(),
    );
    let mut calls = 0;
    let sent = drive(&mut round, &mut host, |_| {
        calls += 1;
        if calls == 2 {
            http(400, r#"{"__type":"ThrottlingException"}"#)
        } else {
            good.clone()
        }
    });
    assert_eq!(sent.expect("it goes well").len(), 4);
    assert!(matches!(
        round.request(1).expect("it is there").take_reply(),
        Ok(WireReply::Unwrapped(_))
    ));
}

#[test]
fn a_round_that_ends_while_requests_wait_goes_on_with_them() {
    let mut host = Host::new(NOW_MS);
    let slow = || http(429, "slow");
    let good = json!({"Plaintext": STANDARD.encode([3; 96])}).to_string();
    let answer = |round: &mut WireRound, reply: &[u8]| {
        let index = round.next_request().expect("there is one");
        read(
            round.request(index).expect("it is there"),
            reply,
            usize::MAX,
        );
        index
    };
    // A host that asks once a round: the second request waits, the first is done and is not asked for again.
    let requests = vec![
        new(unwrap(), &aws_key(), &aws()),
        new(unwrap(), &aws_key(), &aws()),
    ];
    let mut round = WireRound::new(requests, &mut host.context()).expect("it begins");
    assert_eq!(answer(&mut round, &http(200, &good)), 0);
    assert_eq!(answer(&mut round, &slow()), 1);
    assert_eq!(round.finish(&mut host.context()), Ok(false));
    assert_eq!(round.finish(&mut host.context()), Ok(false));
    assert_eq!(answer(&mut round, &http(200, &good)), 1);
    assert_eq!(round.next_request(), None);
    assert_eq!(round.finish(&mut host.context()), Ok(true));
    // Three times, and no more.
    let requests = vec![new(unwrap(), &aws_key(), &aws())];
    let mut round = WireRound::new(requests, &mut host.context()).expect("it begins");
    for _ in 0..3 {
        answer(&mut round, &slow());
        assert_eq!(round.finish(&mut host.context()), Ok(false));
    }
    answer(&mut round, &slow());
    let error = round.finish(&mut host.context()).expect_err("it is over");
    assert_eq!(error.code(), Code::KmsRetriesExhausted);
    // One that failed ends the round, whatever waits.
    let requests = vec![
        new(unwrap(), &aws_key(), &aws()),
        new(unwrap(), &aws_key(), &aws()),
    ];
    let mut round = WireRound::new(requests, &mut host.context()).expect("it begins");
    assert_eq!(round.next_request(), Some(0));
    assert_eq!(round.next_request(), Some(1));
    for (index, reply) in [(0, slow()), (1, http(403, "no"))] {
        let request = round.request(index).expect("it is there");
        read(request, &reply, usize::MAX);
    }
    let error = round.finish(&mut host.context()).expect_err("one failed");
    assert_eq!(error.code(), Code::KmsErrorStatus);
}

#[test]
fn a_token_that_is_asked_for_again_is_waited_for() {
    let mut host = Host::new(NOW_MS);
    let requests = vec![
        new(wrap(), &azure_key(), &azure()),
        new(wrap(), &azure_key(), &azure()),
    ];
    let mut round = WireRound::new(requests, &mut host.context()).expect("it begins");
    for reply in [
        http(503, "down"),
        http(200, r#"{"access_token": "tok-1", "expires_in": 65}"#),
    ] {
        let index = round.next_request().expect("there is one");
        assert_eq!(index, 1);
        assert_eq!(round.next_request(), None);
        read(
            round.request(index).expect("it is there"),
            &reply,
            usize::MAX,
        );
        assert_eq!(round.finish(&mut host.context()), Ok(false));
    }
    assert_eq!(round.next_request(), Some(0));
    assert_eq!(round.next_request(), Some(1));
}
