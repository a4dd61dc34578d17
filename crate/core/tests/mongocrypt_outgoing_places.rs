//! Less usual places of a command that hold values: projections, sub-pipelines, events, schemas, containers of a wrong type.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod analysis_support;

use analysis_support::{
    Outcome, PLAINTEXT, Session, TOKEN, Value, document, nothing_to_encrypt, raw, schema, stages,
    text,
};
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

fn aggregate(collection: &str, pipeline: Vec<RawDocumentBuf>) -> RawDocumentBuf {
    rawdoc! { "aggregate": collection, "pipeline": stages(pipeline), "cursor": {}, "$db": "db" }
}

fn update(change: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "update": "c", "updates": [{ "q": {}, "u": change }], "$db": "db" }
}

fn find(filter: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "find": "c", "filter": filter, "$db": "db" }
}

fn matched_by(name: &str, value: Value) -> RawDocumentBuf {
    let stage = document(vec![("$match", document(vec![(name, value)]))]);
    RawDocumentBuf::from_bytes(stage.bytes()).unwrap()
}

/// `db.c` has the schema of the support, `db.d` encrypts nothing.
fn run(command: &RawDocumentBuf) -> Outcome {
    let plain = raw(rawdoc! { "bsonType": "object" });
    let mut session = Session::with_schemas(vec![("db.c", schema()), ("db.d", plain)]);
    let reply = nothing_to_encrypt();
    session.run(&raw(command.clone()), &reply)
}

fn assert_refused(commands: Vec<RawDocumentBuf>) {
    for command in commands {
        let outcome = run(&command);
        assert_eq!(outcome.code(), PLAINTEXT, "{command:?}");
        assert!(!outcome.told().contains(TOKEN));
    }
}

fn assert_sent(commands: Vec<RawDocumentBuf>) {
    for command in commands {
        let outcome = run(&command);
        let told = outcome.told();
        assert_eq!(
            outcome.sent(),
            Some(command.as_bytes()),
            "{command:?} {told}"
        );
    }
}

/// In `find`, `findAndModify` and `explain`.
fn projections(projection: &RawDocumentBuf) -> Vec<RawDocumentBuf> {
    let shown = || projection.clone();
    vec![
        rawdoc! { "find": "c", "filter": {}, "projection": shown(), "$db": "db" },
        rawdoc! { "findAndModify": "c", "query": {}, "remove": true, "fields": shown(), "$db": "db" },
        rawdoc! { "explain": { "find": "c", "filter": {}, "projection": shown() }, "$db": "db" },
        aggregate("c", vec![rawdoc! { "$project": shown() }]),
    ]
}

