//! BSON as bytes: what the walker and the value check refuse, one fault at a time.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use csfle_core::{
    Code,
    raw::{
        MAX_DEPTH, MAX_DOCUMENT_LEN, begin_document, check_document_size, check_value,
        document_len, element_type as ty, elements, end_document, push_element, scan,
        single_field_document, string_value,
    },
};

const EMPTY: &[u8] = &[5, 0, 0, 0, 0];

fn code<T>(result: csfle_core::Result<T>) -> Code {
    result.err().expect("expected a failure").code()
}

fn document(fields: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut document = begin_document(64);
    for (name, bson_type, value) in fields {
        push_element(&mut document, *bson_type, name.as_bytes(), value);
    }
    end_document(&mut document, 0);
    document
}

/// Length-prefixed bytes with the length that is given, right or wrong.
fn prefixed(len: i32, bytes: &[u8]) -> Vec<u8> {
    [len.to_le_bytes().as_slice(), bytes].concat()
}

/// Code with scope: total length, code, scope.
fn code_with_scope(scope: &[u8]) -> Vec<u8> {
    let inner = [string_value("f"), scope.to_vec()].concat();
    prefixed(inner.len() as i32 + 4, &inner)
}

/// `levels` documents in each other; `leaf` stands in the innermost.
fn nested(levels: usize, leaf: &[u8]) -> Vec<u8> {
    (1..levels).fold(leaf.to_vec(), |inner, _| {
        single_field_document("a", ty::DOCUMENT, &inner)
    })
}

/// One well-formed value of each type with bytes of its own.
fn well_formed() -> Vec<(u8, Vec<u8>)> {
    vec![
        (ty::DOUBLE, vec![0; 8]),
        (ty::STRING, string_value("text")),
        (ty::STRING, string_value("")),
        (ty::DOCUMENT, EMPTY.to_vec()),
        (ty::ARRAY, document(&[("0", ty::INT32, &[0; 4])])),
        (ty::BINARY, prefixed(3, &[0, 1, 2, 3])),
        (ty::BINARY, prefixed(0, &[0])),
        (ty::BINARY, prefixed(6, &[2, 2, 0, 0, 0, 8, 9])),
        (ty::UNDEFINED, vec![]),
        (ty::OBJECT_ID, vec![7; 12]),
        (ty::BOOL, vec![0]),
        (ty::BOOL, vec![1]),
        (ty::DATETIME, vec![0; 8]),
        (ty::NULL, vec![]),
        (ty::REGEX, b"a.c\0im\0".to_vec()),
        (ty::DB_POINTER, [string_value("c"), vec![0; 12]].concat()),
        (ty::CODE, string_value("f")),
        (ty::SYMBOL, string_value("s")),
        (ty::CODE_WITH_SCOPE, code_with_scope(EMPTY)),
        (ty::INT32, vec![0; 4]),
        (ty::TIMESTAMP, vec![0; 8]),
        (ty::INT64, vec![0; 8]),
        (ty::DECIMAL128, vec![0; 16]),
        (ty::MAX_KEY, vec![]),
        (ty::MIN_KEY, vec![]),
    ]
}

#[test]
fn a_value_of_each_type_is_read_to_its_end_and_no_further() {
    for (bson_type, value) in well_formed() {
        check_value(bson_type, &value).unwrap();
        let one = document(&[("v", bson_type, &value), ("after", ty::NULL, &[])]);
        let read: Vec<_> = elements(&one).unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), 2, "type {bson_type:#04x}");
        assert_eq!((read[0].bson_type, read[0].value), (bson_type, &value[..]));
        assert_eq!(read[1].name, b"after");
    }
}

#[test]
fn a_value_with_a_byte_too_few_or_too_many_is_refused() {
    for (bson_type, value) in well_formed() {
        let longer = [&value[..], &[0]].concat();
        assert_eq!(
            code(check_value(bson_type, &longer)),
            Code::BsonMalformed,
            "type {bson_type:#04x}, longer"
        );
        if let Some(shorter) = value.len().checked_sub(1) {
            assert_eq!(
                code(check_value(bson_type, &value[..shorter])),
                Code::BsonMalformed,
                "type {bson_type:#04x}, shorter"
            );
        }
    }
}

