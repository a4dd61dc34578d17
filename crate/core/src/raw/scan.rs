//! Where a document's subtype-6 values are.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use super::element::{Elements, element_type as ty, elements, too_deep};
use super::{Element, MAX_DEPTH};
use crate::error::Result;

/// BSON binary subtype of encrypted values.
const SUBTYPE_ENCRYPTED: u8 = 6;

/// One value inside a document.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// Offset of the type byte from the start of the whole document.
    pub offset: usize,
    /// The field name (an index inside an array).
    pub name: &'a [u8],
    /// The BSON type byte.
    pub bson_type: u8,
    /// The value bytes.
    pub value: &'a [u8],
    pub(super) frame: usize,
}

impl<'a> Found<'a> {
    /// Offset of the value from the start of the whole document.
    #[must_use]
    pub fn value_offset(&self) -> usize {
        self.offset + self.name.len() + 2
    }

    /// The payload of the binary: what follows length and subtype.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.value[5..]
    }

    /// The number of the document or array that the value stands in.
    pub(crate) fn frame(&self) -> usize {
        self.frame
    }
}

/// A document or array that was entered.
pub(crate) struct Frame<'a> {
    pub(crate) offset: usize,
    pub(crate) parent: usize,
    pub(crate) name: &'a [u8],
    pub(crate) array: bool,
}

/// The values that were asked for, in document order, and the documents around them.
pub struct Scan<'a> {
    /// The values found.
    pub found: Vec<Found<'a>>,
    pub(super) frames: Vec<Frame<'a>>,
}

impl<'a> Scan<'a> {
    /// The field names from the top of the document to the value; array indexes are names too.
    #[must_use]
    pub fn path(&self, found: &Found<'a>) -> Vec<&'a [u8]> {
        let mut names = alloc::vec![found.name];
        let mut frame = found.frame;
        while frame != 0 {
            names.push(self.frames[frame].name);
            frame = self.frames[frame].parent;
        }
        names.reverse();
        names
    }

    /// How many documents and arrays were entered, the top one counted.
    pub(crate) fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// The document or array of this number.
    pub(crate) fn frame(&self, number: usize) -> &Frame<'a> {
        &self.frames[number]
    }

    /// The path as text, for messages: names joined by dots.
    #[must_use]
    pub fn path_text(&self, found: &Found<'a>) -> String {
        self.joined(found, |name, _| String::from_utf8_lossy(name).to_string())
    }

    /// The path with every array index replaced by `$[]`, so that like values share it.
    #[must_use]
    pub fn folded_path(&self, found: &Found<'a>) -> String {
        self.joined(found, |name, in_array| match in_array {
            true => "$[]".to_string(),
            false => String::from_utf8_lossy(name).to_string(),
        })
    }

    fn frame_path(&self, mut frame: usize) -> String {
        let mut parts = Vec::new();
        while frame != 0 {
            parts.push(String::from_utf8_lossy(self.frames[frame].name).to_string());
            frame = self.frames[frame].parent;
        }
        parts.reverse();
        parts.join(".")
    }

    fn joined(&self, found: &Found<'a>, text: impl Fn(&[u8], bool) -> String) -> String {
        let mut parts = alloc::vec![text(found.name, self.frames[found.frame].array)];
        let mut frame = found.frame;
        while frame != 0 {
            let parent = self.frames[frame].parent;
            parts.push(text(self.frames[frame].name, self.frames[parent].array));
            frame = parent;
        }
        parts.reverse();
        parts.join(".")
    }
}

/// What a walk does with an element.
pub(crate) enum Visit {
    /// Keep it as found.
    Take,
    /// Go into it, when it is a document or an array.
    Enter,
    /// Leave it.
    Skip,
}

/// Finds every subtype-6 binary that `wanted` accepts by its payload, in documents and arrays of any depth up to 200.
/// Scopes of code are not entered, as in the reference.
///
/// Errors: `BSON_MALFORMED`, `BSON_TOO_DEEP`.
pub fn scan<'a>(document: &'a [u8], mut wanted: impl FnMut(&'a [u8]) -> bool) -> Result<Scan<'a>> {
    walk(document, |element, _| match element.as_binary() {
        Some((SUBTYPE_ENCRYPTED, payload)) if wanted(payload) => Ok(Visit::Take),
        _ => Ok(Visit::Enter),
    })
}

/// Walks all elements. `visit` is given each with the number of the document or array it stands in: 0 is the top, and
/// every one that is entered takes the next number.
pub(crate) fn walk<'a>(
    document: &'a [u8],
    mut visit: impl FnMut(&Element<'a>, usize) -> Result<Visit>,
) -> Result<Scan<'a>> {
    let top = Frame {
        offset: 0,
        parent: 0,
        name: b"",
        array: false,
    };
    let mut scan = Scan {
        found: Vec::new(),
        frames: alloc::vec![top],
    };
    // Explicit stack: a document of 200 levels must not depend on the host's call stack.
    let mut stack: Vec<(Elements<'a>, usize)> = alloc::vec![(elements(document)?, 0)];
    while let Some((open, frame)) = stack.last_mut() {
        let Some(element) = open.next() else {
            stack.pop();
            continue;
        };
        let frame = *frame;
        let element = element.map_err(|error| match frame {
            0 => error,
            _ => error.with("path", scan.frame_path(frame)),
        })?;
        let base = scan.frames[frame].offset;
        match visit(&element, frame)? {
            Visit::Take => scan.found.push(Found {
                offset: base + element.offset,
                name: element.name,
                bson_type: element.bson_type,
                value: element.value,
                frame,
            }),
            Visit::Enter if matches!(element.bson_type, ty::DOCUMENT | ty::ARRAY) => {
                if stack.len() == MAX_DEPTH {
                    return Err(too_deep());
                }
                scan.frames.push(Frame {
                    offset: base + element.value_offset(),
                    parent: frame,
                    name: element.name,
                    array: element.bson_type == ty::ARRAY,
                });
                stack.push((elements(element.value)?, scan.frames.len() - 1));
            }
            Visit::Enter | Visit::Skip => {}
        }
    }
    Ok(scan)
}