#[test]
fn a_projection_holds_no_value_of_an_encrypted_path() {
    for projection in [
        rawdoc! { "ssn": { "$elemMatch": { "$eq": TOKEN } } },
        rawdoc! { "ssn": { "$elemMatch": { "x": TOKEN } } },
        rawdoc! { "ssn": { "$future": TOKEN } },
        rawdoc! { "ssn": { "$cond": [true, TOKEN, "$ssn"] } },
        rawdoc! { "ssn": { "$slice": TOKEN } },
        rawdoc! { "ssn": { "$slice": [TOKEN, 1] } },
        rawdoc! { "ssn": { "$slice": [41, "$n"] } },
        rawdoc! { "ssn": { "$slice": ["$ssn", TOKEN] } },
        rawdoc! { "a": { "$slice": [[{ "b": TOKEN }], 1] } },
        rawdoc! { "a": { "$slice": ["$a", TOKEN] } },
        rawdoc! { "a": { "$slice": [{ "$concatArrays": ["$a", [{ "b": TOKEN }]] }, 1] } },
        rawdoc! { "x": { "$eq": [{ "$slice": ["$ssn", 1] }, TOKEN] } },
        rawdoc! { "x": { "$eq": [{ "$arrayElemAt": ["$a.b", 0] }, TOKEN] } },
        rawdoc! { "x": { "$arrayElemAt": ["$a.b", TOKEN] } },
        rawdoc! { "ssn": { "$slice": 1, "x": TOKEN } },
        rawdoc! { "ssn": { "$meta": "tok3n" } },
        rawdoc! { "a": { "$slice": TOKEN } },
        rawdoc! { "a": { "$ifNull": ["$a", { "b": TOKEN }] } },
        rawdoc! { "a": { "$map": { "input": "$a", "in": { "b": TOKEN } } } },
        rawdoc! { "a": { "$future": [[{ "b": TOKEN }]] } },
        rawdoc! { "a": { "$slice": 1, "b": TOKEN } },
        rawdoc! { "x": { "$eq": ["$name", 1], "$ne": ["$ssn", TOKEN] } },
    ] {
        assert_refused(projections(&projection));
    }
    assert_refused(vec![
        rawdoc! { "find": "c", "filter": {}, "projection": { "a": { "$elemMatch": { "b": TOKEN } } }, "$db": "db" },
    ]);
    for projection in [
        rawdoc! { "ssn": 1, "a": true, "_id": 0 },
        rawdoc! { "ssn": 0.0, "a.b": false },
        rawdoc! { "ssn": { "$slice": 1 }, "a": { "$slice": [1, 2] } },
        rawdoc! { "ssn": { "$slice": ["$ssn", 2] }, "a": { "$slice": ["$a", 2] } },
        rawdoc! { "ssn": { "$slice": [{ "$ifNull": ["$ssn", "$x_pii"] }, 2] } },
        rawdoc! { "a": { "$slice": [{ "$ifNull": ["$a", "$l"] }, -2, 1] } },
        rawdoc! { "x": { "$slice": ["$a", 2] }, "y": { "$slice": ["$ssn", -1] } },
        rawdoc! { "x": { "$arrayElemAt": ["$a.b", 0] }, "y": { "$size": { "$slice": ["$a", 2] } } },
        rawdoc! { "ssn": { "$meta": "textScore" } },
        rawdoc! { "a": { "$ifNull": ["$a", { "b": "$ssn", "c": 1 }] } },
        rawdoc! { "ssn": { "$ifNull": ["$ssn", "$x_pii"] }, "n": { "$add": ["$n", 1] } },
    ] {
        assert_sent(projections(&projection));
    }
}

#[test]
fn a_part_of_an_array_is_stored_where_the_array_may_be() {
    let stored = |projection: RawDocumentBuf| {
        let merge = rawdoc! { "$merge": { "into": "c" } };
        aggregate("c", vec![rawdoc! { "$project": projection }, merge])
    };
    let set = |fields: RawDocumentBuf| {
        let pipeline = stages(vec![rawdoc! { "$set": fields }]);
        rawdoc! { "update": "c", "updates": [{ "q": {}, "u": pipeline }], "$db": "db" }
    };
    for write in [&stored as &dyn Fn(RawDocumentBuf) -> RawDocumentBuf, &set] {
        assert_refused(vec![
            write(rawdoc! { "ssn": { "$slice": ["$name", 1] } }),
            write(rawdoc! { "a": { "$slice": ["$name", 1] } }),
            write(rawdoc! { "a": { "$slice": ["$a", TOKEN] } }),
            write(rawdoc! { "a": { "$slice": [[{ "b": "$name" }], 1] } }),
        ]);
        assert_sent(vec![
            write(rawdoc! { "a": { "$slice": ["$a", 1] } }),
            write(rawdoc! { "n": { "$slice": ["$name", 1] } }),
        ]);
    }
}

