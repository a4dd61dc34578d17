//! Which paths a JSON schema encrypts. A reader of schemas and nothing else: it knows no commands and no analyser.
//!
//! It is the stricter reading where a schema can be read in two ways: a name that `properties`, `patternProperties` or
//! `additionalProperties` encrypt in any way is encrypted. An `encrypt` that stands where it cannot be followed to a path
//! makes the schema invalid.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::name_pattern::NamePattern;
use crate::{
    error::{Code, Error, Result},
    raw::{Element, MAX_DEPTH, all_elements, element_type as ty},
};

/// The encrypted paths of one schema.
pub(crate) struct EncryptedPaths {
    /// None where nothing is encrypted.
    root: Option<ObjectSchema>,
}

/// A subschema below which something is encrypted.
#[derive(Default)]
pub(crate) struct ObjectSchema {
    properties: Properties,
    patterns: Vec<(NamePattern, Node)>,
    additional: Option<Box<Node>>,
}

/// The nodes of `properties`, found by name in logarithmic time.
#[derive(Default)]
struct Properties {
    nodes: Vec<(Vec<u8>, Node)>,
    indexes: BTreeMap<Vec<u8>, usize>,
}

enum Node {
    Plain,
    Encrypted,
    Object(ObjectSchema),
}

/// What a schema says about a path.
pub(crate) enum Place<'a> {
    /// Nothing is encrypted there.
    Plain,
    /// The value there is encrypted as a whole.
    Encrypted,
    /// The path leads into an encrypted value.
    Inside,
    /// Values below are encrypted.
    Above(Vec<&'a ObjectSchema>),
}

impl EncryptedPaths {
    /// Reads a schema.
    ///
    /// Errors: `SCHEMA_INVALID` with the path in the schema; `BSON_MALFORMED`, `BSON_TOO_DEEP`.
    pub(crate) fn read(schema: &[u8]) -> Result<Self> {
        match node(schema, "", 0)? {
            Node::Plain => Ok(Self { root: None }),
            Node::Object(object) => Ok(Self { root: Some(object) }),
            Node::Encrypted => Err(misplaced("")),
        }
    }

    /// The subschemas of the root: none, or one.
    pub(crate) fn roots(&self) -> Vec<&ObjectSchema> {
        self.root.iter().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_none()
    }
}

/// Follows one field name.
pub(crate) fn step<'a>(objects: &[&'a ObjectSchema], name: &[u8]) -> Place<'a> {
    let mut above = Vec::new();
    for object in objects {
        let mut is_named = false;
        let mut is_encrypted = false;
        let mut meet = |node: &'a Node| match node {
            Node::Plain => {}
            Node::Encrypted => is_encrypted = true,
            Node::Object(object) => above.push(object),
        };
        if let Some(node) = object.properties.find(name) {
            is_named = true;
            meet(node);
        }
        if !object.patterns.is_empty() {
            let text = String::from_utf8_lossy(name);
            for (pattern, node) in &object.patterns {
                if pattern.matches(&text) {
                    is_named = true;
                    meet(node);
                }
            }
        }
        if !is_named && let Some(node) = &object.additional {
            meet(node);
        }
        if is_encrypted {
            return Place::Encrypted;
        }
    }
    match above.is_empty() {
        true => Place::Plain,
        false => Place::Above(above),
    }
}

/// What those names may mean that are `meant`: a pattern and the rest of the names may always be.
pub(crate) fn several<'a>(
    objects: &[&'a ObjectSchema],
    meant: &dyn Fn(&[u8]) -> bool,
) -> Place<'a> {
    let mut above = Vec::new();
    for object in objects {
        let named = object
            .properties
            .nodes
            .iter()
            .filter(|(name, _)| meant(name));
        let patterns = object.patterns.iter().map(|(_, node)| node);
        let nodes = named.map(|(_, node)| node).chain(patterns);
        for node in nodes.chain(object.additional.as_deref()) {
            match node {
                Node::Plain => {}
                Node::Encrypted => return Place::Encrypted,
                Node::Object(object) => above.push(object),
            }
        }
    }
    match above.is_empty() {
        true => Place::Plain,
        false => Place::Above(above),
    }
}

/// Follows a dotted path. Array positions (`0`, `$`, `$[]`, `$[id]`) do not lead out of an object.
pub(crate) fn resolve<'a>(objects: &[&'a ObjectSchema], path: &[u8]) -> Place<'a> {
    let mut place = Place::Above(objects.to_vec());
    for name in path.split(|byte| *byte == b'.') {
        place = match place {
            Place::Plain => return Place::Plain,
            Place::Encrypted | Place::Inside => return Place::Inside,
            Place::Above(objects) => match step(&objects, name) {
                Place::Plain if is_position(name) => Place::Above(objects),
                next => next,
            },
        };
    }
    match place {
        Place::Above(objects) if objects.is_empty() => Place::Plain,
        place => place,
    }
}

/// Whether a name is the last one of an encrypted path.
pub(crate) fn names_encrypted(objects: &[&ObjectSchema], name: &[u8]) -> bool {
    let of_node = |node: &Node, is_name: bool| match node {
        Node::Plain => false,
        Node::Encrypted => is_name,
        Node::Object(object) => names_encrypted(&[object], name),
    };
    let text = String::from_utf8_lossy(name);
    objects.iter().any(|object| {
        let mut properties = object.properties.nodes.iter();
        let mut patterns = object.patterns.iter();
        properties.any(|(known, node)| of_node(node, known == name))
            || patterns.any(|(pattern, node)| of_node(node, pattern.matches(&text)))
            || object
                .additional
                .as_ref()
                .is_some_and(|node| of_node(node, false))
    })
}

