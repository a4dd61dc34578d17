use super::*;
use alloc::string::ToString;

fn integer(json: &str) -> Option<i64> {
    match members(json.as_bytes(), ["n"]).unwrap() {
        [Some(Member::Integer(n))] => Some(n),
        _ => None,
    }
}

fn string(json: &str) -> Option<String> {
    match members(json.as_bytes(), ["s"]).unwrap() {
        [Some(Member::Text(raw))] => {
            Some(String::from_utf8(text(raw).expose().to_vec()).expect("texts are UTF-8"))
        }
        _ => None,
    }
}

fn complaint(json: &str) -> String {
    members(json.as_bytes(), ["s"])
        .err()
        .unwrap_or_else(|| panic!("accepted: {json}"))
}

#[test]
fn members_of_the_outer_object_are_found_once() {
    assert_eq!(string(r#" {"s":"a","s":"b"} "#).unwrap(), "a");
    assert_eq!(string(r#"{"x":{"s":"a"}}"#), None);
    assert_eq!(string(r#"{"x":[{"s":"a"},1],"s":"b"}"#).unwrap(), "b");
    assert_eq!(string(r#"{"\u0073":"a"}"#).unwrap(), "a");
    for json in [
        "[]",
        r#"["s"]"#,
        r#""s""#,
        "1",
        "null",
        "{}",
        r#"{"s":null}"#,
        r#"{"s":1}"#,
    ] {
        assert_eq!(string(json), None, "{json}");
    }
}

#[test]
fn escapes_are_resolved() {
    assert_eq!(
        string(r#"{"s":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 \ud83dx \ude00"}"#).unwrap(),
        "\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1f600} \u{fffd}x \u{fffd}"
    );
    assert_eq!(string(r#"{"s":"\ud83d\u0041"}"#).unwrap(), "\u{fffd}A");
}

#[test]
fn only_integers_that_fit_are_integers() {
    assert_eq!(integer(r#"{"n":0}"#), Some(0));
    assert_eq!(integer(r#"{"n":-12}"#), Some(-12));
    assert_eq!(integer(r#"{"n":9223372036854775807}"#), Some(i64::MAX));
    for number in [
        "9223372036854775808",
        "1.0",
        "1e3",
        "-0.5E-1",
        "\"1\"",
        "true",
    ] {
        assert_eq!(integer(&format!("{{\"n\":{number}}}")), None, "{number}");
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_position() {
    assert_eq!(complaint(""), "Empty JSON string");
    assert_eq!(complaint(" \n"), "Empty JSON string");
    for json in [
        "{",
        "{\"s",
        "{\"s\"",
        "{\"s\":",
        "{\"s\":1",
        "{\"s\":1,",
        "[",
        "[1",
        "tru",
        "-",
        "{\"s\":\"\\",
        "1.",
    ] {
        assert_eq!(complaint(json), "Incomplete JSON", "{json}");
    }
    for (json, position) in [
        ("hello", 0),
        ("{'s':1}", 1),
        ("{\"s\" 1}", 5),
        ("{\"s\":1}x", 7),
        ("{\"s\":1}{}", 7),
        ("[1,]", 3),
        ("01", 1),
        ("{\"s\":\"\n\"}", 6),
        ("\"\\x\"", 2),
        ("\"\\u12g4\"", 5),
        ("\u{feff}{}", 0),
    ] {
        assert_eq!(
            complaint(json),
            format!("unexpected character at position {position}"),
            "{json}"
        );
    }
    assert_eq!(
        members(b"{\"s\":\"\xff\"}", ["s"]).err().unwrap(),
        "invalid UTF-8 at position 6"
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(members(nested(MAX_DEPTH).as_bytes(), ["s"]).is_ok());
    assert_eq!(
        complaint(&nested(MAX_DEPTH + 1)),
        "nested deeper than 32 levels"
    );
    let hostile = "[".repeat(1_000_000);
    assert_eq!(complaint(&hostile), "nested deeper than 32 levels");
}

#[test]
fn written_strings_read_back() {
    let all: String = (0..0x180u32).filter_map(char::from_u32).collect();
    for original in ["", "plain", "q\"b\\s/", &all] {
        let mut out = SecretWriter::new();
        out.push(b"{\"s\":");
        push_string(original, &mut out);
        out.push(b"}");
        let json = String::from_utf8(out.expose().to_vec()).unwrap();
        assert!(json.bytes().all(|byte| byte >= 0x20));
        assert_eq!(string(&json).unwrap(), original.to_string());
    }
}