#[test]
fn a_variable_keeps_its_meaning_in_the_pipeline_of_another_collection() {
    let matched = |left: &str| {
        stages(vec![
            rawdoc! { "$match": { "$expr": { "$eq": [left, TOKEN] } } },
        ])
    };
    let lookup = |value: &str, pipeline: RawArrayBuf| {
        rawdoc! { "$lookup": { "from": "d", "let": { "x": value }, "pipeline": pipeline, "as": "o" } }
    };
    let later = |name: &str| matched_by(name, text(TOKEN));
    let keep = |value: &str| stages(vec![rawdoc! { "$project": { "k": value } }]);
    let inner = || lookup("$$x", matched("$$x"));
    assert_refused(vec![
        aggregate("c", vec![lookup("$ssn", matched("$$x"))]),
        aggregate("c", vec![lookup("$a", matched("$$x.b"))]),
        aggregate("c", vec![lookup("$$ROOT", matched("$$x.ssn"))]),
        aggregate("c", vec![lookup("$ssn", stages(vec![inner()]))]),
        rawdoc! { "explain": aggregate("c", vec![lookup("$ssn", matched("$$x"))]), "$db": "db" },
        rawdoc! { "explain": aggregate("d", vec![rawdoc! { "$lookup": { "from": "c", "pipeline": stages(vec![later("ssn")]), "as": "o" } }]), "$db": "db" },
        aggregate(
            "c",
            vec![lookup(
                "$ssn",
                stages(vec![
                    rawdoc! { "$lookup": { "from": "d", "pipeline": matched("$$x"), "as": "p" } },
                ]),
            )],
        ),
        aggregate(
            "c",
            vec![lookup(
                "$ssn",
                stages(vec![rawdoc! { "$facet": { "f": matched("$$x") } }]),
            )],
        ),
        aggregate(
            "c",
            vec![lookup(
                "$ssn",
                stages(vec![
                    rawdoc! { "$unionWith": { "coll": "d", "pipeline": matched("$$x") } },
                ]),
            )],
        ),
        aggregate(
            "c",
            vec![lookup(
                "$ssn",
                stages(vec![rawdoc! { "$set": { "k": "$$x" } }, later("k")]),
            )],
        ),
        aggregate("c", vec![lookup("$ssn", keep("$$x")), later("o.k")]),
        aggregate("c", vec![lookup("$$ROOT", keep("$$x")), later("o.k.ssn")]),
        aggregate("c", vec![lookup("$a", keep("$$x.b")), later("o.k")]),
        aggregate(
            "c",
            vec![rawdoc! { "$facet": { "f": stages(vec![lookup("$ssn", matched("$$x"))]) } }],
        ),
        aggregate(
            "c",
            vec![
                rawdoc! { "$lookup": { "from": "d", "localField": "ssn", "foreignField": "q", "pipeline": stages(vec![later("q")]), "as": "o" } },
            ],
        ),
    ]);
    let plain = |value: &str, name: &str| {
        let filter = rawdoc! { "$expr": { "$eq": [name, "x"] } };
        lookup(value, stages(vec![rawdoc! { "$match": filter }]))
    };
    assert_sent(vec![
        aggregate("c", vec![plain("$name", "$$x")]),
        aggregate("c", vec![plain("$ssn", "$n")]),
        aggregate("c", vec![plain("$$ROOT", "$$x.name")]),
        aggregate(
            "c",
            vec![
                lookup("$$ROOT", keep("$$x")),
                rawdoc! { "$match": { "o.k.name": "x" } },
            ],
        ),
        aggregate(
            "c",
            vec![lookup(
                "$ssn",
                stages(vec![
                    rawdoc! { "$match": { "$expr": { "$eq": ["$s", "$$x"] } } },
                ]),
            )],
        ),
        aggregate(
            "c",
            vec![lookup(
                "$ssn",
                stages(vec![
                    rawdoc! { "$replaceWith": { "$mergeObjects": ["$$ROOT", { "n": 1 }] } },
                ]),
            )],
        ),
    ]);
}

