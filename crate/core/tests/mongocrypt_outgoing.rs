//! What leaves is checked against the schema, whatever the query analyser says.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::print_stdout, reason = "the property test tells its counts")]

mod analysis_support;

use analysis_support::{
    ALTERED, PLAINTEXT, Place, Session, Value, array, document, int, marking, payload, schema,
    text, with_markings,
};
use bson::rawdoc;
use csfle_core::Code;

const PAYLOAD: Option<Code> = Some(Code::AutoEncryptionPayloadRefused);

fn insert(value: Value) -> Value {
    document(vec![
        ("insert", text("c")),
        (
            "documents",
            array(vec![document(vec![("_id", int(1)), ("ssn", value)])]),
        ),
        ("$db", text("db")),
    ])
}

/// `{name: "c", <field>: value}`
fn command(name: &str, fields: Vec<(&str, Value)>) -> Value {
    let mut all = vec![(name, text("c"))];
    all.extend(fields);
    document(all)
}

fn nothing() -> Vec<Vec<(&'static str, Value)>> {
    let yes = || Value::Raw(8, vec![1]);
    let no = || Value::Raw(8, vec![0]);
    vec![
        vec![("schemaRequiresEncryption", no())],
        vec![("hasEncryptedPlaceholders", no())],
        vec![
            ("schemaRequiresEncryption", int(0)),
            ("result", document(vec![])),
        ],
        vec![
            ("hasEncryptionPlaceholders", no()),
            ("schemaRequiresEncryption", yes()),
            ("result", document(vec![("ping", int(1))])),
        ],
    ]
}

