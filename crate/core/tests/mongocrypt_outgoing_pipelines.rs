//! Pipelines: what they store at encrypted paths, what they compare with renamed values, and where they write.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod analysis_support;

use analysis_support::{
    Outcome, PLAINTEXT, Session, TOKEN, Value, array, document, int, nothing_to_encrypt, raw,
    schema, stages, text,
};
use bson::{RawDocumentBuf, rawdoc};

fn update(pipeline: Vec<RawDocumentBuf>) -> Value {
    raw(rawdoc! { "update": "c", "updates": [{ "q": {}, "u": stages(pipeline) }], "$db": "db" })
}

fn find_and_modify(pipeline: Vec<RawDocumentBuf>) -> Value {
    raw(rawdoc! { "findAndModify": "c", "query": {}, "update": stages(pipeline), "$db": "db" })
}

fn bulk_write(pipeline: Vec<RawDocumentBuf>) -> Value {
    raw(rawdoc! {
        "bulkWrite": 1,
        "ops": [{ "update": 0, "filter": {}, "updateMods": stages(pipeline) }],
        "nsInfo": [{ "ns": "db.c" }],
        "$db": "admin",
    })
}

fn aggregate(collection: &str, pipeline: Vec<RawDocumentBuf>) -> Value {
    raw(
        rawdoc! { "aggregate": collection, "pipeline": stages(pipeline), "cursor": {}, "$db": "db" },
    )
}

fn find(expression: RawDocumentBuf) -> Value {
    raw(rawdoc! { "find": "c", "filter": { "$expr": expression }, "$db": "db" })
}

/// `db.c` and `db.p` have the same schema, `db.q` encrypts nothing, `db.d` encrypts `other`.
fn run(command: &Value) -> Outcome {
    let plain = raw(rawdoc! { "bsonType": "object" });
    let other = raw(rawdoc! { "bsonType": "object", "properties": { "other": { "encrypt": {} } } });
    let mut session = Session::with_schemas(vec![
        ("db.c", schema()),
        ("db.p", schema()),
        ("db.q", plain),
        ("db.d", other),
    ]);
    let reply = nothing_to_encrypt();
    session.run(command, &reply)
}

fn assert_refused(command: &Value) {
    let outcome = run(command);
    assert_eq!(outcome.code(), PLAINTEXT, "{}", shown(command));
    assert!(!outcome.told().contains(TOKEN));
}

fn assert_sent(command: &Value) {
    let outcome = run(command);
    let told = outcome.told();
    assert_eq!(
        outcome.sent(),
        Some(&command.bytes()[..]),
        "{} {told}",
        shown(command)
    );
}

fn shown(command: &Value) -> String {
    format!("{:?}", RawDocumentBuf::from_bytes(command.bytes()).unwrap())
}

