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
        Element, NewValue, Scan, Visit, check_document_size, check_value, element_type as ty,
        elements, rewrite, split_documents, walk,
    },
    secret::SecretBytes,
    value_cipher::{canonical_value, check_encryptable, payload_len},
};

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
    /// Shape: `rules` = `{"a.b": {algorithm, keyId | keyAltName, optional?}, ...}`. Arrays on the way are entered; each of their
    /// elements has to have the path. An array at the end of a path is one value.
    /// Errors: those of explicit encryption, with the path; `VALUE_PATH_NOT_FOUND` for a path that a document lacks, unless its
    /// rule is optional; `VALUE_PATH_AMBIGUOUS` for names that spell a path in another way; `BSON_TOO_LARGE` when a document grows past 16 MiB.
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
                    format!(
                        "expected a document as the rule of '{path}', found BSON type {}",
                        element.bson_type
                    ),
                )
                .with("path", path));
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
                    format!(
                        "expected field names between the dots of a rule's path, found an empty one in '{}'",
                        rule.path
                    ),
                ));
            }
            let next = self.nodes.len();
            let Node::Names(known) = &mut self.nodes[node] else {
                return Err(overlapping(&rule.path));
            };
            let is_last = depth + 1 == names.len();
            match known.get(*name) {
                Some(_) if is_last => return Err(overlapping(&rule.path)),
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

    /// The first rule at or below a node that documents may not lack.
    fn required_under(&self, node: usize) -> Option<&Rule> {
        match &self.nodes[node] {
            Node::Rule(rule) => (!rule.optional).then_some(rule),
            Node::Names(known) => known.values().find_map(|child| self.required_under(*child)),
        }
    }

    /// The values that rules name, and the rule of each.
    ///
    /// Errors: `VALUE_PATH_NOT_FOUND` where a document, or one of the elements of an array on the way, has no value that a
    /// rule names; `VALUE_PATH_AMBIGUOUS` for a name that spells such a path in another way.
    fn find<'a>(&self, document: &'a [u8]) -> Result<(Scan<'a>, Vec<usize>)> {
        let mut frames = alloc::vec![Frame::new(0, false)];
        let mut targets = Vec::new();
        // The first error by its place in the document.
        let mut refused = None;
        let mut unmet = None;
        let scan = walk(document, |element: &Element<'a>, frame| {
            let Frame { node, in_array, .. } = frames[frame];
            let node = match in_array {
                true => Some(node),
                false => {
                    if frame == 0 || element.name.contains(&b'.') {
                        self.check_name(node, element, frame == 0)?;
                    }
                    self.child(node, element.name)
                }
            };
            let Some(node) = node else {
                return Ok(Visit::Skip);
            };
            frames[frame].met.push(node);
            if let (Node::Rule(rule), false) = (&self.nodes[node], in_array) {
                let checked = check_encryptable(rule.algorithm, element.bson_type, element.value)
                    .and_then(|()| match element.bson_type {
                        ty::DOCUMENT | ty::ARRAY | ty::CODE_WITH_SCOPE => {
                            check_value(element.bson_type, element.value)
                        }
                        _ => Ok(()),
                    });
                if let Err(error) = checked {
                    refused.get_or_insert((targets.len(), error));
                }
                targets.push(node);
                return Ok(Visit::Take);
            }
            match element.bson_type {
                ty::DOCUMENT => frames.push(Frame::new(node, false)),
                ty::ARRAY => {
                    self.check_steps(node)?;
                    frames.push(Frame::new(node, true));
                }
                _ => {
                    unmet = unmet.or_else(|| self.required_under(node));
                    return Ok(Visit::Skip);
                }
            }
            Ok(Visit::Enter)
        })?;
        if let Some((index, error)) = refused {
            return Err(error.with("path", scan.path_text(&scan.found[index])));
        }
        for frame in frames.iter().filter(|frame| !frame.in_array) {
            if let Node::Names(known) = &self.nodes[frame.node] {
                let missing = known.values().filter(|child| !frame.met.contains(child));
                unmet = unmet.or_else(|| {
                    missing
                        .into_iter()
                        .find_map(|child| self.required_under(*child))
                });
            }
        }
        match unmet {
            Some(rule) => Err(Error::new(
                Code::ValuePathNotFound,
                format!(
                    "a rule names '{}', and the document, or an element of an array in it, has no value there",
                    rule.path
                ),
            )
            .with("path", &rule.path)),
            None => Ok((scan, targets)),
        }
    }

    /// Refuses names that spell the path of a rule as one name, and operators of updates: their values would stay in the clear.
    fn check_name(&self, node: usize, element: &Element<'_>, is_top: bool) -> Result<()> {
        let name = element.name;
        if self.child(node, name).is_some() {
            return Ok(());
        }
        let what = if is_top && UPDATE_OPERATORS.contains(&name) {
            "is an operator of an update: encrypt the documents of its operators instead"
        } else if self.is_spelled(node, name) {
            "spells the path of a rule as one name, which no rule encrypts"
        } else {
            return Ok(());
        };
        let name = String::from_utf8_lossy(name).to_string();
        Err(Error::new(
            Code::ValuePathAmbiguous,
            format!("expected names of fields, found '{name}', which {what}"),
        )
        .with("path", name))
    }

    /// Whether a name with dots leads from a node to a rule, or towards one. A number may be an index of an array, which paths
    /// of rules do not have: numbers alone lead nowhere.
    fn is_spelled(&self, mut node: usize, name: &[u8]) -> bool {
        if !name.contains(&b'.') {
            return false;
        }
        let mut is_named = false;
        for step in name.split(|byte| *byte == b'.') {
            let Node::Names(known) = &self.nodes[node] else {
                break;
            };
            match known.get(step) {
                Some(child) => {
                    is_named = true;
                    node = *child;
                }
                None if is_index(step) => {}
                None => return false,
            }
        }
        is_named
    }

    /// Refuses a rule with an index where an array is: its elements are entered without one.
    fn check_steps(&self, node: usize) -> Result<()> {
        let Node::Names(known) = &self.nodes[node] else {
            return Ok(());
        };
        match known.iter().find(|(name, _)| is_index(name)) {
            None => Ok(()),
            Some((name, child)) => {
                let path = self.any_path_under(*child);
                Err(Error::new(
                    Code::ValuePathAmbiguous,
                    format!(
                        "the rule '{path}' has the index {} for an array, whose elements are entered: leave it out",
                        String::from_utf8_lossy(name)
                    ),
                )
                .with("path", path))
            }
        }
    }

    fn any_path_under(&self, node: usize) -> String {
        match &self.nodes[node] {
            Node::Rule(rule) => rule.path.clone(),
            Node::Names(known) => known
                .values()
                .next()
                .map_or_else(String::new, |child| self.any_path_under(*child)),
        }
    }
}

/// A document or an array that was entered.
struct Frame {
    node: usize,
    in_array: bool,
    /// The nodes of its own names.
    met: Vec<usize>,
}

impl Frame {
    fn new(node: usize, in_array: bool) -> Self {
        Self {
            node,
            in_array,
            met: Vec::new(),
        }
    }
}

/// The operators of an update and the stages of one in the form of a pipeline, as the manual of MongoDB 8 lists them.
const UPDATE_OPERATORS: [&[u8]; 19] = [
    b"$set",
    b"$unset",
    b"$inc",
    b"$mul",
    b"$rename",
    b"$min",
    b"$max",
    b"$currentDate",
    b"$setOnInsert",
    b"$push",
    b"$pull",
    b"$pullAll",
    b"$addToSet",
    b"$pop",
    b"$bit",
    b"$addFields",
    b"$project",
    b"$replaceRoot",
    b"$replaceWith",
];

fn is_index(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

fn overlapping(path: &str) -> Error {
    Error::new(
        Code::OptionInvalid,
        format!(
            "expected rules for separate values, found '{path}' and another rule for the same value or a value inside it"
        ),
    )
}
