//! The filter that matches a document only while each value about to be replaced stands, as it was read, at its place, and
//! the update that writes these places and no other.
//!
//! The filter is an aggregation expression. Query language and the field paths of `$expr` enter arrays on their own;
//! `$getField` and `$arrayElemAt` do not: they prove one step of the path each. A value is a binary, which compares by
//! length, subtype and bytes and equals no value of another type.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use super::transform::unsupported;
use crate::{
    error::Result,
    raw::{
        Element, NewValue, Scan, document_len, element_type as ty, elements, end_document,
        push_element,
    },
};

mod pipeline;

/// How many levels a filter or an update may nest below the ones of its command; servers take 200 in all.
const MAX_LEVELS: usize = 170;
/// An update with dotted paths repeats the way to each value. It may take this much, and twice the document.
const PATHS_LIMIT: usize = 64 * 1024;
/// The variable that holds the document or array whose children an expression looks at.
const VARIABLE: &[u8] = b"v";

/// A document or array on the way to a value that changes, or such a value.
struct Place<'a> {
    name: &'a [u8],
    kind: Kind,
    /// In the order of the document.
    children: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Document,
    Array,
    /// The value of this index.
    Value(usize),
}

/// The places of all values that change, as a tree with the document at index 0.
pub(super) struct Places<'s, 'a> {
    scan: &'s Scan<'a>,
    places: Vec<Place<'a>>,
    /// Whether dotted paths reach every value.
    addressable: bool,
    /// Length of all dotted paths together.
    path_len: usize,
    document_len: usize,
}

impl<'s, 'a> Places<'s, 'a> {
    /// Errors: `MIGRATION_DOCUMENT_UNSUPPORTED` where a path does not name one place.
    pub(super) fn of(document: &'a [u8], scan: &'s Scan<'a>) -> Result<Self> {
        let root = Place {
            name: b"",
            kind: Kind::Document,
            children: Vec::new(),
        };
        let mut tree = Self {
            scan,
            places: alloc::vec![root],
            addressable: true,
            path_len: 0,
            document_len: document.len(),
        };
        let mut place_of = alloc::vec![None; scan.frame_count()];
        place_of[0] = Some(0);
        let mut offsets = alloc::vec![0];
        for (index, found) in scan.found.iter().enumerate() {
            let mut missing = Vec::new();
            let mut frame = found.frame();
            while place_of[frame].is_none() {
                missing.push(frame);
                frame = scan.frame(frame).parent;
            }
            let mut parent = place_of[frame].unwrap_or(0);
            for frame in missing.into_iter().rev() {
                let inner = scan.frame(frame);
                let kind = if inner.array {
                    Kind::Array
                } else {
                    Kind::Document
                };
                parent = tree.push(parent, inner.name, kind)?;
                offsets.push(inner.offset);
                place_of[frame] = Some(parent);
            }
            tree.push(parent, found.name, Kind::Value(index))?;
            offsets.push(found.offset);
            let path = scan.path(found);
            tree.path_len += path.iter().map(|name| name.len() + 1).sum::<usize>();
            tree.addressable &= path.iter().all(|name| is_addressable(name));
        }
        for (place, offset) in tree.places.iter().zip(offsets) {
            if place.kind == Kind::Document {
                tree.check_names(place, &document[offset..])?;
            }
        }
        Ok(tree)
    }

    fn push(&mut self, parent: usize, name: &'a [u8], kind: Kind) -> Result<usize> {
        if self.places[parent].kind == Kind::Array && array_index(name).is_none() {
            return Err(unsupported(
                "an array of the document has no regular indexes",
            ));
        }
        let place = self.places.len();
        self.places.push(Place {
            name,
            kind,
            children: Vec::new(),
        });
        self.places[parent].children.push(place);
        Ok(place)
    }

    /// No name on a path may stand twice in its document: it is not documented which of the two a server uses.
    fn check_names(&self, place: &Place<'_>, document: &[u8]) -> Result<()> {
        let len = document_len(document)?;
        let mut names: Vec<&[u8]> = elements(&document[..len])?
            .map(|element| element.map(|element| element.name))
            .collect::<Result<_>>()?;
        names.sort_unstable();
        let twice = names
            .windows(2)
            .map(|pair| (pair[0], pair[0] == pair[1]))
            .find(|(name, equal)| *equal && (!self.by_paths() || self.has_child(place, name)));
        match twice {
            None => Ok(()),
            Some((name, _)) => {
                let path = String::from_utf8_lossy(name).into_owned();
                Err(unsupported("the document has two fields of the same name").with("path", path))
            }
        }
    }