#[test]
fn what_is_stored_above_an_encrypted_path_is_known_field_by_field() {
    let leak = || rawdoc! { "b": TOKEN };
    let refused = [
        rawdoc! { "$set": { "a": { "$mergeObjects": ["$a", leak()] } } },
        rawdoc! { "$set": { "a": { "$mergeObjects": leak() } } },
        rawdoc! { "$set": { "a": { "$cond": [true, leak(), {}] } } },
        rawdoc! { "$set": { "a": { "$ifNull": ["$a", leak()] } } },
        rawdoc! { "$set": { "a": { "$switch": { "branches": [], "default": leak() } } } },
        rawdoc! { "$set": { "a": { "$map": { "input": [1], "in": leak() } } } },
        rawdoc! { "$set": { "a": { "$first": [[leak()]] } } },
        rawdoc! { "$set": { "a": { "$arrayElemAt": [[leak()], 0] } } },
        rawdoc! { "$set": { "a": { "$function": { "body": "x", "args": [leak()], "lang": "js" } } } },
        rawdoc! { "$set": { "a": { "$let": { "vars": { "v": TOKEN }, "in": { "b": "$$v" } } } } },
        rawdoc! { "$set": { "a": [{ "$mergeObjects": [leak()] }] } },
        rawdoc! { "$set": { "a": { "$literal": leak() } } },
        rawdoc! { "$set": { "a": "$zz" } },
        rawdoc! { "$set": { "a": "$$ROOT" } },
        rawdoc! { "$replaceWith": "$zz" },
        rawdoc! { "$replaceWith": "$a" },
        rawdoc! { "$replaceWith": { "$mergeObjects": ["$$ROOT", { "a": leak() }] } },
        rawdoc! { "$replaceRoot": { "newRoot": { "$mergeObjects": ["$$ROOT", { "ssn": TOKEN }] } } },
        rawdoc! { "$replaceWith": { "$setField": { "field": "ssn", "input": "$$ROOT", "value": TOKEN } } },
        rawdoc! { "$replaceWith": { "$arrayToObject": [[{ "k": "_id", "v": 1 }, { "k": "ssn", "v": TOKEN }]] } },
        rawdoc! { "$project": { "ssn": "$zz" } },
    ];
    for stage in refused {
        for command in [
            update(vec![stage.clone()]),
            find_and_modify(vec![stage.clone()]),
            aggregate(
                "c",
                vec![stage.clone(), rawdoc! { "$merge": { "into": "c" } }],
            ),
            aggregate("c", vec![stage.clone(), rawdoc! { "$out": "c" }]),
            aggregate(
                "c",
                vec![
                    rawdoc! { "$merge": { "into": "c", "whenMatched": stages(vec![stage.clone()]) } },
                ],
            ),
        ] {
            assert_refused(&command);
        }
    }
    assert_refused(&bulk_write(vec![
        rawdoc! { "$set": { "a": { "$mergeObjects": ["$a", leak()] } } },
    ]));
    // A name does not hold ciphertext because it did so earlier.
    assert_refused(&update(vec![
        rawdoc! { "$set": { "zz": "$ssn" } },
        rawdoc! { "$set": { "zz": TOKEN } },
        rawdoc! { "$set": { "ssn": "$zz" } },
    ]));
}

#[test]
fn ordinary_pipelines_that_write_are_sent() {
    let allowed = [
        rawdoc! { "$set": { "a": { "$mergeObjects": ["$a", { "c": 1 }] } } },
        rawdoc! { "$set": { "a": { "$mergeObjects": ["$a", { "b": "$ssn" }] } } },
        rawdoc! { "$set": { "a": { "c": 1, "b": "$a.b" } } },
        rawdoc! { "$set": { "a": "$$REMOVE" } },
        rawdoc! { "$set": { "a": "$a" } },
        rawdoc! { "$set": { "a": { "$literal": { "c": 1 } } } },
        rawdoc! { "$set": { "name": { "$concat": ["$name", "x"] }, "n": { "$add": ["$n", 1] } } },
        rawdoc! { "$set": { "n": { "$cond": [{ "$gt": ["$n", 3] }, 1, 2] } } },
        rawdoc! { "$replaceWith": { "$mergeObjects": ["$$ROOT", { "name": "x" }] } },
        rawdoc! { "$replaceWith": { "$mergeObjects": [{ "name": "x" }, "$$ROOT"] } },
        rawdoc! { "$replaceRoot": { "newRoot": "$$ROOT" } },
        rawdoc! { "$replaceRoot": { "newRoot": { "ssn": "$ssn", "a": "$a", "name": "y" } } },
        rawdoc! { "$project": { "ssn": 1, "name": 1 } },
        rawdoc! { "$unset": "name" },
    ];
    for stage in allowed {
        assert_sent(&update(vec![stage.clone()]));
        assert_sent(&find_and_modify(vec![stage.clone()]));
        assert_sent(&aggregate(
            "c",
            vec![stage, rawdoc! { "$merge": { "into": "c" } }],
        ));
    }
}