#[test]
fn a_constant_of_an_earlier_stage_meets_no_encrypted_value() {
    let set = |value: RawDocumentBuf| rawdoc! { "$set": value };
    let equal = |name: &str| rawdoc! { "$match": { "$expr": { "$eq": [name, "$ssn"] } } };
    let lookup = || rawdoc! { "$lookup": { "from": "c", "localField": "q", "foreignField": "ssn", "as": "o" } };
    assert_refused(vec![
        aggregate("c", vec![set(rawdoc! { "q": TOKEN }), equal("$q")]),
        aggregate(
            "c",
            vec![set(rawdoc! { "q": { "r": TOKEN } }), equal("$q.r")],
        ),
        aggregate(
            "c",
            vec![
                set(rawdoc! { "q": TOKEN }),
                set(rawdoc! { "z": "$q" }),
                equal("$z"),
            ],
        ),
        aggregate(
            "c",
            vec![rawdoc! { "$addFields": { "q": 41 } }, equal("$q")],
        ),
        aggregate("c", vec![set(rawdoc! { "q": TOKEN }), lookup()]),
        aggregate("d", vec![set(rawdoc! { "q": TOKEN }), lookup()]),
        aggregate(
            "d",
            vec![rawdoc! { "$replaceWith": { "q": TOKEN } }, lookup()],
        ),
    ]);
    assert_sent(vec![
        aggregate("d", vec![set(rawdoc! { "p": TOKEN }), lookup()]),
        aggregate(
            "c",
            vec![rawdoc! { "$project": { "q": 1, "ssn": 1 } }, equal("$q")],
        ),
        aggregate(
            "c",
            vec![
                rawdoc! { "$group": { "_id": "$ssn", "n": { "$sum": 1 } } },
                rawdoc! { "$sort": { "n": 1 } },
            ],
        ),
    ]);
}

#[test]
fn events_and_reports_name_encrypted_paths_below_others() {
    let event = || rawdoc! { "$changeStream": { "fullDocument": "updateLookup" } };
    for (name, value) in [
        ("fullDocument.ssn", rawdoc! { "$eq": TOKEN }),
        ("fullDocument", rawdoc! { "ssn": TOKEN }),
        ("fullDocumentBeforeChange.a.b", rawdoc! { "$eq": TOKEN }),
        ("documentKey.ssn", rawdoc! { "$eq": TOKEN }),
        (
            "updateDescription.updatedFields.ssn",
            rawdoc! { "$in": [TOKEN] },
        ),
        (
            "updateDescription",
            rawdoc! { "updatedFields": { "ssn": TOKEN } },
        ),
    ] {
        let matched = matched_by(name, raw(value));
        let pipeline = vec![event(), matched];
        assert_refused(vec![
            aggregate("c", pipeline.clone()),
            rawdoc! { "explain": aggregate("c", pipeline), "$db": "db" },
        ]);
    }
    assert_refused(vec![
        aggregate(
            "c",
            vec![
                event(),
                rawdoc! { "$match": { "$expr": { "$eq": ["$fullDocument.ssn", TOKEN] } } },
            ],
        ),
        aggregate(
            "c",
            vec![
                event(),
                rawdoc! { "$project": { "o": "$fullDocument.ssn" } },
                rawdoc! { "$match": { "o": TOKEN } },
            ],
        ),
    ]);
    assert_sent(vec![
        aggregate(
            "c",
            vec![
                event(),
                rawdoc! { "$match": { "operationType": "insert", "fullDocument.name": TOKEN } },
            ],
        ),
        aggregate(
            "c",
            vec![event(), rawdoc! { "$project": { "fullDocument.ssn": 1 } }],
        ),
    ]);
    for stage in [
        rawdoc! { "$queryStats": {} },
        rawdoc! { "$planCacheStats": {} },
        rawdoc! { "$currentOp": {} },
        rawdoc! { "$collStats": { "count": {} } },
        rawdoc! { "$indexStats": {} },
        rawdoc! { "$futureStage": {} },
    ] {
        let matched = |filter: RawDocumentBuf| {
            aggregate("c", vec![stage.clone(), rawdoc! { "$match": filter }])
        };
        assert_refused(vec![
            matched(rawdoc! { "command.filter.ssn": TOKEN }),
            matched(rawdoc! { "key.queryShape.filter.a.b": { "$eq": TOKEN } }),
            matched(rawdoc! { "command.filter.ssn.$eq": TOKEN }),
            matched(rawdoc! { "command": { "filter": { "ssn": TOKEN } } }),
            matched(rawdoc! { "$expr": { "$eq": ["$command.filter.ssn", TOKEN] } }),
        ]);
        assert_sent(vec![
            matched(rawdoc! { "command.filter.name": TOKEN }),
            matched(rawdoc! { "command": { "filter": { "name": TOKEN } } }),
        ]);
    }
}

