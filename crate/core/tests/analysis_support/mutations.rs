//! Replies of an analyser that is wrong in every way a generator can think of, and a search for the token in what is sent.

use std::{collections::BTreeMap, fmt};

use super::{
    Outcome, Session, Value, array, binary, document, int, marking, payload, schema, text,
};

const TOKEN: &str = "tok3n-457-55-5462";

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) cases: usize,
    pub(crate) sent: usize,
    pub(crate) leaks: usize,
    pub(crate) would_leak: usize,
    refused: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} replies: {} sent, {} leaks, {} that would leak without the check; refused: {:?}",
            self.cases, self.sent, self.leaks, self.would_leak, self.refused
        )
    }
}

fn commands() -> Vec<Value> {
    let token = || text(TOKEN);
    let filter = |value| document(vec![("ssn", value), ("name", text("bob"))]);
    let command = |name: &str, fields: Vec<(&str, Value)>| {
        let mut all = vec![(name, text("c"))];
        all.extend(fields);
        all.push(("$db", text("db")));
        document(all)
    };
    let set = |value| {
        document(vec![(
            "$set",
            document(vec![("a.b", value), ("n", int(5))]),
        )])
    };
    let expression = || {
        let pair = array(vec![text("$ssn"), token()]);
        document(vec![("$expr", document(vec![("$eq", pair)]))])
    };
    vec![
        command(
            "insert",
            vec![(
                "documents",
                array(vec![
                    document(vec![
                        ("_id", int(1)),
                        ("ssn", token()),
                        ("name", text("bob")),
                    ]),
                    document(vec![
                        ("a", document(vec![("b", token()), ("c", int(3))])),
                        ("x_pii", int(4)),
                    ]),
                ]),
            )],
        ),
        command(
            "find",
            vec![
                ("filter", filter(token())),
                ("sort", document(vec![("name", int(1))])),
            ],
        ),
        command(
            "find",
            vec![(
                "filter",
                document(vec![(
                    "ssn",
                    document(vec![("$in", array(vec![token(), text("other")]))]),
                )]),
            )],
        ),
        command("find", vec![("filter", expression())]),
        command(
            "count",
            vec![(
                "query",
                document(vec![("$or", array(vec![filter(token())]))]),
            )],
        ),
        command(
            "distinct",
            vec![("key", text("name")), ("query", filter(token()))],
        ),
        command(
            "update",
            vec![(
                "updates",
                array(vec![
                    document(vec![
                        ("q", filter(token())),
                        ("u", set(token())),
                        ("multi", Value::Raw(8, vec![0])),
                    ]),
                    document(vec![
                        ("q", document(vec![])),
                        ("u", document(vec![("ssn", token()), ("name", text("eve"))])),
                    ]),
                ]),
            )],
        ),
        command(
            "delete",
            vec![(
                "deletes",
                array(vec![document(vec![
                    ("q", filter(token())),
                    ("limit", int(1)),
                ])]),
            )],
        ),
        command(
            "findAndModify",
            vec![("query", filter(token())), ("update", set(token()))],
        ),
        command(
            "aggregate",
            vec![
                (
                    "pipeline",
                    array(vec![
                        document(vec![("$match", filter(token()))]),
                        document(vec![("$match", expression())]),
                        document(vec![(
                            "$group",
                            document(vec![
                                ("_id", int(1)),
                                ("n", document(vec![("$sum", int(1))])),
                            ]),
                        )]),
                    ]),
                ),
                ("cursor", document(vec![])),
            ],
        ),
        document(vec![
            (
                "explain",
                document(vec![("find", text("c")), ("filter", filter(token()))]),
            ),
            ("$db", text("db")),
        ]),
    ]
}

