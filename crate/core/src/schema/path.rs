//! Where in a schema the walk is.

use core::fmt;

use crate::error::{Code, Error, Result};

/// Levels of nesting that servers accept.
const MAX_DEPTH: usize = 200;

/// The names from the root to a value, linked through the stack frames of the walk.
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
    depth: usize,
}

impl<'a> Path<'a> {
    pub(super) const ROOT: Path<'static> = Path {
        parent: None,
        name: "",
        depth: 0,
    };

    /// One step down.
    ///
    /// Errors: `BSON_TOO_DEEP`; this is what bounds the recursion of the walk.
    pub(super) fn to(&'a self, name: &'a str) -> Result<Path<'a>> {
        let path = Path {
            parent: Some(self),
            name,
            depth: self.depth + 1,
        };
        if path.depth > MAX_DEPTH {
            return Err(path.refusal(Code::BsonTooDeep, "the schema nests deeper than 200 levels"));
        }
        Ok(path)
    }

    pub(super) fn invalid(&self, message: &'static str) -> Error {
        self.refusal(Code::SchemaInvalid, message)
    }

    pub(super) fn malformed(&self) -> Error {
        self.refusal(Code::BsonMalformed, "the schema is not well-formed BSON")
    }

    fn refusal(&self, code: Code, message: &'static str) -> Error {
        Error::new(code, message).with("path", self)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        parent.fmt(f)?;
        if parent.parent.is_some() {
            f.write_str(".")?;
        }
        f.write_str(self.name)
    }
}
