//! A host for machines: a vault in memory, a KMS that is one line, and a generator in place of randomness.

use csfle_core::{
    Context, Engine, Entropy, Machine, Result, Step,
    kms::{KmsOperation, KmsProvider},
    raw::{
        begin_document, binary_value, elements, end_document, push_element, single_field_document,
        string_value,
    },
    secret::KeyMaterial,
};

/// Bytes that never repeat within a test: a counter, spread by multiplication.
pub(crate) struct Counter(pub(crate) u64);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        for byte in out {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 56) as u8;
        }
        Ok(())
    }
}

/// What the fake KMS prefixes to the inverted key material.
pub(crate) const WRAPPED_BY: &[u8] = b"wrapped-by-fake-kms:";

pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) entropy: Counter,
    pub(crate) now_ms: f64,
    /// Key documents.
    pub(crate) vault: Vec<Vec<u8>>,
    /// KMS calls made so far.
    pub(crate) kms_calls: usize,
}

impl Host {
    /// A host with the providers `local` (96 bytes of 1) and `aws`.
    pub(crate) fn new() -> Self {
        Self::with_local_key(&[1; 96])
    }

    pub(crate) fn with_local_key(key: &[u8]) -> Self {
        let mut engine = Engine::new(60_000.0, 100);
        let local = KmsProvider::parse("local").unwrap();
        engine
            .add_local(local, &KeyMaterial::copy_from(key).unwrap())
            .unwrap();
        engine
            .add_remote(KmsProvider::parse("aws").unwrap())
            .unwrap();
        Self {
            engine,
            entropy: Counter(1),
            now_ms: 1_700_000_000_000.0,
            vault: Vec::new(),
            kms_calls: 0,
        }
    }

    /// A host with the provider `local` alone.
    pub(crate) fn without_remote(key: &[u8]) -> Self {
        let mut host = Self::with_local_key(key);
        host.engine = Engine::new(60_000.0, 100);
        host.engine
            .add_local(
                KmsProvider::parse("local").unwrap(),
                &KeyMaterial::copy_from(key).unwrap(),
            )
            .unwrap();
        host
    }

    pub(crate) fn context(&mut self) -> Context<'_> {
        Context {
            engine: &mut self.engine,
            entropy: &mut self.entropy,
            now_ms: self.now_ms,
        }
    }

    pub(crate) fn step(&mut self, machine: &mut Machine) -> Result<Step> {
        machine.step(&mut self.context())
    }

    /// Drives a machine to its end; every key document of the vault that it asks for by id or name is provided.
    pub(crate) fn run(&mut self, machine: Machine) -> Result<Vec<u8>> {
        let mut machine = machine;
        loop {
            match self.step(&mut machine)? {
                Step::NeedKeys => {
                    let filter = machine.filter()?.to_vec();
                    let found: Vec<u8> = self
                        .vault
                        .iter()
                        .filter(|document| wants(&filter, document))
                        .flatten()
                        .copied()
                        .collect();
                    machine.provide_keys(&mut self.context(), &found)?;
                }
                Step::NeedKms => self.answer_all(&mut machine)?,
                Step::Done => return machine.output().map(|output| output.expose().to_vec()),
            }
        }
    }

    /// Answers every outstanding KMS request.
    pub(crate) fn answer_all(&mut self, machine: &mut Machine) -> Result<()> {
        let answers: Vec<(u32, Vec<u8>)> = machine
            .kms_requests()?
            .iter()
            .map(|request| (request.id, kms(&request.operation)))
            .collect();
        for (id, answer) in answers {
            self.kms_calls += 1;
            machine.provide_kms(id, &answer, None)?;
        }
        Ok(())
    }

    /// Creates a data key under `master_key`, stores it, and returns its id.
    pub(crate) fn create_key(
        &mut self,
        master_key: &[u8],
        names: &[&str],
        material: Option<&[u8]>,
    ) -> [u8; 16] {
        let names = names.iter().map(ToString::to_string).collect();
        let material = material.map(|bytes| KeyMaterial::copy_from(bytes).unwrap());
        let machine =
            Machine::create_data_key(&mut self.context(), master_key, names, material).unwrap();
        let document = self.run(machine).unwrap();
        let id = key_id(&document);
        self.vault.push(document);
        id
    }
}

/// The fake KMS: wrapping inverts every byte, unwrapping inverts them back.
pub(crate) fn kms(operation: &KmsOperation) -> Vec<u8> {
    match operation {
        KmsOperation::Wrap(material) => WRAPPED_BY
            .iter()
            .copied()
            .chain(material.expose().iter().map(|byte| !byte))
            .collect(),
        KmsOperation::Unwrap(wrapped) => wrapped.as_bytes()[WRAPPED_BY.len()..]
            .iter()
            .map(|byte| !byte)
            .collect(),
    }
}

/// Whether the filter of a key lookup names this document; any other filter matches everything.
fn wants(filter: &[u8], document: &[u8]) -> bool {
    if field(filter, "$or").is_none() {
        return true;
    }
    let contains = |needle: &[u8]| filter.windows(needle.len()).any(|window| window == needle);
    contains(&key_id(document)) || names(document).iter().any(|name| contains(name))
}

fn names(document: &[u8]) -> Vec<Vec<u8>> {
    let Some(value) = field(document, "keyAltNames") else {
        return Vec::new();
    };
    elements(&value)
        .unwrap()
        .map(|name| name.unwrap().value.to_vec())
        .collect()
}

/// The value bytes of a field.
pub(crate) fn field(document: &[u8], name: &str) -> Option<Vec<u8>> {
    csfle_core::raw::find_field(document, name)
        .unwrap()
        .map(|element| element.value.to_vec())
}

pub(crate) fn key_id(document: &[u8]) -> [u8; 16] {
    field(document, "_id").unwrap()[5..].try_into().unwrap()
}

pub(crate) fn local() -> Vec<u8> {
    single_field_document("provider", 2, &string_value("local"))
}

pub(crate) fn aws() -> Vec<u8> {
    let mut document = begin_document(64);
    for (name, value) in [
        ("provider", "aws"),
        ("region", "eu-central-1"),
        ("key", "arn:aws:kms:eu-central-1:1:key/a"),
    ] {
        push_element(&mut document, 2, name.as_bytes(), &string_value(value));
    }
    end_document(&mut document, 0);
    document
}

pub(crate) const DETERMINISTIC: &str = "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic";
pub(crate) const RANDOM: &str = "AEAD_AES_256_CBC_HMAC_SHA_512-Random";

pub(crate) fn options(algorithm: &str, key_id: [u8; 16]) -> Vec<u8> {
    let mut document = begin_document(128);
    push_element(&mut document, 2, b"algorithm", &string_value(algorithm));
    push_element(&mut document, 5, b"keyId", &binary_value(4, &key_id));
    end_document(&mut document, 0);
    document
}

/// `{v: value}`.
pub(crate) fn v(bson_type: u8, value: &[u8]) -> Vec<u8> {
    single_field_document("v", bson_type, value)
}