/// In validators and in filters.
fn with_schema(schema: &RawDocumentBuf) -> Vec<RawDocumentBuf> {
    let filter = || rawdoc! { "$jsonSchema": schema.clone() };
    vec![
        find(filter()),
        find(rawdoc! { "$nor": [filter()] }),
        aggregate("c", vec![rawdoc! { "$match": filter() }]),
        rawdoc! { "create": "c", "validator": filter(), "$db": "db" },
        rawdoc! { "collMod": "c", "validator": filter(), "$db": "db" },
        rawdoc! { "collMod": "c", "validator": { "$and": [filter()] }, "$db": "db" },
        rawdoc! { "create": "v", "viewOn": "c", "pipeline": [{ "$match": filter() }], "$db": "db" },
    ]
}

#[test]
fn a_schema_in_a_command_compares_no_encrypted_path() {
    let values = || rawdoc! { "enum": [TOKEN] };
    for schema in [
        rawdoc! { "properties": { "ssn": values() } },
        rawdoc! { "properties": { "ssn": { "const": TOKEN } } },
        rawdoc! { "properties": { "ssn": { "pattern": TOKEN } } },
        rawdoc! { "properties": { "ssn": { "items": { "not": values() } } } },
        rawdoc! { "properties": { "ssn": { "properties": { "x": values() } } } },
        rawdoc! { "properties": { "a": { "enum": [{ "b": TOKEN }] } } },
        rawdoc! { "properties": { "a": { "items": { "properties": { "b": values() } } } } },
        rawdoc! { "properties": { "a": { "additionalProperties": values() } } },
        rawdoc! { "properties": { "x_pii": { "minimum": 41 } } },
        rawdoc! { "enum": [{ "ssn": TOKEN }] },
        rawdoc! { "patternProperties": { "^ssn$": values() } },
        rawdoc! { "patternProperties": { "(?i)SSN": values() } },
        rawdoc! { "additionalProperties": values() },
        rawdoc! { "allOf": [{ "anyOf": [{ "oneOf": [{ "not": { "properties": { "ssn": values() } } }] }] }] },
        rawdoc! { "dependencies": { "n": { "properties": { "ssn": values() } } } },
        rawdoc! { "futureKeyword": [{ "properties": { "ssn": values() } }] },
    ] {
        assert_refused(with_schema(&schema));
    }
    for schema in [
        rawdoc! { "required": ["ssn"], "properties": { "ssn": { "bsonType": "binData" }, "name": values() } },
        rawdoc! { "properties": { "a": { "bsonType": "object", "properties": { "c": values() } } } },
        rawdoc! { "properties": { "a": { "patternProperties": { "^c": values() } } } },
        rawdoc! { "properties": { "a": { "properties": { "b": {} }, "additionalProperties": values() } } },
        rawdoc! { "additionalProperties": false, "minProperties": 2 },
    ] {
        assert_sent(with_schema(&schema));
    }
    assert_sent(vec![with_validator(&rawdoc! {
        "properties": { "ssn": { "encrypt": { "bsonType": "string" } } },
    })]);
}

fn with_validator(schema: &RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "create": "c", "validator": { "$jsonSchema": schema.clone() }, "$db": "db" }
}

#[test]
fn the_schema_that_says_what_is_encrypted_is_no_filter() {
    // Without `encrypt` these keywords would compare encrypted values.
    let with_pattern = |pattern: &str| {
        rawdoc! { "properties": { "ssn": { "encrypt": {}, "pattern": pattern } }, "enum": [{ "ssn": pattern }] }
    };
    let own = with_pattern("one");
    let mut session = Session::new(&raw(own.clone()));
    let nothing = nothing_to_encrypt();
    let mut run = |schema: &RawDocumentBuf| session.run(&raw(with_validator(schema)), &nothing);
    assert_eq!(run(&own).sent(), Some(with_validator(&own).as_bytes()));
    assert_eq!(run(&with_pattern("other")).code(), PLAINTEXT);
}