#[test]
fn a_pipeline_writes_to_no_other_collection_that_has_a_schema() {
    for target in ["p", "d"] {
        for source in ["q", "c"] {
            for stage in [
                rawdoc! { "$merge": { "into": target } },
                rawdoc! { "$merge": target },
                rawdoc! { "$merge": { "into": { "db": "db", "coll": target } } },
                rawdoc! { "$merge": { "into": target, "whenMatched": [{ "$set": { "ssn": TOKEN } }] } },
                rawdoc! { "$out": target },
                rawdoc! { "$out": { "db": "db", "coll": target } },
            ] {
                assert_refused(&aggregate(source, vec![stage.clone()]));
                let set = rawdoc! { "$set": { "ssn": TOKEN } };
                assert_refused(&aggregate(source, vec![set, stage]));
            }
        }
    }
    for stage in [
        rawdoc! { "$merge": { "into": "z" } },
        rawdoc! { "$out": "z" },
    ] {
        let set = rawdoc! { "$set": { "name": TOKEN } };
        assert_sent(&aggregate("q", vec![set, stage]));
    }
}

#[test]
fn expressions_see_constants_and_names_inside_of_others() {
    let refused = [
        rawdoc! { "$eq": ["$a", { "b": TOKEN }] },
        rawdoc! { "$eq": ["$a", { "c": "$ssn", "b": TOKEN }] },
        rawdoc! { "$eq": [{ "$getField": "ssn" }, TOKEN] },
        rawdoc! { "$eq": [{ "$getField": { "field": "ssn", "input": "$$ROOT" } }, TOKEN] },
        rawdoc! { "$eq": [{ "$getField": { "field": { "$literal": "ssn" }, "input": "$$ROOT" } }, TOKEN] },
        rawdoc! { "$eq": [{ "$getField": { "$concat": ["s", "sn"] } }, TOKEN] },
        rawdoc! { "$let": { "vars": { "r": "$$ROOT" }, "in": { "$eq": ["$$r.ssn", TOKEN] } } },
        rawdoc! { "$let": { "vars": { "r": "$a" }, "in": { "$eq": ["$$r.b", TOKEN] } } },
        rawdoc! { "$anyElementTrue": { "$map": { "input": "$a", "in": { "$eq": ["$$this.b", TOKEN] } } } },
        rawdoc! { "$anyElementTrue": { "$map": { "input": [TOKEN], "in": { "$eq": ["$ssn", "$$this"] } } } },
        rawdoc! { "$let": { "vars": { "CURRENT": "$a" }, "in": { "$eq": ["$b", TOKEN] } } },
        rawdoc! { "$in": [{ "k": "ssn", "v": TOKEN }, { "$objectToArray": "$$ROOT" }] },
        rawdoc! { "$eq": ["$$ROOT", { "$arrayToObject": [[["ssn", TOKEN]]] }] },
        rawdoc! { "$eq": ["$ssn", { "$concat": [TOKEN] }] },
        rawdoc! { "$eq": ["$ssn", { "$toString": { "$literal": TOKEN } }] },
        rawdoc! { "$eq": ["$ssn", { "$cond": ["$x", TOKEN, "$y"] }] },
        rawdoc! { "$eq": ["$ssn", { "$ifNull": ["$name", TOKEN] }] },
    ];
    for expression in refused {
        assert_refused(&find(expression));
    }
    let allowed = [
        rawdoc! { "$eq": ["$name", TOKEN] },
        rawdoc! { "$eq": ["$name", "ssn"] },
        rawdoc! { "$in": ["$name", ["ssn", "x"]] },
        rawdoc! { "$eq": ["$name", { "$concat": ["x", "y"] }] },
        rawdoc! { "$gt": [{ "$getField": "n" }, 5] },
        rawdoc! { "$gt": [{ "$getField": { "field": { "$const": "n" }, "input": "$$CURRENT" } }, 5] },
        rawdoc! { "$let": { "vars": { "r": "$a" }, "in": { "$eq": ["$$r.c", "x"] } } },
        rawdoc! { "$eq": ["$ssn", "$x_pii"] },
        rawdoc! { "$anyElementTrue": { "$map": { "input": "$a", "in": { "$eq": ["$$this.c", "x"] } } } },
        rawdoc! { "$and": [{ "$eq": ["$name", "x"] }, { "$gt": ["$n", 5] }] },
    ];
    for expression in allowed {
        assert_sent(&find(expression));
    }
}