#[test]
fn a_command_with_plain_values_is_refused_though_the_analyser_finds_nothing() {
    let token = || text("tok3n");
    let filter = |value| document(vec![("ssn", value)]);
    let operator = |name: &'static str, value| document(vec![(name, value)]);
    let set = |fields| document(vec![("$set", fields)]);
    let match_stage = |filter| array(vec![document(vec![("$match", filter)])]);
    let expression = |operator: &'static str| {
        let arguments = array(vec![text("$ssn"), token()]);
        document(vec![("$expr", document(vec![(operator, arguments)]))])
    };
    let statement = |name: &'static str, fields: Vec<(&'static str, Value)>| {
        command(
            name,
            vec![(
                if name == "update" {
                    "updates"
                } else {
                    "deletes"
                },
                array(vec![document(fields)]),
            )],
        )
    };
    let update = |change| statement("update", vec![("q", document(vec![])), ("u", change)]);
    let variables = document(vec![
        ("vars", document(vec![("x", text("$ssn"))])),
        (
            "in",
            document(vec![("$eq", array(vec![text("$$x"), token()]))]),
        ),
    ]);
    let refused = [
        ("ssn", insert(token())),
        ("ssn", insert(Value::Raw(10, vec![]))),
        ("ssn", insert(document(vec![("x", token())]))),
        (
            "ssn",
            insert(Value::Raw(5, analysis_support::binary(0, b"tok3n"))),
        ),
        (
            "a.b",
            command(
                "insert",
                vec![(
                    "documents",
                    array(vec![document(vec![("a", filter_of("b", token()))])]),
                )],
            ),
        ),
        (
            "a.b",
            command(
                "insert",
                vec![(
                    "documents",
                    array(vec![document(vec![(
                        "a",
                        array(vec![filter_of("b", token())]),
                    )])]),
                )],
            ),
        ),
        (
            "a.b",
            command(
                "insert",
                vec![("documents", array(vec![document(vec![("a.b", token())])]))],
            ),
        ),
        (
            "x_pii",
            command(
                "insert",
                vec![("documents", array(vec![document(vec![("x_pii", token())])]))],
            ),
        ),
        ("ssn", command("find", vec![("filter", filter(token()))])),
        (
            "ssn",
            command("find", vec![("filter", filter(operator("$eq", token())))]),
        ),
        (
            "ssn",
            command(
                "find",
                vec![("filter", filter(operator("$in", array(vec![token()]))))],
            ),
        ),
        (
            "ssn",
            command(
                "find",
                vec![("filter", filter(operator("$not", operator("$gt", token()))))],
            ),
        ),
        (
            "ssn",
            command(
                "find",
                vec![("filter", filter(operator("$futureOperator", token())))],
            ),
        ),
        (
            "ssn.x",
            command("find", vec![("filter", filter_of("ssn.x", token()))]),
        ),
        (
            "a.b",
            command("find", vec![("filter", filter_of("a.0.b", token()))]),
        )
            .with_path("a.0.b"),
        (
            "a.b",
            command(
                "find",
                vec![(
                    "filter",
                    filter_of("a", operator("$elemMatch", filter_of("b", token()))),
                )],
            ),
        ),
        (
            "a.b",
            command(
                "find",
                vec![("filter", filter_of("a", filter_of("b", token())))],
            ),
        ),
        (
            "ssn",
            command(
                "find",
                vec![(
                    "filter",
                    filter_of(
                        "$or",
                        array(vec![filter_of("$nor", array(vec![filter(token())]))]),
                    ),
                )],
            ),
        ),
        (
            "ssn",
            command(
                "find",
                vec![("filter", filter_of("$futureLogic", filter(token())))],
            ),
        ),
        (
            "ssn",
            command("find", vec![("futureField", filter(token()))]),
        ),
        ("ssn", command("find", vec![("min", filter(token()))])),
        (
            "$where",
            command("find", vec![("filter", filter_of("$where", token()))]),
        ),
        ("$eq", command("find", vec![("filter", expression("$eq"))])),
        (
            "$futureExpression",
            command("find", vec![("filter", expression("$futureExpression"))]),
        ),
        (
            "$eq",
            command(
                "find",
                vec![("filter", filter_of("$expr", operator("$let", variables)))],
            ),
        ),
        ("ssn", command("count", vec![("query", filter(token()))])),
        (
            "ssn",
            command(
                "distinct",
                vec![("key", text("name")), ("query", filter(token()))],
            ),
        ),
        ("ssn", statement("delete", vec![("q", filter(token()))])),
        (
            "ssn",
            statement(
                "update",
                vec![
                    ("q", filter(token())),
                    ("u", set(filter_of("name", token()))),
                ],
            ),
        ),
        ("ssn", update(set(filter(token())))),
        ("ssn", update(filter(token()))),
        ("ssn", update(operator("$push", filter(token())))),
        ("ssn", update(operator("$futureModifier", filter(token())))),
        (
            "a.b",
            update(operator(
                "$push",
                filter_of("a", operator("$each", array(vec![filter_of("b", token())]))),
            )),
        ),
        (
            "name",
            update(operator("$rename", filter_of("name", text("ssn")))),
        ),
        ("ssn", update(array(vec![set(filter(token()))]))),
        (
            "x.b",
            statement(
                "update",
                vec![
                    ("q", document(vec![])),
                    ("u", set(filter_of("a.$[x].c", int(1)))),
                    ("arrayFilters", array(vec![filter_of("x.b", token())])),
                ],
            ),
        ),
        (
            "ssn",
            command(
                "findAndModify",
                vec![
                    ("query", filter(token())),
                    ("update", set(filter_of("name", token()))),
                ],
            ),
        ),
        (
            "ssn",
            command(
                "findAndModify",
                vec![
                    ("query", document(vec![])),
                    ("update", operator("$setOnInsert", filter(token()))),
                ],
            ),
        ),
        (
            "ssn",
            command(
                "aggregate",
                vec![("pipeline", match_stage(filter(token())))],
            ),
        ),
        (
            "ssn",
            command(
                "aggregate",
                vec![(
                    "pipeline",
                    array(vec![operator(
                        "$facet",
                        filter_of("one", match_stage(filter(token()))),
                    )]),
                )],
            ),
        ),
        (
            "ssn",
            command(
                "aggregate",
                vec![(
                    "pipeline",
                    array(vec![operator("$futureStage", filter(token()))]),
                )],
            ),
        ),
        (
            "ssn",
            command(
                "aggregate",
                vec![(
                    "pipeline",
                    array(vec![operator(
                        "$addFields",
                        filter(operator("$literal", token())),
                    )]),
                )],
            ),
        ),
        (
            "ssn",
            document(vec![(
                "explain",
                command("find", vec![("filter", filter(token()))]),
            )]),
        ),
        (
            "ssn",
            document(vec![(
                "explain",
                document(vec![("explain", text("c")), ("filter", filter(token()))]),
            )]),
        ),
    ];
    for (path, command) in refused {
        for reply in nothing() {
            let mut session = Session::new(&schema());
            let outcome = session.run(&command, &document(reply));
            assert_eq!(outcome.code(), PLAINTEXT, "{command:?}");
            assert_eq!(outcome.detail("path"), Some(path), "{command:?}");
            assert_eq!(outcome.detail("namespace"), Some("db.c"));
            assert!(!outcome.told().contains("tok3n"));
        }
    }
}