#[test]
fn operands_that_say_nothing_of_a_value_hold_none() {
    let value = || rawdoc! { "ssn": TOKEN };
    assert_refused(vec![
        update(rawdoc! { "$unset": value() }),
        update(rawdoc! { "$unset": { "a": { "b": TOKEN } } }),
        update(
            rawdoc! { "$pull": { "a": { "$jsonSchema": { "properties": { "b": { "enum": [TOKEN] } } } } } },
        ),
        update(rawdoc! { "$pull": { "a": { "$in": [{ "b": TOKEN }] } } }),
        find(rawdoc! { "ssn": { "$exists": TOKEN } }),
        find(rawdoc! { "a": { "$future": { "x": { "b": TOKEN } } } }),
        aggregate(
            "c",
            vec![
                rawdoc! { "$geoNear": { "near": [TOKEN, 1], "key": "ssn", "distanceField": "d" } },
            ],
        ),
        aggregate(
            "c",
            vec![
                rawdoc! { "$geoNear": { "near": { "type": "Point", "coordinates": [1, 2] }, "key": "a.b", "distanceField": "d" } },
            ],
        ),
    ]);
    assert_sent(vec![
        update(rawdoc! { "$unset": { "ssn": "", "a": 1, "x_pii": true } }),
        update(rawdoc! { "$pull": { "a": { "c": TOKEN } } }),
        update(rawdoc! { "$pull": { "a": { "c": { "$in": [TOKEN] } } } }),
        find(
            rawdoc! { "ssn": { "$exists": 1 }, "a": { "$size": 2, "$elemMatch": { "c": TOKEN } } },
        ),
        aggregate(
            "c",
            vec![rawdoc! { "$geoNear": { "near": [1, 2], "key": "place", "distanceField": "d" } }],
        ),
    ]);
}

#[test]
fn containers_of_another_type_are_refused() {
    let value = || rawdoc! { "ssn": TOKEN };
    let zero = || rawdoc! { "0": value() };
    assert_refused(vec![
        rawdoc! { "insert": "c", "documents": zero(), "$db": "db" },
        rawdoc! { "insert": "c", "documents": [[value()]], "$db": "db" },
        rawdoc! { "update": "c", "updates": [[{ "q": {}, "u": { "$set": value() } }]], "$db": "db" },
        rawdoc! { "update": "c", "updates": { "0": { "q": {}, "u": { "$set": value() } } }, "$db": "db" },
        rawdoc! { "update": "c", "updates": [{ "q": {}, "u": { "$set": [value()] } }], "$db": "db" },
        rawdoc! { "update": "c", "updates": [{ "q": [value()], "u": { "$set": { "n": 1 } } }], "$db": "db" },
        rawdoc! { "delete": "c", "deletes": { "0": { "q": value(), "limit": 1 } }, "$db": "db" },
        rawdoc! { "find": "c", "filter": [value()], "$db": "db" },
        rawdoc! { "find": "c", "filter": { "$and": zero() }, "$db": "db" },
        rawdoc! { "find": "c", "filter": { "$and": [[value()]] }, "$db": "db" },
        rawdoc! { "createIndexes": "c", "indexes": { "0": { "key": { "n": 1 }, "name": "n", "partialFilterExpression": value() } }, "$db": "db" },
        rawdoc! {
            "bulkWrite": 1, "ops": { "0": { "insert": 0, "document": value() } }, "nsInfo": [{ "ns": "db.c" }], "$db": "admin",
        },
        rawdoc! {
            "bulkWrite": 1, "ops": [{ "insert": 0, "document": [value()] }], "nsInfo": [{ "ns": "db.c" }], "$db": "admin",
        },
        aggregate("c", vec![rawdoc! { "$limit": 1, "$match": value() }]),
        aggregate(
            "c",
            vec![rawdoc! { "$facet": { "f": [rawdoc! { "$limit": 1, "$match": value() }] } }],
        ),
    ]);
}