fn is_position(name: &[u8]) -> bool {
    name.first() == Some(&b'$') || (!name.is_empty() && name.iter().all(u8::is_ascii_digit))
}

fn node(schema: &[u8], path: &str, depth: usize) -> Result<Node> {
    if depth > MAX_DEPTH {
        return Err(Error::new(
            Code::BsonTooDeep,
            "the schema nests deeper than 200 levels",
        ));
    }
    let mut object = ObjectSchema::default();
    let mut is_encrypted = false;
    for keyword in all_elements(schema)? {
        let at = join(path, keyword.name);
        match keyword.name {
            b"encrypt" if keyword.bson_type == ty::DOCUMENT => is_encrypted = true,
            b"encrypt" => return Err(misplaced(&at)),
            b"properties" => {
                for property in fields_of(&keyword, &at)? {
                    let node = subschema(&property, &join(&at, property.name), depth)?;
                    match property.name.contains(&b'.') && !matches!(node, Node::Plain) {
                        true => return Err(misplaced(&join(&at, property.name))),
                        false => object.properties.add(property.name, node),
                    }
                }
            }
            b"patternProperties" => {
                for property in fields_of(&keyword, &at)? {
                    let at = join(&at, property.name);
                    let node = subschema(&property, &at, depth)?;
                    let pattern = core::str::from_utf8(property.name)
                        .ok()
                        .and_then(NamePattern::parse);
                    match (pattern, node) {
                        (Some(pattern), node) => object.patterns.push((pattern, node)),
                        // It could only say that a name is not encrypted by `additionalProperties`.
                        (None, Node::Plain) => {}
                        (None, _) => {
                            return Err(invalid(
                                "the pattern of an encrypted property is not supported",
                                &at,
                            ));
                        }
                    }
                }
            }
            b"additionalProperties" if keyword.bson_type == ty::DOCUMENT => {
                object.additional = Some(Box::new(subschema(&keyword, &at, depth)?));
            }
            // Values that documents are compared with; nothing in them is a keyword.
            b"enum" | b"required" | b"title" | b"description" => {}
            _ => refuse_encrypt(&keyword, &at, depth)?,
        }
    }
    let is_above = object
        .properties
        .nodes
        .iter()
        .any(|(_, node)| node.encrypts())
        || object.patterns.iter().any(|(_, node)| node.encrypts())
        || object
            .additional
            .as_ref()
            .is_some_and(|node| node.encrypts());
    Ok(match (is_encrypted, is_above) {
        (true, _) => Node::Encrypted,
        (false, true) => Node::Object(object),
        (false, false) => Node::Plain,
    })
}

impl Node {
    fn encrypts(&self) -> bool {
        !matches!(self, Self::Plain)
    }
}

impl Properties {
    /// Of a property that is there twice the stricter node counts.
    fn add(&mut self, name: &[u8], node: Node) {
        let Some(index) = self.indexes.get(name) else {
            self.indexes.insert(name.to_vec(), self.nodes.len());
            self.nodes.push((name.to_vec(), node));
            return;
        };
        let known = &mut self.nodes[*index].1;
        match (&*known, &node) {
            (Node::Encrypted, _) | (Node::Object(_), Node::Plain) => {}
            _ => *known = node,
        }
    }

    fn find(&self, name: &[u8]) -> Option<&Node> {
        let index = self.indexes.get(name)?;
        Some(&self.nodes[*index].1)
    }
}

/// `true` and `false` are schemas too.
fn subschema(element: &Element<'_>, path: &str, depth: usize) -> Result<Node> {
    match element.bson_type {
        ty::DOCUMENT => node(element.value, path, depth + 1),
        _ => {
            refuse_encrypt(element, path, depth)?;
            Ok(Node::Plain)
        }
    }
}

/// Combinations, elements of arrays, unknown keywords: `encrypt` cannot be followed there.
fn refuse_encrypt(keyword: &Element<'_>, path: &str, depth: usize) -> Result<()> {
    // Of each: whether its names are those of properties, and not keywords.
    let mut open = vec![(*keyword, path.to_string(), depth, false)];
    while let Some((element, path, depth, are_properties)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(Error::new(
                Code::BsonTooDeep,
                "the schema nests deeper than 200 levels",
            ));
        }
        if !matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) {
            continue;
        }
        for inner in all_elements(element.value)? {
            let at = join(&path, inner.name);
            match inner.name {
                _ if are_properties => open.push((inner, at, depth + 1, false)),
                b"encrypt" => return Err(misplaced(&at)),
                b"enum" => {}
                b"properties" | b"patternProperties" => open.push((inner, at, depth + 1, true)),
                _ => open.push((inner, at, depth + 1, false)),
            }
        }
    }
    Ok(())
}

fn fields_of<'a>(keyword: &Element<'a>, path: &str) -> Result<Vec<Element<'a>>> {
    match keyword.bson_type {
        ty::DOCUMENT => all_elements(keyword.value),
        _ => Err(invalid("expected a document of properties", path)),
    }
}

fn join(path: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    match path.is_empty() {
        true => name.into_owned(),
        false => format!("{path}.{name}"),
    }
}

fn misplaced(path: &str) -> Error {
    invalid("Invalid schema containing the 'encrypt' keyword.", path)
}

fn invalid(message: &'static str, path: &str) -> Error {
    Error::new(Code::SchemaInvalid, message).with("path", path)
}