fn filter_of(name: &str, value: Value) -> Value {
    document(vec![(name, value)])
}

trait WithPath {
    fn with_path(self, path: &'static str) -> (&'static str, Value);
}

impl WithPath for (&'static str, Value) {
    fn with_path(self, path: &'static str) -> (&'static str, Value) {
        (path, self.1)
    }
}

#[test]
fn ordinary_commands_go_out_byte_for_byte() {
    let stored = || Value::Raw(5, analysis_support::binary(6, &payload(2)));
    let operator = |name: &'static str, value| document(vec![(name, value)]);
    let filter = |value| filter_of("ssn", value);
    let commands = [
        insert(stored()),
        command(
            "insert",
            vec![(
                "documents",
                array(vec![document(vec![("name", text("x")), ("a", int(1))])]),
            )],
        ),
        command(
            "find",
            vec![
                ("filter", filter(stored())),
                ("sort", filter(int(1))),
                ("projection", filter(int(1))),
                ("hint", filter(int(1))),
            ],
        ),
        command(
            "find",
            vec![
                (
                    "filter",
                    filter(operator("$exists", Value::Raw(8, vec![1]))),
                ),
                ("lsid", filter_of("id", int(1))),
            ],
        ),
        command(
            "find",
            vec![
                ("filter", filter_of("name", text("ssn"))),
                ("comment", filter(text("x"))),
            ],
        ),
        command(
            "update",
            vec![(
                "updates",
                array(vec![document(vec![
                    ("q", document(vec![])),
                    ("u", operator("$unset", filter(text("")))),
                ])]),
            )],
        ),
        command(
            "update",
            vec![(
                "updates",
                array(vec![document(vec![
                    ("q", document(vec![])),
                    ("u", operator("$rename", filter(text("x_pii")))),
                ])]),
            )],
        ),
        command(
            "aggregate",
            vec![
                (
                    "pipeline",
                    array(vec![
                        operator("$match", filter_of("name", text("x"))),
                        operator(
                            "$group",
                            document(vec![
                                ("_id", text("$ssn")),
                                ("n", operator("$sum", int(1))),
                                ("ssn", operator("$first", text("$ssn"))),
                            ]),
                        ),
                        operator("$project", filter(int(1))),
                        operator("$sort", filter(int(1))),
                        operator(
                            "$project",
                            filter_of(
                                "x",
                                operator(
                                    "$cond",
                                    array(vec![
                                        operator("$eq", array(vec![text("$name"), text("x")])),
                                        text("$ssn"),
                                        text("none"),
                                    ]),
                                ),
                            ),
                        ),
                    ]),
                ),
                ("cursor", document(vec![])),
            ],
        ),
        command(
            "createIndexes",
            vec![(
                "indexes",
                array(vec![document(vec![
                    ("key", filter(int(1))),
                    ("name", text("ssn_1")),
                ])]),
            )],
        ),
        command("distinct", vec![("key", text("ssn"))]),
    ];
    for command in commands {
        for reply in nothing() {
            let mut session = Session::new(&schema());
            let outcome = session.run(&command, &document(reply));
            assert_eq!(
                outcome.sent(),
                Some(&command.bytes()[..]),
                "{command:?} {:?}",
                outcome.code()
            );
        }
    }
}

