//! Commands, replies and conversations for tests of automatic encryption, down to fields that are there twice.

#![allow(dead_code, reason = "each integration test uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

pub(crate) mod mutations;

use bson::{Binary, RawArrayBuf, RawDocumentBuf, rawdoc, spec::BinarySubtype};
use csfle_core::{
    Code, Entropy, Error, Result,
    mongocrypt::{Call, MongoCrypt, MongoCryptContext, MongoCryptOptions, State},
};

pub(crate) const PLAINTEXT: Option<Code> = Some(Code::AutoEncryptionPlaintextRefused);
pub(crate) const ALTERED: Option<Code> = Some(Code::AutoEncryptionCommandAltered);
/// A value that must not be sent in the clear.
pub(crate) const TOKEN: &str = "tok3n";

/// A BSON value whose documents may hold a name twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Document(Vec<(Vec<u8>, Value)>),
    Array(Vec<Value>),
    Raw(u8, Vec<u8>),
}

impl Value {
    pub(crate) fn bson_type(&self) -> u8 {
        match self {
            Self::Document(_) => 3,
            Self::Array(_) => 4,
            Self::Raw(bson_type, _) => *bson_type,
        }
    }

    /// The bytes of the value.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::Raw(_, bytes) => {
                out.extend_from_slice(bytes);
                return;
            }
            Self::Document(fields) => {
                out.extend_from_slice(&[0; 4]);
                for (name, value) in fields {
                    value.write_field(name, out);
                }
            }
            Self::Array(items) => {
                out.extend_from_slice(&[0; 4]);
                for (index, value) in items.iter().enumerate() {
                    value.write_field(index.to_string().as_bytes(), out);
                }
            }
        }
        out.push(0);
        let len = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn write_field(&self, name: &[u8], out: &mut Vec<u8>) {
        out.push(self.bson_type());
        out.extend_from_slice(name);
        out.push(0);
        self.write(out);
    }
}

pub(crate) fn document(fields: Vec<(&str, Value)>) -> Value {
    let owned = |(name, value): (&str, Value)| (name.as_bytes().to_vec(), value);
    Value::Document(fields.into_iter().map(owned).collect())
}

/// `{name: value}`
pub(crate) fn one(name: &'static str, value: Value) -> Value {
    document(vec![(name, value)])
}

pub(crate) fn raw(document: RawDocumentBuf) -> Value {
    Value::Raw(3, document.into_bytes())
}

pub(crate) fn stages(stages: Vec<RawDocumentBuf>) -> RawArrayBuf {
    stages.into_iter().collect()
}

pub(crate) fn flag(is_set: bool) -> Value {
    Value::Raw(8, vec![u8::from(is_set)])
}

/// The reply of an analyser that finds nothing to encrypt.
pub(crate) fn nothing_to_encrypt() -> Value {
    one("schemaRequiresEncryption", flag(false))
}

/// The reply of an analyser that wrote markings into a command.
pub(crate) fn with_markings(command: Value) -> Value {
    document(vec![
        ("hasEncryptionPlaceholders", flag(true)),
        ("result", command),
    ])
}

pub(crate) fn array(items: Vec<Value>) -> Value {
    Value::Array(items)
}

pub(crate) fn int(number: i32) -> Value {
    Value::Raw(16, number.to_le_bytes().to_vec())
}

pub(crate) fn text(text: &str) -> Value {
    let mut bytes = (text.len() as u32 + 1).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    Value::Raw(2, bytes)
}

/// The bytes of a binary.
pub(crate) fn binary(subtype: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = (content.len() as u32).to_le_bytes().to_vec();
    bytes.push(subtype);
    bytes.extend_from_slice(content);
    bytes
}

/// What has the form of a ciphertext.
pub(crate) fn payload(kind: u8) -> Vec<u8> {
    let mut payload = vec![7; 82];
    payload[0] = kind;
    payload[17] = 2;
    payload
}

pub(crate) fn marking(value: &Value) -> Value {
    let fields = document(vec![("a", int(2)), ("ka", text("n")), ("v", value.clone())]);
    let mut content = vec![0];
    content.extend_from_slice(&fields.bytes());
    Value::Raw(5, binary(6, &content))
}

/// Encrypts `ssn`, `a.b`, and names that end with `_pii`.
pub(crate) fn schema() -> Value {
    let leaf = || document(vec![("encrypt", document(vec![]))]);
    let inner = document(vec![
        ("bsonType", text("object")),
        ("properties", document(vec![("b", leaf())])),
    ]);
    document(vec![
        ("bsonType", text("object")),
        ("properties", document(vec![("ssn", leaf()), ("a", inner)])),
        ("patternProperties", document(vec![("_pii$", leaf())])),
    ])
}

struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        self.0 = self.0.wrapping_add(1);
        out.fill(self.0);
        Ok(())
    }
}

