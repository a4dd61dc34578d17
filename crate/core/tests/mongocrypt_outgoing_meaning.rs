//! What an honest analyser writes in another way beside a marking, and what means something else.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod analysis_support;

use analysis_support::{
    ALTERED, Session, TOKEN, Value, document, int, marking, raw, schema, stages, text,
    with_markings,
};
use bson::{Binary, RawArrayBuf, RawDocumentBuf, rawdoc, spec::BinarySubtype};
use csfle_core::Code;

/// A marking of the token, or of another text.
fn mark(value: &str) -> Binary {
    let Value::Raw(_, bytes) = marking(&text(value)) else {
        unreachable!()
    };
    Binary {
        subtype: BinarySubtype::Encrypted,
        bytes: bytes[5..].to_vec(),
    }
}

fn code(asked: RawDocumentBuf, answered: RawDocumentBuf) -> Option<Code> {
    let reply = with_markings(raw(answered));
    let plain = raw(rawdoc! { "bsonType": "object" });
    let mut session = Session::with_schemas(vec![("db.c", schema()), ("db.d", plain)]);
    let outcome = session.run(&raw(asked), &reply);
    assert!(!outcome.told().contains(TOKEN));
    outcome.code()
}

fn assert_same(asked: RawDocumentBuf, answered: RawDocumentBuf) {
    let told = format!("{asked:?} {answered:?}");
    assert_eq!(code(asked, answered), None, "{told}");
}

fn assert_altered(asked: RawDocumentBuf, answered: RawDocumentBuf) {
    let told = format!("{asked:?} {answered:?}");
    assert_eq!(code(asked, answered), ALTERED, "{told}");
}

fn delete(filter: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "delete": "c", "deletes": [{ "q": filter, "limit": 1 }], "$db": "db" }
}

/// `{ssn: token}` and a filter; `{$and: [{ssn: marking}, other]}`.
fn beside(asked: RawDocumentBuf, answered: RawDocumentBuf) -> (RawDocumentBuf, RawDocumentBuf) {
    (
        delete(rawdoc! { "$and": [asked, { "ssn": TOKEN }] }),
        delete(rawdoc! { "$and": [{ "ssn": { "$eq": mark(TOKEN) } }, answered] }),
    )
}

