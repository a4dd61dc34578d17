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
    options::parse_field_rule,
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

/// Length and final NUL.
const EMPTY_DOCUMENT_LEN: usize = 5;

struct Rule {
    path: String,
    algorithm: Algorithm,
    key: KeyReference,
    /// Whether documents may lack the path.
    optional: bool,
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
    /// Shape: `rules` = `{"a.b": {algorithm, keyId | keyAltName, optional?}, ...}`. Arrays on the way are entered; an empty
    /// one satisfies every rule that leads into it. An array at the end of a path is one value.
    /// Errors: those of explicit encryption, with the path; `VALUE_PATH_NOT_FOUND` for a path that a document lacks, unless its
    /// rule is optional; `BSON_TOO_LARGE` when a document grows past 16 MiB.
    pub fn encrypt_documents(documents: &[u8], rules: &[u8]) -> Result<Self> {
        let rules = Rules::parse(rules)?;
        let mut references: Vec<KeyReference> = Vec::new();
        for (index, document) in split_documents(documents)?.into_iter().enumerate() {
            let (_, targets) = rules
                .find(document)
                .map_err(|error| error.with("index", index))?;
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
            let (algorithm, key, optional) =
                parse_field_rule(element.value).map_err(|error| error.with("path", &path))?;
            let rule = Rule {
                path: path.clone(),
                algorithm,
                key,
                optional,
            };
            rules
                .insert(element.name, rule)
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

    /// Notes every rule at or below a node as met.
    fn meet(&self, node: usize, met: &mut [bool]) {
        met[node] = true;
        if let Node::Names(known) = &self.nodes[node] {
            for child in known.values() {
                self.meet(*child, met);
            }
        }
    }

    /// The values that rules name, and the rule of each.
    ///
    /// Errors: `VALUE_PATH_NOT_FOUND` for a rule that is met by none and not optional: its value would stay in the clear at
    /// another path than the rule says.
    fn find<'a>(&self, document: &'a [u8]) -> Result<(Scan<'a>, Vec<usize>)> {
        // For each document or array entered: its node, and whether its own names are array indexes.
        let mut frames = alloc::vec![(0usize, false)];
        let mut targets = Vec::new();
        let mut met = alloc::vec![false; self.nodes.len()];
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
                met[node] = true;
                return Ok(Visit::Take);
            }
            if element.bson_type == ty::ARRAY && element.value.len() == EMPTY_DOCUMENT_LEN {
                self.meet(node, &mut met);
            }
            if matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
                frames.push((node, element.bson_type == ty::ARRAY));
                return Ok(Visit::Enter);
            }
            Ok(Visit::Skip)
        })?;
        if let Some((index, error)) = refused {
            return Err(error.with("path", scan.path_text(&scan.found[index])));
        }
        let unmet = self.nodes.iter().zip(&met).find_map(|pair| match pair {
            (Node::Rule(rule), false) if !rule.optional => Some(rule),
            _ => None,
        });
        match unmet {
            Some(rule) => Err(Error::new(
                Code::ValuePathNotFound,
                format!(
                    "a rule names '{}', and the document has no value there",
                    rule.path
                ),
            )
            .with("path", &rule.path)),
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