#[test]
fn payloads_that_are_no_values_of_csfle_are_refused() {
    for kind in (0..=20).chain([255]) {
        let mut bytes = payload(2);
        bytes[0] = kind;
        let foreign = Value::Raw(5, analysis_support::binary(6, &bytes));
        let plain_path = command(
            "insert",
            vec![(
                "documents",
                array(vec![document(vec![("name", foreign.clone())])]),
            )],
        );
        let expected = |code| (!matches!(kind, 1 | 2)).then_some(code).flatten();
        for (command, code) in [(insert(foreign), PLAINTEXT), (plain_path, PAYLOAD)] {
            let mut session = Session::new(&schema());
            let reply = document(nothing().remove(0));
            assert_eq!(
                session.run(&command, &reply).code(),
                expected(code),
                "kind {kind}"
            );
            // Without an encrypted path the application's bytes are its own affair, as in libmongocrypt.
            let mut session = Session::new(&document(vec![("bsonType", text("object"))]));
            assert_eq!(
                session.run(&command, &reply).code(),
                None,
                "kind {kind}, no schema"
            );
        }
    }
    for length in [1, 18, 81, 83, 97] {
        let mut bytes = payload(2);
        bytes.resize(length, 7);
        let cut = Value::Raw(5, analysis_support::binary(6, &bytes));
        let reply = document(nothing().remove(0));
        assert_eq!(
            Session::new(&schema()).run(&insert(cut), &reply).code(),
            PLAINTEXT,
            "{length} bytes"
        );
    }
}

#[test]
fn an_analyser_cannot_put_anything_else_into_the_command() {
    let mark = |value: Value| marking(&value);
    let stored = |kind: u8| {
        let mut bytes = payload(2);
        bytes[0] = kind;
        Value::Raw(5, analysis_support::binary(6, &bytes))
    };
    let two = |one: Value, other: Value| {
        command(
            "insert",
            vec![(
                "documents",
                array(vec![document(vec![("ssn", one), ("x_pii", other)])]),
            )],
        )
    };
    let asked = two(text("tok3n"), text("other"));
    let cases = [
        (two(mark(text("tok3n")), mark(text("other"))), None),
        (two(mark(text("other")), mark(text("tok3n"))), ALTERED),
        (two(mark(text("tok3n")), text("other")), PLAINTEXT),
        (two(mark(text("tok3n")), mark(text("tok3n"))), ALTERED),
        // A placeholder of Queryable Encryption, alone and beside a marking.
        (two(stored(3), mark(text("other"))), ALTERED),
        // A ciphertext that nobody made.
        (two(stored(1), mark(text("other"))), ALTERED),
        (two(mark(text("tok3n")), mark(int(1))), ALTERED),
    ];
    for (result, expected) in cases {
        let reply = with_markings(result);
        let outcome = Session::new(&schema()).run(&asked, &reply);
        assert_eq!(outcome.code(), expected);
        assert!(!outcome.told().contains("tok3n"));
    }
}