#[test]
fn a_filter_in_another_form_has_the_same_conditions() {
    let regex = || bson::Regex {
        pattern: bson::raw::CString::try_from("a".to_owned()).unwrap(),
        options: bson::raw::CString::try_from("i".to_owned()).unwrap(),
    };
    for (asked, answered) in [
        (rawdoc! { "x": 1 }, rawdoc! { "x": { "$eq": 1i64 } }),
        (
            rawdoc! { "x": 1, "y": 2 },
            rawdoc! { "$and": [{ "y": { "$eq": 2 } }, { "x": { "$eq": 1 } }] },
        ),
        (
            rawdoc! { "x": { "$gt": 1, "$lt": 5.0 } },
            rawdoc! { "$and": [{ "x": { "$lt": 5 } }, { "x": { "$gt": 1 } }] },
        ),
        (
            rawdoc! { "x": { "$ne": 1 } },
            rawdoc! { "x": { "$not": { "$eq": 1 } } },
        ),
        (
            rawdoc! { "x": { "$ne": 1 } },
            rawdoc! { "$nor": [{ "x": { "$eq": 1 } }] },
        ),
        (
            rawdoc! { "x": { "$nin": [2, 1] } },
            rawdoc! { "x": { "$not": { "$in": [1, 2] } } },
        ),
        (
            rawdoc! { "x": { "$nin": [2, 1] } },
            rawdoc! { "$nor": [{ "x": { "$in": [1, 2] } }] },
        ),
        (
            rawdoc! { "x": { "$in": [5] } },
            rawdoc! { "x": { "$eq": 5 } },
        ),
        (
            rawdoc! { "$or": [{ "x": 5 }, { "x": 6 }] },
            rawdoc! { "x": { "$in": [6, 5] } },
        ),
        (
            rawdoc! { "x": { "$all": [1, 2] } },
            rawdoc! { "$and": [{ "x": { "$eq": 1 } }, { "x": { "$eq": 2 } }] },
        ),
        (
            rawdoc! { "x": { "$exists": 0 } },
            rawdoc! { "x": { "$not": { "$exists": true } } },
        ),
        (
            rawdoc! { "x": { "$exists": false } },
            rawdoc! { "$nor": [{ "x": { "$exists": true } }] },
        ),
        (
            rawdoc! { "x": regex() },
            rawdoc! { "x": { "$regex": "a", "$options": "i" } },
        ),
        (
            rawdoc! { "x": { "$not": regex() } },
            rawdoc! { "x": { "$not": { "$regex": "a", "$options": "i" } } },
        ),
        (
            rawdoc! { "x": { "$elemMatch": { "b": 1, "c": { "$gt": 2 } } } },
            rawdoc! { "x": { "$elemMatch": { "$and": [{ "b": { "$eq": 1 } }, { "c": { "$gt": 2 } }] } } },
        ),
        (
            rawdoc! { "x": { "$elemMatch": { "$gt": 1 } } },
            rawdoc! { "x": { "$elemMatch": { "$gt": 1 } } },
        ),
        (
            rawdoc! { "x": { "b": 1, "c": [2] } },
            rawdoc! { "x": { "$eq": { "b": 1, "c": [2] } } },
        ),
        (
            rawdoc! { "$or": [{ "x": 1, "y": 2 }] },
            rawdoc! { "$and": [{ "x": { "$eq": 1 } }, { "y": { "$eq": 2 } }] },
        ),
        (rawdoc! { "$nor": [{ "x": { "$in": [] } }] }, rawdoc! {}),
        (
            rawdoc! { "x": 1, "$comment": "why" },
            rawdoc! { "x": { "$eq": 1 } },
        ),
        (
            rawdoc! { "x": { "$size": 2.0 } },
            rawdoc! { "x": { "$size": 2 } },
        ),
        (rawdoc! { "x": null }, rawdoc! { "x": { "$eq": null } }),
        (
            rawdoc! { "$expr": { "$gt": ["$n", 1] } },
            rawdoc! { "$expr": { "$gt": ["$n", { "$const": 1 }] } },
        ),
    ] {
        let (asked, answered) = beside(asked, answered);
        assert_same(asked, answered);
    }
    let both = |one: Binary, other: Binary| delete(rawdoc! { "ssn": { "$in": [one, other] } });
    assert_same(
        delete(rawdoc! { "$or": [{ "ssn": TOKEN }, { "ssn": "z" }] }),
        both(mark("z"), mark(TOKEN)),
    );
}