#[test]
fn a_renamed_value_is_still_encrypted() {
    let matched = |name: &str| {
        let filter = document(vec![(name, text(TOKEN))]);
        RawDocumentBuf::from_bytes(document(vec![("$match", filter)]).bytes()).unwrap()
    };
    let refused = [
        (rawdoc! { "$project": { "o": "$ssn" } }, "o"),
        (rawdoc! { "$addFields": { "o": "$ssn" } }, "o"),
        (rawdoc! { "$set": { "o": { "s": "$ssn" } } }, "o.s"),
        (rawdoc! { "$set": { "o.s": "$ssn" } }, "o.s"),
        (rawdoc! { "$set": { "o": "$a" } }, "o.b"),
        (rawdoc! { "$set": { "o": "$$ROOT" } }, "o.ssn"),
        (
            rawdoc! { "$set": { "o": { "$ifNull": ["$ssn", null] } } },
            "o",
        ),
        (rawdoc! { "$set": { "o": { "$getField": "ssn" } } }, "o"),
        (rawdoc! { "$group": { "_id": "$ssn" } }, "_id"),
        (rawdoc! { "$group": { "_id": { "s": "$ssn" } } }, "_id.s"),
        (
            rawdoc! { "$group": { "_id": 1, "o": { "$push": "$ssn" } } },
            "o",
        ),
        (
            rawdoc! { "$group": { "_id": 1, "o": { "$push": "$$ROOT" } } },
            "o.ssn",
        ),
        (rawdoc! { "$replaceRoot": { "newRoot": "$a" } }, "b"),
        (rawdoc! { "$replaceWith": "$a" }, "b"),
        (rawdoc! { "$replaceWith": { "o": "$ssn" } }, "o"),
        (
            rawdoc! { "$replaceWith": { "$mergeObjects": ["$$ROOT", "$a"] } },
            "b",
        ),
        (
            rawdoc! { "$replaceWith": { "$arrayToObject": { "$objectToArray": "$a" } } },
            "b",
        ),
        (rawdoc! { "$sortByCount": "$ssn" }, "_id"),
        (
            rawdoc! { "$bucketAuto": { "groupBy": "$ssn", "buckets": 2 } },
            "_id",
        ),
        (
            rawdoc! { "$facet": { "f": [{ "$project": { "o": "$ssn" } }] } },
            "f.o",
        ),
        (
            rawdoc! { "$lookup": { "from": "c", "pipeline": [{ "$project": { "o": "$ssn" } }], "as": "j" } },
            "j.o",
        ),
        (
            rawdoc! { "$unionWith": { "coll": "c", "pipeline": [{ "$project": { "o": "$ssn" } }] } },
            "o",
        ),
    ];
    for (stage, name) in refused {
        let later = matched(name);
        assert_refused(&aggregate("c", vec![stage.clone(), later.clone()]));
        let inner = stages(vec![stage.clone(), later.clone()]);
        if stage.get("$facet").unwrap().is_none() {
            assert_refused(&aggregate("c", vec![rawdoc! { "$facet": { "x": inner } }]));
        }
        // Without the value the pipeline is ordinary.
        assert_sent(&aggregate("c", vec![stage.clone()]));
        assert_sent(&aggregate(
            "c",
            vec![
                stage,
                rawdoc! { "$limit": 1 },
                rawdoc! { "$sort": { "n": 1 } },
            ],
        ));
    }
    let allowed = [
        (rawdoc! { "$project": { "o": "$name" } }, "o"),
        (rawdoc! { "$project": { "o": "$a" } }, "o.c"),
        (
            rawdoc! { "$group": { "_id": "$ssn", "n": { "$sum": 1 } } },
            "n",
        ),
        (
            rawdoc! { "$group": { "_id": { "s": "$ssn", "m": "$name" } } },
            "_id.m",
        ),
        (rawdoc! { "$replaceRoot": { "newRoot": "$a" } }, "c"),
        (
            rawdoc! { "$replaceWith": { "$mergeObjects": ["$$ROOT", { "x": 1 }] } },
            "x",
        ),
    ];
    for (stage, name) in allowed {
        assert_sent(&aggregate("c", vec![stage, matched(name)]));
    }
}