    fn has_child(&self, place: &Place<'_>, name: &[u8]) -> bool {
        place
            .children
            .iter()
            .any(|child| self.places[*child].name == name)
    }

    /// How many bytes an update has at most, without the values: what each place takes in either form, and the dotted paths.
    pub(super) fn update_room(&self) -> usize {
        self.path_len + 512 * self.places.len()
    }

    /// Whether the update is a `$set` of dotted paths: every name can be part of one, and they are not too long together.
    fn by_paths(&self) -> bool {
        self.addressable && self.path_len <= 2 * self.document_len + PATHS_LIMIT
    }

    /// Appends `q`: `{_id, $expr}`.
    ///
    /// Errors: `MIGRATION_DOCUMENT_UNSUPPORTED` for a document that nests too deeply for it.
    pub(super) fn push_filter(&self, out: &mut Vec<u8>, id: Element<'_>) -> Result<()> {
        let filter = begin(out, ty::DOCUMENT, b"q");
        push_element(out, id.bson_type, b"_id", id.value);
        let whole = begin(out, ty::DOCUMENT, b"$expr");
        self.push_condition(out, 0, 0)?;
        end_document(out, whole);
        end_document(out, filter);
        Ok(())
    }

    /// Appends `u`: `{$set}`, or a pipeline where dotted paths will not do.
    ///
    /// Errors: `MIGRATION_DOCUMENT_UNSUPPORTED` for a document that nests too deeply for it.
    pub(super) fn push_update<'r>(
        &self,
        out: &mut Vec<u8>,
        new_value: &dyn Fn(usize) -> NewValue<'r>,
    ) -> Result<()> {
        if !self.by_paths() {
            let start = out.len();
            match self.push_pipeline(out, new_value) {
                // The pipeline nests too deeply: use the long paths.
                Err(_) if self.addressable => out.truncate(start),
                pushed => return pushed,
            }
        }
        let update = begin(out, ty::DOCUMENT, b"u");
        let set = begin(out, ty::DOCUMENT, b"$set");
        for (index, found) in self.scan.found.iter().enumerate() {
            let value = new_value(index);
            let path = self.scan.path(found).join(&b'.');
            push_element(out, value.bson_type(), &path, b"");
            value.push_value(out);
        }
        end_document(out, set);
        end_document(out, update);
        Ok(())
    }

    /// Appends the content of an expression that is true while all values below `place` are where they were.
    fn push_condition(&self, out: &mut Vec<u8>, place: usize, levels: usize) -> Result<()> {
        check_levels(levels)?;
        let children = &self.places[place].children;
        if let [only] = children[..] {
            return self.push_child_condition(out, place, only, levels);
        }
        let all = begin(out, ty::ARRAY, b"$and");
        for (index, child) in children.iter().enumerate() {
            let item = begin(out, ty::DOCUMENT, index.to_string().as_bytes());
            self.push_child_condition(out, place, *child, levels + 2)?;
            end_document(out, item);
        }
        end_document(out, all);
        Ok(())
    }

    fn push_child_condition(
        &self,
        out: &mut Vec<u8>,
        place: usize,
        child: usize,
        levels: usize,
    ) -> Result<()> {
        let straight = match self.places[place].kind {
            Kind::Array => None,
            _ => self.straight_path(child),
        };
        if let Some((path, index)) = straight {
            // Where one of these fields holds an array, the path gives an array, and that equals no binary.
            let mut text = if place == 0 {
                b"$".to_vec()
            } else {
                b"$$v.".to_vec()
            };
            text.extend_from_slice(&path);
            self.push_equality(out, index, |out| push_text(out, b"0", &text));
            return Ok(());
        }
        if let Kind::Value(index) = self.places[child].kind {
            self.push_equality(out, index, |out| self.push_access(out, b"0", place, child));
            return Ok(());
        }
        let scope = begin(out, ty::DOCUMENT, b"$let");
        self.push_variable(out, place, child);
        let inner = begin(out, ty::DOCUMENT, b"in");
        self.push_condition(out, child, levels + 2)?;
        end_document(out, inner);
        end_document(out, scope);
        Ok(())
    }

    /// The dotted path from a field to the one value below it, if there is no array on it and every name can be part of it.
    fn straight_path(&self, mut place: usize) -> Option<(Vec<u8>, usize)> {
        let mut path = Vec::new();
        loop {
            let Place {
                name,
                kind,
                children,
            } = &self.places[place];
            if !is_addressable(name) {
                return None;
            }
            path.extend_from_slice(name);
            match (kind, &children[..]) {
                (Kind::Value(index), _) => return Some((path, *index)),
                (Kind::Document, [only]) => place = *only,
                _ => return None,
            }
            path.push(b'.');
        }
    }

    fn push_equality(&self, out: &mut Vec<u8>, index: usize, left: impl FnOnce(&mut Vec<u8>)) {
        let operands = begin(out, ty::ARRAY, b"$eq");
        left(out);
        let literal = begin(out, ty::DOCUMENT, b"1");
        let found = &self.scan.found[index];
        push_element(out, found.bson_type, b"$literal", found.value);
        end_document(out, literal);
        end_document(out, operands);
    }

    /// Appends `vars`: what stands at `child`, and for an array that is none any more an empty one, which has no elements.
    fn push_variable(&self, out: &mut Vec<u8>, place: usize, child: usize) {
        let variables = begin(out, ty::DOCUMENT, b"vars");
        if self.places[child].kind == Kind::Array {
            let value = begin(out, ty::DOCUMENT, VARIABLE);
            let scope = begin(out, ty::DOCUMENT, b"$let");
            let inner = begin(out, ty::DOCUMENT, b"vars");
            self.push_access(out, VARIABLE, place, child);
            end_document(out, inner);
            let body = begin(out, ty::DOCUMENT, b"in");
            let choice = begin(out, ty::ARRAY, b"$cond");
            let question = begin(out, ty::DOCUMENT, b"0");
            let operand = begin(out, ty::ARRAY, b"$isArray");
            push_text(out, b"0", b"$$v");
            end_document(out, operand);
            end_document(out, question);
            push_text(out, b"1", b"$$v");
            let empty = begin(out, ty::ARRAY, b"2");
            end_document(out, empty);
            end_document(out, choice);
            end_document(out, body);
            end_document(out, scope);
            end_document(out, value);
        } else {
            self.push_access(out, VARIABLE, place, child);
        }
        end_document(out, variables);
    }

    /// Appends the expression `name` for the child itself: one step, of the kind that was read.
    fn push_access(&self, out: &mut Vec<u8>, name: &[u8], place: usize, child: usize) {
        let step = begin(out, ty::DOCUMENT, name);
        let Place { name, .. } = self.places[child];
        if self.places[place].kind == Kind::Array {
            let operands = begin(out, ty::ARRAY, b"$arrayElemAt");
            push_text(out, b"0", b"$$v");
            push_int(out, b"1", array_index(name).unwrap_or_default());
            end_document(out, operands);
        } else {
            let field = begin(out, ty::DOCUMENT, b"$getField");
            push_literal_name(out, name);
            push_text(out, b"input", input_of(place));
            end_document(out, field);
        }
        end_document(out, step);
    }
}