#[test]
fn a_filter_keeps_all_conditions_where_they_were() {
    let kept = || rawdoc! { "ssn": { "$eq": mark(TOKEN) } };
    let with = |condition: RawDocumentBuf| rawdoc! { "$and": [kept(), condition] };
    for (asked, answered) in [
        (rawdoc! { "x": 1, "ssn": TOKEN }, kept()),
        (
            rawdoc! { "$and": [{ "x": 1 }, { "x": 2 }], "ssn": TOKEN },
            with(rawdoc! { "x": { "$eq": 1 } }),
        ),
        (
            rawdoc! { "x": 1, "ssn": TOKEN },
            with(rawdoc! { "x": { "$gt": 1 } }),
        ),
        (
            rawdoc! { "x": 1, "ssn": TOKEN },
            with(rawdoc! { "x": { "$ne": 1 } }),
        ),
        (
            rawdoc! { "x": 1, "ssn": TOKEN },
            with(rawdoc! { "x": { "$not": { "$eq": 1 } } }),
        ),
        (
            rawdoc! { "x": 1, "ssn": TOKEN },
            with(rawdoc! { "x": { "$exists": true } }),
        ),
        (
            rawdoc! { "x": 1, "ssn": TOKEN },
            rawdoc! { "$or": [{ "x": { "$eq": 1 } }, kept()] },
        ),
        (
            rawdoc! { "x": 1, "ssn": TOKEN },
            rawdoc! { "$nor": [{ "x": { "$eq": 1 } }, kept()] },
        ),
        (
            rawdoc! { "x": 1, "ssn": TOKEN },
            rawdoc! { "x": { "$eq": 1 }, "ssn": { "$ne": mark(TOKEN) } },
        ),
        (
            rawdoc! { "x": 1, "y": 1, "ssn": TOKEN },
            with(rawdoc! { "x": { "$eq": 1 } }),
        ),
        (
            rawdoc! { "x": 1, "y": 2, "ssn": TOKEN },
            with(rawdoc! { "x": 2, "y": 1 }),
        ),
        (
            rawdoc! { "x": { "$in": [1, 2] }, "ssn": TOKEN },
            with(rawdoc! { "x": { "$in": [1] } }),
        ),
        (
            rawdoc! { "$or": [{ "x": 1 }, { "ssn": TOKEN }] },
            rawdoc! { "$or": [{ "x": { "$eq": 1 } }, kept(), { "$comment": "x" }] },
        ),
        (
            rawdoc! { "x": { "$elemMatch": { "b": 1, "c": 2 } }, "ssn": TOKEN },
            with(rawdoc! { "x": { "$elemMatch": { "b": 1 } } }),
        ),
        // No element is in an empty list, every document is in an empty filter.
        (
            rawdoc! { "x": { "$elemMatch": { "y": { "$in": [] } } }, "ssn": TOKEN },
            with(rawdoc! { "x": { "$elemMatch": {} } }),
        ),
        (
            rawdoc! { "x": { "$elemMatch": {} }, "ssn": TOKEN },
            with(rawdoc! { "x": { "$elemMatch": { "$or": [] } } }),
        ),
        (
            rawdoc! { "$and": [{ "$expr": { "$gt": ["$n", 1] } }, { "$expr": { "$lt": ["$n", 1] } }], "ssn": TOKEN },
            with(rawdoc! { "$expr": { "$gt": ["$n", { "$const": 1 }] } }),
        ),
        (
            rawdoc! { "x": { "$size": 2 }, "ssn": TOKEN },
            with(rawdoc! { "x": { "$all": [2] } }),
        ),
        (
            rawdoc! { "x": true, "ssn": TOKEN },
            with(rawdoc! { "x": { "$eq": 1 } }),
        ),
        // The double is greater by one.
        (
            rawdoc! { "x": i64::MAX, "ssn": TOKEN },
            with(rawdoc! { "x": { "$eq": 9_223_372_036_854_775_808.0 } }),
        ),
        (
            rawdoc! { "ssn": TOKEN },
            with(rawdoc! { "$alwaysFalse": 1 }),
        ),
    ] {
        assert_altered(delete(asked.clone()), delete(answered.clone()));
        let matched = |filter: RawDocumentBuf| {
            let pipeline = stages(vec![rawdoc! { "$match": filter }, rawdoc! { "$limit": 1 }]);
            rawdoc! { "aggregate": "c", "pipeline": pipeline, "cursor": {}, "$db": "db" }
        };
        assert_altered(matched(asked), matched(answered));
    }
    let update = |filter: RawDocumentBuf, value: Binary| {
        rawdoc! {
            "update": "c", "$db": "db",
            "updates": [{ "q": {}, "u": { "$set": { "ssn": value, "l.$[e].v": 1 } }, "arrayFilters": [filter] }],
        }
    };
    let asked = |filter: RawDocumentBuf| {
        rawdoc! {
            "update": "c", "$db": "db",
            "updates": [{ "q": {}, "u": { "$set": { "ssn": TOKEN, "l.$[e].v": 1 } }, "arrayFilters": [filter] }],
        }
    };
    assert_same(
        asked(rawdoc! { "e.w": { "$gt": 1 } }),
        update(rawdoc! { "$and": [{ "e.w": { "$gt": 1 } }] }, mark(TOKEN)),
    );
    assert_altered(
        asked(rawdoc! { "e.w": { "$gt": 1 } }),
        update(rawdoc! {}, mark(TOKEN)),
    );
}

