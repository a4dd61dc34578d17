//! What a pipeline puts at an encrypted path by way of a variable or of another field.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod analysis_support;

use analysis_support::{
    PLAINTEXT, Session, Value, array, document, nothing_to_encrypt, one, schema, text,
};
use csfle_core::Code;

/// `{update: "c", updates: [{q: {}, u: pipeline, c: {x: "tok3n"}}]}`
fn update(pipeline: Vec<Value>) -> Value {
    document(vec![
        ("update", text("c")),
        (
            "updates",
            array(vec![document(vec![
                ("q", document(vec![])),
                ("u", array(pipeline)),
                ("c", one("x", text("tok3n"))),
            ])]),
        ),
        ("$db", text("db")),
    ])
}

/// `{findAndModify: "c", update: pipeline, let: {x: "tok3n"}}`
fn find_and_modify(pipeline: Vec<Value>) -> Value {
    document(vec![
        ("findAndModify", text("c")),
        ("query", document(vec![])),
        ("update", array(pipeline)),
        ("let", one("x", text("tok3n"))),
        ("$db", text("db")),
    ])
}

fn outcome(command: &Value) -> Option<Code> {
    let reply = nothing_to_encrypt();
    Session::new(&schema()).run(command, &reply).code()
}

#[test]
fn a_variable_of_the_command_is_no_ciphertext() {
    let stages = |expression: &str| {
        vec![
            one("$set", one("ssn", text(expression))),
            one("$replaceWith", one("ssn", text(expression))),
        ]
    };
    for stage in stages("$$x") {
        for command in [update(vec![stage.clone()]), find_and_modify(vec![stage])] {
            assert_eq!(outcome(&command), PLAINTEXT, "{command:?}");
        }
    }
}

#[test]
fn a_plain_field_is_not_stored_at_an_encrypted_path() {
    let command = update(vec![
        one("$set", one("tmp", text("tok3n"))),
        one("$set", one("ssn", text("$tmp"))),
    ]);
    assert_eq!(outcome(&command), PLAINTEXT);
}

#[test]
fn an_encrypted_field_may_be_moved_or_removed() {
    for expression in ["$ssn", "$$REMOVE"] {
        let command = update(vec![one("$set", one("ssn", text(expression)))]);
        assert_eq!(outcome(&command), None, "{expression}");
    }
}
