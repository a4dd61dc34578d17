//! What goes into a request: hostile texts are escaped or refused, and credentials come from where they should.

mod kms_wire_support;
mod support;

use kms_wire_support::{
    Counting, Host, NOW_MS, aws, aws_key, azure, azure_key, gcp, gcp_key, master_key, new,
    providers, with, wrap,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use csfle_core::{
    Code, Error,
    key_vault::KeyId,
    kms::{
        KmsProvider, KmsRequest,
        wire::{Credentials, TokenCache, WireContext, WireRequest, WireStep},
    },
};
use serde_json::{Value, json};

/// The first message, or the refusal to build it.
fn first_message(key: &Value, document: &Value) -> Result<String, Error> {
    let mut request = new(wrap(), key, document);
    Host::new(NOW_MS).step(&mut request)?;
    Ok(String::from_utf8(request.message()?.to_vec()).expect("messages over HTTP are UTF-8"))
}

#[test]
fn control_characters_are_refused_wherever_they_could_split_a_request() {
    for character in ['\r', '\n', '\0', '\t', '\u{1b}', '\u{7f}'] {
        let hostile = format!("x{character}Y: z");
        for (key, document) in [
            (with(aws_key(), &["region"], &hostile), aws()),
            (with(aws_key(), &["key"], &hostile), aws()),
            (aws_key(), with(aws(), &["aws", "accessKeyId"], &hostile)),
            (aws_key(), with(aws(), &["aws", "sessionToken"], &hostile)),
            (azure_key(), json!({"azure": {"accessToken": hostile}})),
            (gcp_key(), json!({"gcp": {"accessToken": hostile}})),
            (
                with(gcp_key(), &["keyRing"], &hostile),
                json!({"gcp": {"accessToken": "t"}}),
            ),
        ] {
            let error = first_message(&key, &document).expect_err("it splits the request");
            assert_eq!(error.code(), Code::KmsRequestInvalid, "{key} {document}");
            assert!(
                !error.message().contains(character),
                "the refusal quotes it"
            );
        }
    }
}

#[test]
fn a_region_is_part_of_a_host_name() {
    for region in [
        "evil.com/",
        "a b",
        "a:1",
        "a?b",
        "a#b",
        "user@evil.com",
        "é",
        "a\"b",
        "%zz",
    ] {
        for key in [
            with(aws_key(), &["region"], region),
            with(
                with(aws_key(), &["region"], region),
                &["endpoint"],
                "kms.example.com",
            ),
        ] {
            let error = first_message(&key, &aws()).expect_err("it is no region");
            assert_eq!(error.code(), Code::KmsRequestInvalid, "{region}");
        }
    }
}

#[test]
fn what_a_key_document_names_is_escaped() {
    let message = first_message(&with(aws_key(), &["key"], "a\", \"x\": \"\\é"), &aws())
        .expect("it is escaped");
    let (_, body) = message.split_once("\r\n\r\n").expect("there is a body");
    let body: Value = serde_json::from_str(body).expect("the body is JSON");
    assert_eq!(body["KeyId"], "a\", \"x\": \"\\é");
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(2));

    let token = json!({"azure": {"accessToken": "t"}});
    let key = with(
        with(azure_key(), &["keyName"], "a/../b?c d\r\n"),
        &["keyVersion"],
        "é%2f",
    );
    let message = first_message(&key, &token).expect("it is encoded");
    assert!(
        message.starts_with(
            "POST /keys/a%2F..%2Fb%3Fc%20d%0D%0A/%C3%A9%252f/wrapkey?api-version=7.1 HTTP/1.1\r\n"
        ),
        "{message}"
    );
}

#[test]
fn no_name_leads_to_another_path() {
    let azure_token = json!({"azure": {"accessToken": "t"}});
    let gcp_token = json!({"gcp": {"accessToken": "t"}});
    for segment in [".", ".."] {
        for (key, document) in [
            (with(azure_key(), &["keyName"], segment), &azure_token),
            (with(azure_key(), &["keyVersion"], segment), &azure_token),
            (with(gcp_key(), &["projectId"], segment), &gcp_token),
            (with(gcp_key(), &["location"], segment), &gcp_token),
            (with(gcp_key(), &["keyRing"], segment), &gcp_token),
            (azure_key(), &with(azure(), &["azure", "tenantId"], segment)),
        ] {
            let error = first_message(&key, document).expect_err("it leads elsewhere");
            assert_eq!(error.code(), Code::KmsRequestInvalid, "{key}");
        }
    }
    let dots = with(azure_key(), &["keyName"], "...");
    assert!(first_message(&dots, &azure_token).is_ok());
}