fn aggregate(first: RawDocumentBuf, more: Vec<RawDocumentBuf>) -> RawDocumentBuf {
    let all = core::iter::once(rawdoc! { "$match": first }).chain(more);
    rawdoc! { "aggregate": "c", "pipeline": stages(all.collect()), "cursor": {}, "$db": "db" }
}

fn same_stages(asked: Vec<RawDocumentBuf>, answered: Vec<RawDocumentBuf>) {
    let marked = rawdoc! { "ssn": { "$eq": mark(TOKEN) } };
    assert_same(
        aggregate(rawdoc! { "ssn": TOKEN }, asked),
        aggregate(marked, answered),
    );
}

fn altered_stages(asked: Vec<RawDocumentBuf>, answered: Vec<RawDocumentBuf>) {
    let marked = rawdoc! { "ssn": { "$eq": mark(TOKEN) } };
    assert_altered(
        aggregate(rawdoc! { "ssn": TOKEN }, asked),
        aggregate(marked, answered),
    );
}

#[test]
fn a_pipeline_keeps_its_stages_in_their_order() {
    let by =
        |name: &str| rawdoc! { "$group": { "_id": name, "count": { "$sum": { "$const": 1 } } } };
    for (asked, answered) in [
        (
            vec![rawdoc! { "$set": { "y": 1 } }],
            vec![rawdoc! { "$addFields": { "y": { "$const": 1 } } }],
        ),
        (
            vec![rawdoc! { "$replaceWith": "$y" }],
            vec![rawdoc! { "$replaceRoot": { "newRoot": "$y" } }],
        ),
        (
            vec![rawdoc! { "$unset": "y" }],
            vec![rawdoc! { "$project": { "y": false, "_id": true } }],
        ),
        (
            vec![rawdoc! { "$count": "n" }],
            vec![
                rawdoc! { "$group": { "_id": { "$const": null }, "n": { "$sum": { "$const": 1 } } } },
                rawdoc! { "$project": { "n": true, "_id": false } },
            ],
        ),
        (
            vec![rawdoc! { "$sortByCount": "$y" }],
            vec![by("$y"), rawdoc! { "$sort": { "count": -1 } }],
        ),
        (
            vec![rawdoc! { "$sortByCount": { "$toLower": "$y" } }],
            vec![
                rawdoc! { "$group": { "_id": { "$toLower": ["$y"] }, "count": { "$sum": { "$const": 1 } } } },
                rawdoc! { "$sort": { "count": -1 } },
            ],
        ),
        (
            vec![rawdoc! { "$bucketAuto": { "groupBy": "$y", "buckets": 2 } }],
            vec![
                rawdoc! { "$bucketAuto": { "groupBy": "$y", "buckets": 2, "output": { "count": { "$sum": { "$const": 1 } } } } },
            ],
        ),
        (
            vec![rawdoc! { "$limit": 5 }],
            vec![rawdoc! { "$limit": 5i64 }],
        ),
        (
            vec![rawdoc! { "$facet": { "f": [{ "$limit": 5 }] } }],
            vec![rawdoc! { "$facet": { "f": [{ "$limit": 5i64 }] } }],
        ),
    ] {
        same_stages(asked, answered);
    }
    let matched = || rawdoc! { "$match": { "ssn": { "$eq": mark(TOKEN) } } };
    let answer = |pipeline: Vec<RawDocumentBuf>| {
        rawdoc! { "aggregate": "c", "pipeline": stages(pipeline), "cursor": {}, "$db": "db" }
    };
    let limit = |count: i32| rawdoc! { "$limit": count };
    let asked = |stage: RawDocumentBuf| aggregate(rawdoc! { "ssn": TOKEN }, vec![stage]);
    assert_altered(asked(limit(1)), answer(vec![matched()]));
    assert_altered(asked(limit(1)), answer(vec![limit(1), matched()]));
    assert_altered(asked(limit(1)), answer(vec![matched(), limit(1), limit(1)]));
    assert_altered(asked(limit(5)), answer(vec![matched(), limit(0)]));
    assert_altered(asked(limit(1)), answer(vec![matched(), matched()]));
    assert_altered(
        asked(rawdoc! { "$facet": { "f": [limit(1), { "$skip": 1 }] } }),
        answer(vec![matched(), rawdoc! { "$facet": { "f": [limit(1)] } }]),
    );
    assert_altered(
        asked(rawdoc! { "$unionWith": { "coll": "c", "pipeline": [{ "$match": { "x": 1 } }] } }),
        answer(vec![
            matched(),
            rawdoc! { "$unionWith": { "coll": "c", "pipeline": [{ "$match": {} }] } },
        ]),
    );
    assert_altered(
        asked(
            rawdoc! { "$geoNear": { "near": [1, 2], "distanceField": "d", "query": { "x": 1 } } },
        ),
        answer(vec![
            matched(),
            rawdoc! { "$geoNear": { "near": [1, 2], "distanceField": "d" } },
        ]),
    );
    assert_altered(
        rawdoc! { "update": "c", "updates": [{ "q": { "ssn": TOKEN }, "u": [{ "$set": { "y": 1 } }, { "$unset": "z" }] }], "$db": "db" },
        rawdoc! { "update": "c", "updates": [{ "q": { "ssn": mark(TOKEN) }, "u": [{ "$set": { "y": 1 } }] }], "$db": "db" },
    );
}