#[test]
fn other_stages_hold_no_constant_beside_an_encrypted_path() {
    let refused = [
        rawdoc! { "$graphLookup": { "from": "c", "startWith": TOKEN, "connectFromField": "x", "connectToField": "ssn", "as": "g" } },
        rawdoc! { "$graphLookup": { "from": "p", "startWith": TOKEN, "connectFromField": "x", "connectToField": "ssn", "as": "g" } },
        rawdoc! { "$setWindowFields": { "output": { "o": { "$shift": { "output": "$ssn", "by": 1, "default": TOKEN } } } } },
        rawdoc! { "$setWindowFields": { "output": { "o": { "window": {}, "$shift": { "output": "$ssn", "by": 1, "default": TOKEN } } } } },
        rawdoc! { "$densify": { "field": "ssn", "range": { "step": 1, "bounds": [TOKEN, "z"] } } },
        rawdoc! { "$fill": { "output": { "ssn": { "value": TOKEN } } } },
        rawdoc! { "$search": { "text": { "query": TOKEN, "path": "ssn" } } },
        rawdoc! { "$searchMeta": { "equals": { "value": TOKEN, "path": "a.b" } } },
    ];
    for stage in refused {
        assert_refused(&aggregate("c", vec![stage]));
    }
    let allowed = [
        rawdoc! { "$graphLookup": { "from": "c", "startWith": "$x", "connectFromField": "x", "connectToField": "y", "as": "g" } },
        rawdoc! { "$search": { "text": { "query": TOKEN, "path": "name" } } },
        rawdoc! { "$fill": { "output": { "n": { "value": 0 } } } },
    ];
    for stage in allowed {
        assert_sent(&aggregate("c", vec![stage]));
    }
}

#[test]
fn a_view_is_checked_with_the_schema_below_it() {
    let view = |filter: RawDocumentBuf| {
        raw(
            rawdoc! { "create": "v", "viewOn": "p", "pipeline": [{ "$match": filter }], "$db": "db" },
        )
    };
    assert_refused(&view(rawdoc! { "ssn": TOKEN }));
    assert_sent(&view(rawdoc! { "name": TOKEN }));
}

#[test]
fn a_filter_of_array_elements_compares_no_encrypted_name() {
    let command = |filter: RawDocumentBuf| {
        document(vec![
            ("update", text("c")),
            (
                "updates",
                array(vec![document(vec![
                    ("q", document(vec![])),
                    ("u", raw(rawdoc! { "$set": { "list.$[e].x": 1 } })),
                    ("arrayFilters", array(vec![raw(filter)])),
                    ("upsert", int(0)),
                ])]),
            ),
            ("$db", text("db")),
        ])
    };
    assert_refused(&command(rawdoc! { "e.b": TOKEN }));
    assert_refused(&command(rawdoc! { "e.x_pii": { "$in": [TOKEN] } }));
    assert_refused(&command(rawdoc! { "$or": [{ "e.deep.ssn": TOKEN }] }));
    assert_sent(&command(rawdoc! { "e.name": TOKEN }));
}

#[test]
fn a_variable_is_not_taken_for_a_field_of_the_same_name() {
    for value in ["$$v.ssn", "$$v.0.ssn", "$$v"] {
        assert_refused(&aggregate(
            "c",
            vec![rawdoc! { "$merge": {
                "into": "c",
                "let": { "v": "$plain" },
                "whenMatched": [{ "$set": { "ssn": value } }],
            } }],
        ));
    }
}
