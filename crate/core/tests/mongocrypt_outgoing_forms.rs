//! Forms in which an honest analyser writes updates, with the values compared.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod analysis_support;

use analysis_support::{
    ALTERED, Outcome, Session, Value, array, document, flag, int, marking, one, schema, text,
    with_markings,
};

fn update(filter: Value, update: Value) -> Value {
    document(vec![
        ("update", text("c")),
        (
            "updates",
            array(vec![document(vec![("q", filter), ("u", update)])]),
        ),
        ("$db", text("db")),
    ])
}

fn find_and_modify(filter: Value, update: Value) -> Value {
    document(vec![
        ("findAndModify", text("c")),
        ("query", filter),
        ("update", update),
        ("$db", text("db")),
    ])
}

fn bulk_write(filter: Value, update: Value) -> Value {
    let operation = vec![
        ("update", int(0)),
        ("filter", filter),
        ("updateMods", update),
    ];
    document(vec![
        ("bulkWrite", int(1)),
        ("ops", array(vec![document(operation)])),
        ("nsInfo", array(vec![one("ns", text("db.c"))])),
        ("$db", text("admin")),
    ])
}

/// With `{_id: 1}` of the application as `{_id: {$eq: 1}}`.
fn run(
    command: fn(Value, Value) -> Value,
    asked: Value,
    answered: Value,
) -> (Outcome, Value, Value) {
    let asked = command(one("_id", int(1)), asked);
    let answered = command(one("_id", one("$eq", int(1))), answered);
    let reply = document(vec![
        ("hasEncryptionPlaceholders", flag(true)),
        ("schemaRequiresEncryption", flag(true)),
        ("result", answered.clone()),
    ]);
    (Session::new(&schema()).run(&asked, &reply), asked, answered)
}

const COMMANDS: [fn(Value, Value) -> Value; 3] = [update, find_and_modify, bulk_write];

#[test]
fn a_document_or_an_array_is_encrypted_beside_a_filter_in_another_form() {
    let values = [
        one("a", int(1)),
        array(vec![int(1)]),
        array(vec![one("a", text("x"))]),
        document(vec![]),
    ];
    for command in COMMANDS {
        for value in &values {
            for operator in ["$set", "$setOnInsert"] {
                let asked = one(operator, one("ssn", value.clone()));
                let marked = |value: &Value| one(operator, one("ssn", marking(value)));
                let (outcome, ..) = run(command, asked.clone(), marked(value));
                assert_eq!(outcome.code(), None, "{value:?} {}", outcome.told());
                // Another value is not the one that was given.
                let (outcome, ..) = run(command, asked, marked(&one("a", int(2))));
                assert_eq!(outcome.code(), ALTERED);
            }
            let replaced = |value| document(vec![("ssn", value), ("name", text("x"))]);
            let (outcome, ..) = run(command, replaced(value.clone()), replaced(marking(value)));
            assert_eq!(outcome.code(), None, "{value:?} {}", outcome.told());
        }
    }
}

#[test]
fn an_array_is_encrypted_beside_a_marking_in_the_filter() {
    let list = |item| one("ssn", one("$in", array(vec![item])));
    let set = |value| one("$set", one("x_pii", value));
    let value = array(vec![text("x")]);
    let asked = update(list(text("x")), set(value.clone()));
    let answered = update(list(marking(&text("x"))), set(marking(&value)));
    let reply = with_markings(answered);
    let outcome = Session::new(&schema()).run(&asked, &reply);
    assert_eq!(outcome.code(), None, "{}", outcome.told());
}

#[test]
fn operands_of_updates_may_be_written_in_full() {
    let each = |items: Vec<Value>| one("tags", one("$each", array(items)));
    let kind = |name: &str| one("at", one("$type", text(name)));
    let allowed = [
        (
            one("$push", one("tags", text("a"))),
            one("$push", each(vec![text("a")])),
        ),
        (
            one("$addToSet", one("tags", text("a"))),
            one("$addToSet", each(vec![text("a")])),
        ),
        (
            one("$currentDate", one("at", flag(true))),
            one("$currentDate", kind("date")),
        ),
        (
            one("$unset", one("x", text(""))),
            one("$unset", one("x", int(1))),
        ),
        (
            one("$currentDate", one("at", Value::Raw(8, vec![0]))),
            one("$currentDate", kind("date")),
        ),
        (
            one("$pop", one("x", Value::Raw(1, 1f64.to_le_bytes().to_vec()))),
            one("$pop", one("x", int(1))),
        ),
    ];
    for command in COMMANDS {
        for (asked, answered) in &allowed {
            let marked = |update: &Value| {
                let Value::Document(mut fields) = update.clone() else {
                    unreachable!()
                };
                let name = b"$set".to_vec();
                fields.push((name, one("ssn", marking(&text("s")))));
                Value::Document(fields)
            };
            let given = |update: &Value| {
                let Value::Document(mut fields) = update.clone() else {
                    unreachable!()
                };
                fields.push((b"$set".to_vec(), one("ssn", text("s"))));
                Value::Document(fields)
            };
            let (outcome, ..) = run(command, given(asked), marked(answered));
            assert_eq!(outcome.code(), None, "{asked:?} {}", outcome.told());
            // Nothing to encrypt: the command of the application is sent.
            let (outcome, asked, _) = run(command, asked.clone(), answered.clone());
            assert_eq!(outcome.sent(), Some(&asked.bytes()[..]));
        }
    }
    let altered = [
        (
            one("$push", one("tags", text("a"))),
            one("$push", each(vec![text("b")])),
        ),
        (
            one("$push", one("tags", text("a"))),
            one("$push", each(vec![text("a"), text("a")])),
        ),
        (
            one("$push", each(vec![text("a")])),
            one("$push", one("tags", one("$each", each(vec![text("a")])))),
        ),
        (
            one("$currentDate", one("at", flag(true))),
            one("$currentDate", kind("timestamp")),
        ),
        (
            one("$pop", one("x", int(1))),
            one("$pop", one("x", int(-1))),
        ),
        (
            one("$currentDate", kind("timestamp")),
            one("$currentDate", kind("date")),
        ),
        (
            one("$unset", one("x", text(""))),
            one("$unset", one("x", int(2))),
        ),
        (
            one("$set", one("x", text(""))),
            one("$set", one("x", int(1))),
        ),
    ];
    for (asked, answered) in altered {
        let with = |update: Value, value: Value| {
            let Value::Document(mut fields) = update else {
                unreachable!()
            };
            fields.push((b"$max".to_vec(), one("ssn", value)));
            Value::Document(fields)
        };
        let shown = format!("{asked:?}");
        let (outcome, ..) = run(
            update,
            with(asked, text("s")),
            with(answered, marking(&text("s"))),
        );
        assert_eq!(outcome.code(), ALTERED, "{shown}");
    }
}