#[test]
fn a_field_holds_a_filter_or_a_pipeline_by_the_stage_that_it_is_in() {
    // `query`, `pipeline` and their like are names of fields like any others in these stages.
    for name in [
        "query",
        "restrictSearchWithMatch",
        "filter",
        "pipeline",
        "whenMatched",
    ] {
        let stage = |operator: &str, value: Value| named(operator, document(vec![(name, value)]));
        let constant = || named("$const", int(7));
        let sum = |value: Value| raw(named("$sum", value));
        for (asked, answered) in [
            (
                stage("$project", int(1)),
                stage("$project", Value::Raw(8, vec![1])),
            ),
            (
                stage("$addFields", int(7)),
                stage("$addFields", raw(constant())),
            ),
            (
                named(
                    "$group",
                    document(vec![("_id", text("$y")), (name, sum(int(7)))]),
                ),
                named(
                    "$group",
                    document(vec![("_id", text("$y")), (name, sum(raw(constant())))]),
                ),
            ),
        ] {
            same_stages(vec![asked], vec![answered]);
        }
    }
    let matched = || rawdoc! { "$match": { "x": 1 } };
    let unmatched = || rawdoc! { "$match": {} };
    let filters = [
        ("$geoNear", "query"),
        ("$graphLookup", "restrictSearchWithMatch"),
        ("$vectorSearch", "filter"),
        ("$futureStage", "query"),
        ("$futureStage", "filter"),
    ];
    for (name, field) in filters {
        let stage = |filter: RawDocumentBuf| {
            named(
                name,
                document(vec![("from", text("d")), (field, raw(filter))]),
            )
        };
        let asked = || stage(rawdoc! { "x": 1, "y": 2 });
        same_stages(
            vec![asked()],
            vec![stage(
                rawdoc! { "$and": [{ "y": { "$eq": 2 } }, { "x": { "$eq": 1 } }] },
            )],
        );
        altered_stages(vec![asked()], vec![stage(rawdoc! { "x": 1 })]);
        altered_stages(
            vec![asked()],
            vec![named(name, document(vec![("from", text("d"))]))],
        );
    }
    let pipelines = [
        ("$lookup", "pipeline"),
        ("$unionWith", "pipeline"),
        ("$merge", "whenMatched"),
        ("$facet", "from"),
        ("$futureStage", "pipeline"),
    ];
    for (name, field) in pipelines {
        let stage = |stage: RawDocumentBuf| {
            let pipeline = Value::Array(vec![raw(stage)]);
            named(
                name,
                document(vec![("into", Value::Array(vec![])), (field, pipeline)]),
            )
        };
        altered_stages(vec![stage(matched())], vec![stage(unmatched())]);
    }
    // A stage that is a text on one side only.
    let union =
        |pipeline: RawArrayBuf| rawdoc! { "$unionWith": { "coll": "d", "pipeline": pipeline } };
    let named_only = || rawdoc! { "$unionWith": "d" };
    same_stages(vec![union(stages(vec![]))], vec![named_only()]);
    altered_stages(vec![union(stages(vec![unmatched()]))], vec![named_only()]);
    // Of two fields of one name another reader may take the other one.
    altered_stages(
        vec![named(
            "$geoNear",
            document(vec![("query", raw(rawdoc! { "x": 1 }))]),
        )],
        vec![named(
            "$geoNear",
            document(vec![
                ("query", raw(rawdoc! { "x": 1 })),
                ("query", raw(rawdoc! {})),
            ]),
        )],
    );
}

