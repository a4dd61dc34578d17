//! The published suite for AWS Signature Version 4, read in place. A folder with a `.req` file is a case.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops at the first surprise and says what it ran"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use csfle_core::kms::wire::sigv4::{
    Request, Scope, authorization, canonical_request, string_to_sign,
};

// The identity and the scope of the whole suite.
const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
const SECRET_ACCESS_KEY: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SCOPE: Scope<'_> = Scope {
    date_time: "20150830T123600Z",
    region: "us-east-1",
    service: "service",
};

/// A request of the suite. Lines end with a line feed; a line that begins with a space continues the one before.
struct Parsed<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: Vec<(&'a str, String)>,
    body: &'a str,
}

fn parse(text: &str) -> Parsed<'_> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.split('\n');
    let first = lines.next().expect("a request has a first line");
    let (method, rest) = first.split_once(' ').expect("a method comes first");
    // Targets of the suite hold spaces.
    let target = rest
        .strip_suffix(" HTTP/1.1")
        .expect("a version comes last");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers: Vec<(&str, String)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if line.starts_with(' ') {
            let (_, value) = headers.last_mut().expect("there is a line to continue");
            value.push('\n');
            value.push_str(line);
        } else {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            headers.push((name, value.to_string()));
        }
    }
    Parsed {
        method,
        path,
        query,
        headers,
        body,
    }
}

fn cases(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            cases(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "req") {
            found.push(path);
        }
    }
}

fn read(case: &Path, extension: &str) -> String {
    let path = case.with_extension(extension);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim_end_matches('\n').to_string()
}

/// The request with the header `Authorization` after the others, and before it whatever was added once it was signed.
fn signed(request: &str, added: &str, authorization: &str) -> String {
    let (head, body) = match request.split_once("\n\n") {
        Some((head, body)) => (head, format!("\n\n{body}")),
        None => (request, String::new()),
    };
    format!("{head}\n{added}Authorization: {authorization}{body}")
}

#[test]
fn the_published_suite_passes_whole() {
    let root = std::env::var_os("CSFLE_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !root.is_dir() {
        eprintln!("skipped: no vectors at {}", root.display());
        return;
    }
    let mut found = Vec::new();
    cases(&root.join("aws-sig-v4"), &mut found);
    found.sort();
    assert!(!found.is_empty(), "the suite has cases");
    for case in &found {
        let name = case.display();
        let text = read(case, "req");
        let parsed = parse(&text);
        let headers: Vec<(&str, &[u8])> = parsed
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let request = Request {
            method: parsed.method,
            path: parsed.path,
            query: parsed.query,
            headers: &headers,
            body: parsed.body.as_bytes(),
        };
        let canonical = canonical_request(&request);
        let canonical = std::str::from_utf8(canonical.expose()).expect("the suite is UTF-8");
        assert_eq!(canonical, read(case, "creq"), "canonical request of {name}");
        assert_eq!(
            string_to_sign(canonical.as_bytes(), &SCOPE),
            read(case, "sts"),
            "string to sign of {name}"
        );
        let authorization = authorization(ACCESS_KEY_ID, SECRET_ACCESS_KEY, &request, &SCOPE);
        assert_eq!(
            authorization,
            read(case, "authz"),
            "authorization of {name}"
        );
        // One case adds the session token to a request that is signed already.
        let expected = read(case, "sreq");
        let added: String = expected
            .lines()
            .filter(|line| line.starts_with("X-Amz-Security-Token:") && !text.contains(line))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(
            signed(&text, &added, &authorization),
            expected,
            "signed request of {name}"
        );
    }
    println!("{} cases of the SigV4 suite", found.len());
}