/// Whether a field name can be one step of a dotted path.
fn is_addressable(name: &[u8]) -> bool {
    !name.is_empty() && name[0] != b'$' && !name.contains(&b'.')
}

/// The index that the name of an array's element stands for.
fn array_index(name: &[u8]) -> Option<i32> {
    let text = core::str::from_utf8(name).ok()?;
    let index: i32 = text.parse().ok()?;
    ((0..i32::MAX).contains(&index) && index.to_string() == text).then_some(index)
}

fn check_levels(levels: usize) -> Result<()> {
    if levels <= MAX_LEVELS {
        return Ok(());
    }
    Err(unsupported(
        "the document nests too deeply for a conditional write",
    ))
}

fn input_of(place: usize) -> &'static [u8] {
    if place == 0 { b"$$ROOT" } else { b"$$v" }
}

/// `field: {$literal: name}`: a name that begins with `$` is no path then.
fn push_literal_name(out: &mut Vec<u8>, name: &[u8]) {
    let field = begin(out, ty::DOCUMENT, b"field");
    push_text(out, b"$literal", name);
    end_document(out, field);
}

fn push_text(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    push_element(
        out,
        ty::STRING,
        name,
        &(text.len() as u32 + 1).to_le_bytes(),
    );
    out.extend_from_slice(text);
    out.push(0);
}

fn push_int(out: &mut Vec<u8>, name: &[u8], value: i32) {
    push_element(out, ty::INT32, name, &value.to_le_bytes());
}

fn begin(out: &mut Vec<u8>, bson_type: u8, name: &[u8]) -> usize {
    push_element(out, bson_type, name, b"");
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}
