//! Encryption of whole documents by rules: which paths, which algorithm, which key.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    Machine,
    explicit::key_for,
    key_lookup::{KeyReference, KeyRing},
    keyed::{KeyedOperation, keyed},
    options::parse_encrypt_options,
};
use crate::{
    crypto::{Entropy, SealBatch},
    error::{Code, Error, Result},
    payload::Algorithm,
    raw::{
        Element, NewValue, Scan, Visit, check_document_size, element_type as ty, elements, rewrite,
        split_documents, walk,
    },
    secret::SecretBytes,
    value_cipher::{canonical_value, check_encryptable, payload_len},
};

struct Rule {
    algorithm: Algorithm,
    key: KeyReference,
}

/// One name of the rules' paths: either a rule ends here, or there are further names.
enum Node {
    Rule(Rule),
    Names(BTreeMap<Vec<u8>, usize>),
}

/// The rules as a tree; node 0 is the top of a document.
struct Rules {
    nodes: Vec<Node>,
}

struct EncryptDocuments {
    documents: SecretBytes,
    rules: Rules,
}

impl Machine {
    /// Encrypts the values at the given paths of documents laid end to end; everything else stays byte for byte.
    ///
    /// Shape: `rules` = `{"a.b": {algorithm, keyId | keyAltName}, ...}`. Arrays on the way are entered; a path that a
    /// document lacks is passed over; an array at the end of a path is one value.
    /// Errors: those of explicit encryption, with the path; `BSON_TOO_LARGE` when a document grows past 16 MiB.
    pub fn encrypt_documents(documents: &[u8], rules: &[u8]) -> Result<Self> {
        let rules = Rules::parse(rules)?;
        let mut references: Vec<KeyReference> = Vec::new();
        for document in split_documents(documents)? {
            let (_, targets) = rules.find(document)?;
            for target in targets {
                let rule = rules.rule(target);
                if !references.contains(&rule.key) {
                    references.push(rule.key.clone());
                }
            }
        }
        let operation = EncryptDocuments {
            documents: SecretBytes::copy_from(documents),
            rules,
        };
        Ok(keyed(references, false, operation))
    }
}

impl KeyedOperation for EncryptDocuments {
    fn run(&self, keys: &KeyRing, entropy: &mut dyn Entropy) -> Result<SecretBytes> {
        let documents = self.documents.expose();
        let mut out = SecretBytes::with_capacity(documents.len() * 2);
        for document in split_documents(documents)? {
            let (scan, targets) = self.rules.find(document)?;
            let grown = scan
                .found
                .iter()
                .map(|found| payload_len(found.value.len()))
                .sum();
            let mut batch = SealBatch::with_capacity(targets.len(), grown);
            for (found, target) in scan.found.iter().zip(&targets) {
                let rule = self.rules.rule(*target);
                let key = key_for(keys, &rule.key)?;
                let header = key.associated_data(rule.algorithm, found.bson_type);
                let canonical = canonical_value(found.bson_type, found.value);
                let value = canonical.as_ref().map_or(found.value, SecretBytes::expose);
                let iv = key.iv(rule.algorithm, &header, value, entropy)?;
                batch.push(key.aead(), &iv, &header, value);
            }
            let (blobs, ranges) = batch.seal();
            out.reserve(document.len() + blobs.len() + ranges.len() * 5);
            let len = rewrite(
                document,
                &scan,
                |i| NewValue::Encrypted(&blobs[ranges[i].clone()]),
                out.expose_mut(),
            );
            check_document_size(len)?;
        }
        Ok(out)
    }
}

impl Rules {
    fn parse(document: &[u8]) -> Result<Self> {
        let mut rules = Self {
            nodes: alloc::vec![Node::Names(BTreeMap::new())],
        };
        for element in elements(document)? {
            let element = element?;
            let path = String::from_utf8_lossy(element.name).to_string();
            if element.bson_type != ty::DOCUMENT {
                return Err(Error::new(
                    Code::OptionInvalid,
                    format!("the rule of '{path}' must be a document"),
                ));
            }
            let (algorithm, key) =
                parse_encrypt_options(element.value).map_err(|error| error.with("path", &path))?;
            rules
                .insert(element.name, Rule { algorithm, key })
                .map_err(|error| error.with("path", &path))?;
        }
        Ok(rules)
    }

    fn insert(&mut self, path: &[u8], rule: Rule) -> Result<()> {
        let mut node = 0;
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'.').collect();
        for (depth, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(Error::new(
                    Code::OptionInvalid,
                    "a path has an empty field name",
                ));
            }
            let next = self.nodes.len();
            let Node::Names(known) = &mut self.nodes[node] else {
                return Err(overlapping());
            };
            let is_last = depth + 1 == names.len();
            match known.get(*name) {
                Some(_) if is_last => return Err(overlapping()),
                Some(child) => node = *child,
                None => {
                    known.insert(name.to_vec(), next);
                    self.nodes.push(Node::Names(BTreeMap::new()));
                    node = next;
                }
            }
        }
        self.nodes[node] = Node::Rule(rule);
        Ok(())
    }

    fn child(&self, node: usize, name: &[u8]) -> Option<usize> {
        match &self.nodes[node] {
            Node::Names(known) => known.get(name).copied(),
            Node::Rule(_) => None,
        }
    }

    fn rule(&self, node: usize) -> &Rule {
        match &self.nodes[node] {
            Node::Rule(rule) => rule,
            Node::Names(_) => unreachable!("targets are rules"),
        }
    }

    /// The values that rules name, and the rule of each.
    fn find<'a>(&self, document: &'a [u8]) -> Result<(Scan<'a>, Vec<usize>)> {
        // For each document or array entered: its node, and whether its own names are array indexes.
        let mut frames = alloc::vec![(0usize, false)];
        let mut targets = Vec::new();
        let mut refused = None;
        let scan = walk(document, |element: &Element<'a>, frame| {
            let (node, in_array) = frames[frame];
            let node = match in_array {
                true => Some(node),
                false => self.child(node, element.name),
            };
            let Some(node) = node else {
                return Ok(Visit::Skip);
            };
            if let (Node::Rule(rule), false) = (&self.nodes[node], in_array) {
                if let Err(error) =
                    check_encryptable(rule.algorithm, element.bson_type, element.value)
                {
                    refused.get_or_insert((targets.len(), error));
                }
                targets.push(node);
                return Ok(Visit::Take);
            }
            if matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
                frames.push((node, element.bson_type == ty::ARRAY));
                return Ok(Visit::Enter);
            }
            Ok(Visit::Skip)
        })?;
        match refused {
            Some((index, error)) => Err(error.with("path", scan.path_text(&scan.found[index]))),
            None => Ok((scan, targets)),
        }
    }
}

fn overlapping() -> Error {
    Error::new(
        Code::OptionInvalid,
        "two rules name the same value, or a value inside another",
    )
}