/// An honest analyser: encrypted values become markings.
fn marked(value: &Value) -> Value {
    match value {
        Value::Document(fields) => Value::Document(
            fields
                .iter()
                .filter(|(name, _)| name != b"$db")
                .map(|(name, value)| match &name[..] {
                    b"x_pii" => (name.clone(), marking(value)),
                    _ => (name.clone(), marked(value)),
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(marked).collect()),
        value if *value == text(TOKEN) || *value == text("other") => marking(value),
        value => value.clone(),
    }
}

/// Every value in a tree, in order.
fn walk<'a>(value: &'a mut Value, visit: &mut dyn FnMut(&mut Value)) {
    visit(value);
    match value {
        Value::Document(fields) => fields.iter_mut().for_each(|(_, inner)| walk(inner, visit)),
        Value::Array(items) => items.iter_mut().for_each(|inner| walk(inner, visit)),
        Value::Raw(..) => {}
    }
}

fn count(value: &Value, wanted: &dyn Fn(&Value) -> bool) -> usize {
    let mut found = 0;
    walk(&mut value.clone(), &mut |inner| {
        found += usize::from(wanted(inner))
    });
    found
}

/// Changes one of the values that are wanted.
fn change(
    random: &mut Random,
    value: &mut Value,
    wanted: &dyn Fn(&Value) -> bool,
    work: &mut dyn FnMut(&mut Value),
) {
    let total = count(value, wanted);
    if total == 0 {
        return;
    }
    let (chosen, mut at) = (random.below(total), 0);
    walk(value, &mut |inner| {
        if at != usize::MAX && wanted(inner) {
            if at == chosen {
                work(inner);
                at = usize::MAX;
            } else {
                at += 1;
            }
        }
    });
}

fn is_marking(value: &Value) -> bool {
    matches!(value, Value::Raw(5, bytes) if bytes.len() > 6 && bytes[4] == 6)
}

fn is_document(value: &Value) -> bool {
    matches!(value, Value::Document(_))
}

fn anything(_: &Value) -> bool {
    true
}

/// The token, in one of many disguises.
fn disguised(random: &mut Random) -> Value {
    let plain = text(TOKEN);
    let Value::Raw(_, string) = &plain else {
        unreachable!()
    };
    let mut fake = payload(1 + random.below(2) as u8);
    fake[18..18 + TOKEN.len()].copy_from_slice(TOKEN.as_bytes());
    let mut regex = TOKEN.as_bytes().to_vec();
    regex.extend_from_slice(b"\0i\0");
    let mut options = b"a\0".to_vec();
    options.extend_from_slice(TOKEN.as_bytes());
    options.push(0);
    let mut queryable = vec![random.below(22) as u8];
    queryable.extend_from_slice(&document(vec![("v", plain.clone())]).bytes());
    let mut scoped = document(vec![("x", plain.clone())]).bytes();
    let mut code = ((scoped.len() + 4 + 6) as u32).to_le_bytes().to_vec();
    code.extend_from_slice(&[2, 0, 0, 0, b'x', 0]);
    code.append(&mut scoped);
    match random.below(14) {
        0 | 1 => plain,
        2 => Value::Raw(13, string.clone()),
        3 => Value::Raw(14, string.clone()),
        4 => Value::Raw(11, regex),
        5 => Value::Raw(11, options),
        6 => Value::Raw(5, binary(0, TOKEN.as_bytes())),
        7 => Value::Raw(5, binary(6, &fake)),
        8 => Value::Raw(5, binary(6, &queryable)),
        9 => text(&format!("x{TOKEN}y")),
        10 => Value::Raw(15, code),
        11 => document(vec![(TOKEN, int(1))]),
        12 => array(vec![plain]),
        _ => document(vec![("$eq", plain)]),
    }
}

const NAMES: &[&str] = &[
    "name",
    "ssn",
    "a",
    "b",
    "$comment",
    "comment",
    "x",
    "$set",
    "filter",
    "hint",
    "lsid",
    "let",
    "$db",
    "_id",
    "$eq",
    "multi",
    "n",
    "collation",
    "documents",
    "a.b",
    "writeConcern",
    "query",
];

fn mutate(random: &mut Random, result: &mut Value) {
    match random.below(15) {
        0 => change(random, result, &is_marking, &mut |value| {
            *value = text(TOKEN)
        }),
        1 => {
            let hidden = disguised(random);
            change(random, result, &is_marking, &mut |value| {
                *value = hidden.clone()
            });
        }
        2 => {
            let hidden = disguised(random);
            change(random, result, &anything, &mut |value| {
                *value = hidden.clone()
            });
        }
        3 => {
            let kind = random.below(24) as u8;
            change(random, result, &is_marking, &mut |value| {
                if let Value::Raw(_, bytes) = value {
                    bytes[5] = kind;
                }
            });
        }
        4 | 5 => {
            let (hidden, name, at) = (
                disguised(random),
                NAMES[random.below(NAMES.len())],
                random.below(4),
            );
            change(random, result, &is_document, &mut |value| {
                if let Value::Document(fields) = value {
                    let at = at.min(fields.len());
                    fields.insert(at, (name.as_bytes().to_vec(), hidden.clone()));
                }
            });
        }
        6 => {
            let at = random.below(4);
            change(random, result, &is_document, &mut |value| {
                if let Value::Document(fields) = value
                    && !fields.is_empty()
                {
                    fields.remove(at % fields.len());
                }
            });
        }
        7 => {
            let at = random.below(4);
            change(random, result, &is_document, &mut |value| {
                if let Value::Document(fields) = value
                    && !fields.is_empty()
                {
                    let at = at % fields.len();
                    fields[at].0 = TOKEN.into();
                }
            });
        }
        8 => {
            let (name, at) = (NAMES[random.below(NAMES.len())], random.below(4));
            change(random, result, &is_document, &mut |value| {
                if let Value::Document(fields) = value
                    && !fields.is_empty()
                {
                    let at = at % fields.len();
                    fields[at].0 = name.into();
                }
            });
        }
        9 => change(random, result, &anything, &mut |value| {
            *value = array(vec![value.clone()])
        }),
        10 => {
            let name = NAMES[random.below(NAMES.len())];
            change(random, result, &anything, &mut |value| {
                *value = document(vec![(name, value.clone())]);
            });
        }
        11 => {
            let cut = random.below(90);
            change(random, result, &is_marking, &mut |value| {
                if let Value::Raw(_, bytes) = value {
                    let content = &bytes[5..];
                    *bytes = binary(6, &content[..cut.min(content.len())]);
                }
            });
        }
        12 => {
            let hidden = disguised(random);
            change(random, result, &is_marking, &mut |value| {
                *value = marking(&hidden)
            });
        }
        13 => {
            // Two values change places.
            let mut taken = None;
            change(random, result, &is_marking, &mut |value| {
                taken = Some(value.clone())
            });
            let Some(one) = taken else { return };
            let mut other = None;
            change(random, result, &anything, &mut |value| {
                other = Some(core::mem::replace(value, one.clone()));
            });
            if let Some(other) = other {
                change(random, result, &|value| *value == one, &mut |value| {
                    *value = other.clone()
                });
            }
        }
        _ => {
            // A field is there twice, in the clear before or after.
            let (is_first, at) = (random.below(2) == 0, random.below(4));
            change(random, result, &is_document, &mut |value| {
                if let Value::Document(fields) = value
                    && !fields.is_empty()
                {
                    let at = at % fields.len();
                    let twin = (fields[at].0.clone(), text(TOKEN));
                    fields.insert(at + usize::from(!is_first), twin);
                }
            });
        }
    }
}

fn holds_token(bytes: &[u8]) -> bool {
    bytes
        .windows(TOKEN.len())
        .any(|window| window == TOKEN.as_bytes())
}

/// Without markings, which are never sent as they are.
fn without_markings(value: &Value) -> Value {
    let mut plain = value.clone();
    walk(&mut plain, &mut |inner| {
        if matches!(inner, Value::Raw(5, bytes) if bytes.len() > 5 && bytes[4] == 6 && bytes[5] == 0)
        {
            *inner = int(0);
        }
    });
    plain
}

/// Runs `cases` replies, the same for the same seed.
pub(crate) fn run(cases: usize, seed: u64) -> Counts {
    let mut random = Random(seed | 1);
    let mut counts = Counts::default();
    let commands = commands();
    let mut session = Session::new(&schema());
    for _ in 0..cases {
        let command = &commands[random.below(commands.len())];
        let mut result = marked(command);
        let claim = random.below(20);
        if random.below(40) > 0 {
            for _ in 0..=random.below(3) {
                mutate(&mut random, &mut result);
            }
        }
        let no = || Value::Raw(8, vec![0]);
        let flags = match claim {
            0 => vec![("schemaRequiresEncryption", no())],
            1 => vec![("hasEncryptedPlaceholders", no())],
            2 => vec![("hasEncryptionPlaceholders", no())],
            3 => vec![("schemaRequiresEncryption", Value::Raw(10, vec![]))],
            _ => vec![("hasEncryptionPlaceholders", Value::Raw(8, vec![1]))],
        };
        let is_nothing = matches!(claim, 0 | 1 | 3) || count(&result, &is_marking) == 0;
        let leaves = match is_nothing {
            true => command.bytes(),
            false => without_markings(&result).bytes(),
        };
        counts.would_leak += usize::from(holds_token(&leaves));
        let mut reply = flags;
        reply.push(("result", result));
        counts.cases += 1;
        match session.run(command, &document(reply)) {
            Outcome::Sent(bytes) => {
                counts.sent += 1;
                counts.leaks += usize::from(holds_token(&bytes));
            }
            Outcome::Refused(error) => {
                assert!(
                    !format!("{error} {:?}", error.details()).contains(TOKEN),
                    "{error} tells the token"
                );
                *counts.refused.entry(error.code().as_str()).or_default() += 1;
            }
        }
    }
    counts
}