#[test]
fn a_value_that_breaks_a_rule_of_its_type_is_refused() {
    let faults: &[(&str, u8, Vec<u8>)] = &[
        (
            "a string without terminator",
            ty::STRING,
            prefixed(2, &[65, 66]),
        ),
        ("a string of no bytes", ty::STRING, prefixed(0, &[])),
        ("a string past its end", ty::STRING, prefixed(9, &[65, 0])),
        (
            "a string of huge length",
            ty::STRING,
            prefixed(-1, &[65, 0]),
        ),
        ("a binary past its end", ty::BINARY, prefixed(9, &[0, 1])),
        ("a binary of huge length", ty::BINARY, prefixed(-1, &[0])),
        (
            "an old binary of another inner length",
            ty::BINARY,
            prefixed(6, &[2, 3, 0, 0, 0, 8, 9]),
        ),
        (
            "an old binary without inner length",
            ty::BINARY,
            prefixed(3, &[2, 0, 0, 0]),
        ),
        ("a boolean of 2", ty::BOOL, vec![2]),
        ("a pattern without options", ty::REGEX, b"a\0".to_vec()),
        (
            "a scope with a byte behind it",
            ty::CODE_WITH_SCOPE,
            code_with_scope(&[5, 0, 0, 0, 0, 0]),
        ),
        (
            "a scope that is none",
            ty::CODE_WITH_SCOPE,
            code_with_scope(&[6, 0, 0, 0, 1]),
        ),
        ("a code with scope of no length", ty::CODE_WITH_SCOPE, {
            let mut value = code_with_scope(EMPTY);
            value[..4].fill(0);
            value
        }),
        (
            "a document without terminator",
            ty::DOCUMENT,
            vec![5, 0, 0, 0, 1],
        ),
        ("a document of four bytes", ty::DOCUMENT, vec![4, 0, 0, 0]),
        (
            "a document with a byte behind it",
            ty::DOCUMENT,
            vec![5, 0, 0, 0, 0, 0],
        ),
        (
            "a document whose field has no name end",
            ty::DOCUMENT,
            vec![7, 0, 0, 0, 10, 65, 0],
        ),
        (
            "a document with a fault inside",
            ty::DOCUMENT,
            document(&[("v", ty::BOOL, &[2])]),
        ),
        (
            "a scope with a fault inside",
            ty::CODE_WITH_SCOPE,
            code_with_scope(&document(&[("v", ty::BOOL, &[2])])),
        ),
        ("a type that is none", 0x14, vec![0]),
    ];
    for (what, bson_type, value) in faults {
        assert_eq!(
            code(check_value(*bson_type, value)),
            Code::BsonMalformed,
            "{what}"
        );
        // Scopes are not entered by a walk, only by the check of an encrypted value.
        if *what != "a scope with a fault inside" {
            let around = document(&[("v", *bson_type, value)]);
            assert_eq!(
                code(scan(&around, |_| true).map(|_| ())),
                Code::BsonMalformed,
                "{what}, in a walk"
            );
        }
    }
}

#[test]
fn a_document_is_exactly_as_long_as_it_says() {
    for bytes in [
        &[][..],
        &[5, 0, 0],
        &[4, 0, 0, 0],
        &[5, 0, 0, 0, 1],
        &[6, 0, 0, 0, 0],
        &[255, 255, 255, 255, 0],
    ] {
        assert_eq!(code(document_len(bytes)), Code::BsonMalformed, "{bytes:?}");
        assert_eq!(code(elements(bytes).map(|_| ())), Code::BsonMalformed);
    }
    assert_eq!(document_len(&[5, 0, 0, 0, 0, 9]).unwrap(), 5);
    assert_eq!(
        code(elements(&[5, 0, 0, 0, 0, 9]).map(|_| ())),
        Code::BsonMalformed
    );
}

#[test]
fn values_nest_up_to_the_limit() {
    let leaf = document(&[("v", ty::NULL, &[])]);
    check_value(ty::DOCUMENT, &nested(MAX_DEPTH - 1, &leaf)).unwrap();
    assert_eq!(
        code(check_value(ty::DOCUMENT, &nested(MAX_DEPTH, &leaf))),
        Code::BsonTooDeep
    );
    let arrays = single_field_document("0", ty::ARRAY, &nested(MAX_DEPTH - 1, &leaf));
    assert_eq!(code(check_value(ty::ARRAY, &arrays)), Code::BsonTooDeep);
    scan(&nested(MAX_DEPTH, &leaf), |_| true).unwrap();
    assert_eq!(
        code(scan(&nested(MAX_DEPTH + 1, &leaf), |_| true).map(|_| ())),
        Code::BsonTooDeep
    );
}

#[test]
fn a_document_of_16_mib_is_the_largest() {
    check_document_size(MAX_DOCUMENT_LEN).unwrap();
    assert_eq!(
        code(check_document_size(MAX_DOCUMENT_LEN + 1)),
        Code::BsonTooLarge
    );
    assert_eq!(MAX_DOCUMENT_LEN, 16_777_216);
}