#[test]
fn filters_may_be_written_in_another_way_but_with_nothing_else_in_them() {
    let operator = |name: &'static str, value| document(vec![(name, value)]);
    let find = |filter| command("find", vec![("filter", filter)]);
    let asked = find(document(vec![
        ("ssn", text("tok3n")),
        ("x_pii", text("other")),
        ("name", Value::Raw(11, b"ab\0i\0".to_vec())),
        ("n", int(5)),
    ]));
    let both = |ssn: Value, more: Vec<Value>| {
        let mut members = vec![
            filter_of("ssn", operator("$eq", ssn)),
            filter_of(
                "name",
                document(vec![("$regex", text("ab")), ("$options", text("i"))]),
            ),
            filter_of(
                "n",
                operator("$eq", Value::Raw(18, 5i64.to_le_bytes().to_vec())),
            ),
        ];
        members.extend(more);
        find(operator("$and", array(members)))
    };
    let other = || filter_of("x_pii", operator("$eq", marking(&text("other"))));
    let token = || marking(&text("tok3n"));
    let cases = [
        (both(token(), vec![other()]), None),
        (both(marking(&text("other")), vec![other()]), ALTERED),
        (
            both(token(), vec![other(), filter_of("name", text("tok3n"))]),
            ALTERED,
        ),
        (
            both(token(), vec![other(), filter_of("tok3n", int(1))]),
            ALTERED,
        ),
        (
            both(token(), vec![other(), filter_of("name", text("x-tok3n"))]),
            ALTERED,
        ),
        (
            both(
                token(),
                vec![
                    other(),
                    filter_of("name", Value::Raw(14, text("tok3n").bytes())),
                ],
            ),
            ALTERED,
        ),
        (
            both(
                token(),
                vec![filter_of("x_pii", operator("$eq", text("other")))],
            ),
            ALTERED,
        ),
    ];
    for (index, (result, expected)) in cases.into_iter().enumerate() {
        let reply = document(vec![("result", result)]);
        let outcome = Session::new(&schema()).run(&asked, &reply);
        assert_eq!(outcome.code(), expected, "case {index}");
    }
}

#[test]
fn encrypted_fields_without_fields_do_not_switch_a_schema_off() {
    let ask = |fields: Value| Session::with_encrypted_fields(&fields).made(&insert(text("tok3n")));
    for fields in [
        document(vec![]),
        document(vec![("escCollection", text("x"))]),
        document(vec![("fields", int(1))]),
        document(vec![("fields", document(vec![]))]),
        document(vec![("fields", Value::Raw(10, vec![]))]),
        int(1),
    ] {
        assert_eq!(ask(fields), Err(Code::SchemaInvalid));
    }
    // An empty list says nothing about CSFLE: the server is asked for its schema.
    assert_eq!(
        ask(document(vec![("fields", array(vec![]))])),
        Ok(Place::Server)
    );
    assert_eq!(
        ask(document(vec![("fields", array(vec![document(vec![])]))])),
        Err(Code::AutoEncryptionQueryable)
    );
}

#[test]
fn a_schema_that_cannot_be_followed_sends_nothing() {
    let leaf = rawdoc! { "encrypt": {} };
    for schema in [
        rawdoc! { "bsonType": "object", "anyOf": [{ "properties": { "ssn": leaf.clone() } }] },
        rawdoc! { "properties": { "ssn": { "encrypt": 1 } } },
        rawdoc! { "patternProperties": { "(?=ssn)": leaf } },
    ] {
        let schema = Value::Raw(3, schema.into_bytes());
        let reply = document(nothing().remove(0));
        let outcome = Session::new(&schema).run(&insert(text("tok3n")), &reply);
        assert_eq!(outcome.code(), Some(Code::SchemaInvalid));
        assert_eq!(outcome.detail("namespace"), Some("db.c"));
    }
}

#[test]
fn whatever_an_analyser_replies_the_token_stays_inside() {
    let cases = std::env::var("CSFLE_CASES").map_or(100_000, |cases| cases.parse().unwrap());
    let counts = analysis_support::mutations::run(cases, 7);
    println!("{counts}");
    assert_eq!(counts.leaks, 0);
    // The same replies would have given the token away without the check.
    assert!(counts.would_leak > cases / 20, "{counts}");
    assert!(counts.sent > cases / 50, "{counts}");
}