#[test]
fn what_a_form_holds_is_encoded() {
    let document = json!({"azure": {"tenantId": "a b/c", "clientId": "c&d=e", "clientSecret": "s&e=c+r%et\r\né"}});
    let message = first_message(&azure_key(), &document).expect("it is encoded");
    assert!(
        message.starts_with("POST /a%20b%2Fc/oauth2/v2.0/token HTTP/1.1\r\n"),
        "{message}"
    );
    assert!(
        message.ends_with(
            "\r\n\r\nclient_id=c%26d%3De&scope=https%3A%2F%2Fvault.azure.net%2F.default&\
             client_secret=s%26e%3Dc%2Br%25et%0D%0A%C3%A9&grant_type=client_credentials"
        ),
        "{message}"
    );
    // An endpoint may hold what separates fields of a form.
    let key = with(azure_key(), &["keyVaultEndpoint"], "kv.x&client_id=y");
    let message = first_message(&key, &azure()).expect("it is encoded");
    assert!(
        message.contains("scope=https%3A%2F%2Fx%26client_id%3Dy%2F.default&"),
        "{message}"
    );
}

#[test]
fn the_claims_of_an_assertion_are_json_whatever_the_email() {
    let email = "a\", \"iss\": \"b\\\n";
    let mut request = new(wrap(), &gcp_key(), &with(gcp(), &["gcp", "email"], email));
    let mut host = Host::new(NOW_MS);
    assert_eq!(
        request.step(&mut host.context()),
        Ok(WireStep::NeedSignature)
    );
    let wanted = request.signature_wanted().expect("a signature is wanted");
    assert_eq!(wanted.private_key, b"secret key!");
    let input = String::from_utf8(wanted.input.to_vec()).expect("it is base64");
    let claims = input.split('.').nth(1).expect("claims come second");
    let claims = claims.replace('-', "+").replace('_', "/");
    let claims: Value = serde_json::from_slice(&STANDARD.decode(claims).expect("it is base64"))
        .expect("claims are JSON");
    assert_eq!(claims["iss"], email);
    assert_eq!(claims["iat"], NOW_MS / 1000);
    assert_eq!(claims["exp"], NOW_MS / 1000 + 300);
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloudkms");
}

#[test]
fn machine_requests_become_wire_requests() {
    let key = KmsRequest {
        id: 1,
        operation: wrap(),
        master_key: master_key(&aws_key()),
        key_id: None::<KeyId>,
        key_alt_names: Vec::new(),
    };
    let mut request =
        WireRequest::from_request(&key, &providers(&aws())).expect("it is configured");
    assert_eq!(request.master_key(), &key.master_key);
    let (mut entropy, mut tokens) = (Counting, TokenCache::new());
    let mut context = WireContext {
        now_ms: NOW_MS,
        entropy: &mut entropy,
        tokens: &mut tokens,
    };
    assert_eq!(request.step(&mut context), Ok(WireStep::Exchange));
    assert_eq!(
        request.endpoint().as_deref(),
        Ok("kms.us-east-1.amazonaws.com:443")
    );
}

#[test]
fn on_demand_credentials_fill_in_for_one_answer() {
    let named = json!({"accessKeyId": "named", "secretAccessKey": "s"});
    let configured =
        providers(&json!({"aws": {}, "gcp": {}, "aws:x": named, "azure": azure()["azure"]}));
    let aws_provider = KmsProvider::parse("aws").expect("it is one");
    assert_eq!(configured.on_demand().len(), 2);
    assert!(configured.credentials(&aws_provider).is_err());
    let answer = providers(
        &json!({"aws": aws()["aws"], "aws:x": {"accessKeyId": "other", "secretAccessKey": "s"}, "azure": {"accessToken": "t"}}),
    );
    let whole = configured.with_answer(&answer);
    assert!(matches!(
        whole.credentials(&aws_provider).map(|c| &**c),
        Ok(Credentials::Aws(_))
    ));
    assert_eq!(
        whole.on_demand(),
        [KmsProvider::parse("gcp").expect("it is one")]
    );
    let with_name = json!({"provider": "aws:x", "region": "r", "key": "k"});
    let mut request =
        WireRequest::new(wrap(), master_key(&with_name), &whole).expect("it is configured");
    Host::new(NOW_MS).step(&mut request).expect("it steps");
    let message = String::from_utf8_lossy(request.message().expect("it is under way")).into_owned();
    assert!(
        message.contains("Credential=named/"),
        "named providers stay as they were"
    );
    let mut request =
        WireRequest::new(wrap(), master_key(&azure_key()), &whole).expect("it is configured");
    Host::new(NOW_MS).step(&mut request).expect("it steps");
    let message = String::from_utf8_lossy(request.message().expect("it is under way")).into_owned();
    assert!(
        message.contains("Authorization:Bearer t\r\n"),
        "the answer replaces what was configured"
    );
    assert_eq!(whole.configured().count(), 3);
}