#[test]
fn a_value_at_an_encrypted_path_is_counted_once() {
    // The operand is found where it meets `$ssn`, and again in what is computed for `ssn`.
    let find = |filter: RawDocumentBuf, joined: Value, compared: Value| {
        let joined = raw(named("$concat", Value::Array(vec![text("$ssn"), joined])));
        let equal = raw(named("$eq", Value::Array(vec![text("$n"), compared])));
        let projection = document(vec![("ssn", joined), ("m", text("$ssn")), ("n", equal)]);
        let command = document(vec![
            ("find", text("c")),
            ("filter", raw(filter)),
            ("projection", projection),
            ("$db", text("db")),
        ]);
        RawDocumentBuf::from_bytes(command.bytes()).unwrap()
    };
    let asked = |word: &str| find(rawdoc! { "ssn": TOKEN }, text("w"), text(word));
    let answered = || {
        let constant = raw(named("$const", text("w")));
        let filter = rawdoc! { "ssn": { "$eq": mark(TOKEN) } };
        find(filter, marking(&text("w")), constant)
    };
    assert_same(asked("w"), answered());
    assert_altered(asked("v"), answered());
}

#[test]
fn nested_pipelines_are_compared_once_each() {
    let nested = |innermost: RawDocumentBuf| {
        (0..60).fold(innermost, |inner, _| {
            let pipeline = stages(vec![inner]);
            rawdoc! { "$lookup": { "from": "d", "pipeline": pipeline, "as": "o" } }
        })
    };
    same_stages(
        vec![nested(rawdoc! { "$limit": 5 })],
        vec![nested(rawdoc! { "$limit": 5i64 })],
    );
    altered_stages(
        vec![nested(rawdoc! { "$limit": 5 })],
        vec![nested(rawdoc! { "$limit": 1 })],
    );
}