/// Where a command's conversation begins.
#[derive(Debug, PartialEq)]
pub(crate) enum Place {
    Server,
    Analyser,
    Other,
}

/// One library with a data key that is called `n`.
pub(crate) struct Session {
    library: MongoCrypt,
    entropy: Counting,
    key: Vec<u8>,
}

/// How a command ended.
pub(crate) enum Outcome {
    Sent(Vec<u8>),
    Refused(Error),
}

impl Outcome {
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Sent(_) => None,
            Self::Refused(error) => Some(error.code()),
        }
    }

    pub(crate) fn sent(&self) -> Option<&[u8]> {
        match self {
            Self::Sent(bytes) => Some(bytes),
            Self::Refused(_) => None,
        }
    }

    pub(crate) fn detail(&self, name: &str) -> Option<&str> {
        let Self::Refused(error) = self else {
            return None;
        };
        let found = error.details().iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| &value[..])
    }

    pub(crate) fn told(&self) -> String {
        match self {
            Self::Sent(_) => String::new(),
            Self::Refused(error) => format!("{error} {:?}", error.details()),
        }
    }
}

impl Session {
    pub(crate) fn new(schema: &Value) -> Self {
        let map = document(vec![("db.c", schema.clone())]).bytes();
        Self::open(MongoCryptOptions {
            schema_map: Some(&map),
            ..MongoCryptOptions::default()
        })
    }

    /// Several schemas, by namespace.
    pub(crate) fn with_schemas(schemas: Vec<(&str, Value)>) -> Self {
        let map = document(schemas).bytes();
        Self::open(MongoCryptOptions {
            schema_map: Some(&map),
            ..MongoCryptOptions::default()
        })
    }

    pub(crate) fn with_encrypted_fields(fields: &Value) -> Self {
        let map = document(vec![("db.c", fields.clone())]).bytes();
        Self::open(MongoCryptOptions {
            encrypted_fields_map: Some(&map),
            ..MongoCryptOptions::default()
        })
    }

    fn open(options: MongoCryptOptions<'_>) -> Self {
        let key = Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![9; 96],
        };
        let providers = rawdoc! { "local": { "key": key } };
        let library = MongoCrypt::new(&MongoCryptOptions {
            kms_providers: Some(providers.as_bytes()),
            key_ttl_ms: 1e12,
            ..options
        });
        let mut session = Self {
            library: library.unwrap(),
            entropy: Counting(0),
            key: Vec::new(),
        };
        let (master_key, name) = (
            rawdoc! { "provider": "local" },
            rawdoc! { "keyAltName": "n" },
        );
        let mut call = session.call();
        let names = [name.as_bytes()];
        let made =
            MongoCryptContext::create_data_key(&mut call, master_key.as_bytes(), &names, None);
        let key = made.unwrap().finalize(&mut call).unwrap();
        session.key = key.expose().to_vec();
        session
    }

    fn call(&mut self) -> Call<'_> {
        Call {
            library: &mut self.library,
            entropy: &mut self.entropy,
            now_ms: 1_000_000.0,
        }
    }

    pub(crate) fn made(&mut self, command: &Value) -> core::result::Result<Place, Code> {
        match MongoCryptContext::encrypt(&mut self.call(), "db", &command.bytes()) {
            Err(error) => Err(error.code()),
            Ok(context) => Ok(match context.state() {
                State::NeedMongoCollinfo => Place::Server,
                State::NeedMongoMarkings => Place::Analyser,
                _ => Place::Other,
            }),
        }
    }

    /// Runs a command to its end, with this reply of the analyser.
    pub(crate) fn run(&mut self, command: &Value, reply: &Value) -> Outcome {
        let made = MongoCryptContext::encrypt(&mut self.call(), "db", &command.bytes());
        let mut context = match made {
            Ok(context) => context,
            Err(error) => return Outcome::Refused(error),
        };
        // The analyser is asked for its version.
        let asks = context.state() == State::NeedMongoMarkings
            && context
                .mongo_operation(&mut self.call())
                .is_some_and(|asked| asked.expose().windows(8).any(|part| part == b"isMaster"));
        if asks {
            let hello = rawdoc! { "maxWireVersion": 26 };
            context.feed_mongo(&mut self.call(), hello.as_bytes());
            context.finish_mongo(&mut self.call());
        }
        if context.state() == State::NeedMongoMarkings {
            context.feed_mongo(&mut self.call(), &reply.bytes());
            context.finish_mongo(&mut self.call());
        }
        if context.state() == State::NeedMongoKeys {
            let key = self.key.clone();
            context.feed_mongo(&mut self.call(), &key);
            context.finish_mongo(&mut self.call());
        }
        match context.finalize(&mut self.call()) {
            Some(bytes) => Outcome::Sent(bytes.expose().to_vec()),
            None => Outcome::Refused(context.failure().unwrap().clone()),
        }
    }
}