#[test]
fn each_form_of_the_table_is_known() {
    for (asked, answered) in [
        (
            rawdoc! { "x": { "$type": "string" } },
            rawdoc! { "x": { "$type": [2] } },
        ),
        (
            rawdoc! { "x": { "$type": "decimal" } },
            rawdoc! { "x": { "$type": [19] } },
        ),
        (
            rawdoc! { "x": { "$type": ["int", "maxKey"] } },
            rawdoc! { "x": { "$type": [16, 127] } },
        ),
        (
            rawdoc! { "x": { "$type": ["number", "minKey"] } },
            rawdoc! { "x": { "$type": ["number", -1] } },
        ),
        (
            rawdoc! { "x": { "$mod": [4.7, 0] } },
            rawdoc! { "x": { "$mod": [4i64, 0i64] } },
        ),
        (
            rawdoc! { "x": { "$bitsAllSet": 34 } },
            rawdoc! { "x": { "$bitsAllSet": [1, 5] } },
        ),
        (
            rawdoc! { "x": { "$bitsAnyClear": 34i64 } },
            rawdoc! { "x": { "$bitsAnyClear": [1, 5] } },
        ),
        (
            rawdoc! { "$text": { "$search": "x" } },
            rawdoc! { "$text": { "$search": "x", "$language": "", "$caseSensitive": false, "$diacriticSensitive": false } },
        ),
        (
            rawdoc! { "$sampleRate": 0.5 },
            rawdoc! { "$expr": { "$lt": [{ "$rand": {} }, { "$const": 0.5 }] } },
        ),
    ] {
        let (asked, answered) = beside(asked, answered);
        assert_same(asked, answered);
    }
    let expression = |asked: RawDocumentBuf, answered: RawDocumentBuf| {
        same_stages(
            vec![rawdoc! { "$project": { "y": asked } }],
            vec![rawdoc! { "$project": { "_id": true, "y": answered } }],
        );
    };
    for (name, to) in [
        ("$toString", "string"),
        ("$toInt", "int"),
        ("$toLong", "long"),
        ("$toDouble", "double"),
        ("$toDecimal", "decimal"),
        ("$toBool", "bool"),
        ("$toDate", "date"),
        ("$toObjectId", "objectId"),
    ] {
        expression(
            named(name, text("$x")),
            rawdoc! { "$convert": { "input": "$x", "to": { "$const": to } } },
        );
    }
    for name in [
        "$year",
        "$month",
        "$week",
        "$dayOfYear",
        "$dayOfMonth",
        "$dayOfWeek",
        "$hour",
        "$minute",
        "$second",
        "$millisecond",
        "$isoWeek",
        "$isoWeekYear",
        "$isoDayOfWeek",
    ] {
        expression(
            named(name, text("$d")),
            named(name, raw(rawdoc! { "date": "$d" })),
        );
    }
    expression(
        rawdoc! { "$substr": ["$x", 0, 2] },
        rawdoc! { "$substrBytes": ["$x", { "$const": 0 }, { "$const": 2 }] },
    );
    expression(
        rawdoc! { "$map": { "input": "$l", "in": "$$this" } },
        rawdoc! { "$map": { "input": "$l", "as": "this", "in": "$$this" } },
    );
    expression(
        rawdoc! { "$filter": { "input": "$l", "cond": { "$gt": ["$$this", 1] } } },
        rawdoc! { "$filter": { "input": "$l", "as": "this", "cond": { "$gt": ["$$this", { "$const": 1 }] } } },
    );
    expression(
        rawdoc! { "$zip": { "inputs": ["$a1", "$a2"] } },
        rawdoc! { "$zip": { "inputs": ["$a1", "$a2"], "defaults": [], "useLongestLength": false } },
    );
    expression(
        rawdoc! { "$getField": "x" },
        rawdoc! { "$getField": { "field": { "$const": "x" }, "input": "$$CURRENT" } },
    );
    expression(rawdoc! { "z": "$$CURRENT.x" }, rawdoc! { "z": "$x" });
    // A word of the table is no value of the command's encrypted paths.
    let asked = aggregate(
        rawdoc! { "ssn": "date" },
        vec![rawdoc! { "$project": { "y": { "$year": "$d" } } }],
    );
    let answered = aggregate(
        rawdoc! { "ssn": { "$eq": mark("date") } },
        vec![rawdoc! { "$project": { "_id": true, "y": { "$year": { "date": "$d" } } } }],
    );
    assert_altered(asked, answered);
    // Without the name that it belongs to, a word is none of the command's.
    let stage = |name: &str| vec![rawdoc! { "$project": { "y": name } }];
    assert_altered(
        aggregate(rawdoc! { "ssn": TOKEN }, stage("$x")),
        aggregate(rawdoc! { "ssn": { "$eq": mark(TOKEN) } }, stage("date")),
    );
}

fn named(name: &str, value: Value) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(document(vec![(name, value)]).bytes()).unwrap()
}
