//! What names mean at a place of a command: by a schema, and by what the stages before it made of the names.

use alloc::vec::Vec;

use super::expressions::Gives;
use crate::schema::encrypted_paths::{ObjectSchema, Place, names_encrypted, resolve, several};

/// What names mean at a place.
#[derive(Clone, Default)]
pub(super) struct Scope<'s> {
    pub(super) objects: Vec<&'s ObjectSchema>,
    /// Documents of other collections, by the path they were joined at; elements of arrays, by their identifiers; documents
    /// that a stage gave another name.
    pub(super) mounts: Vec<(Vec<u8>, Vec<&'s ObjectSchema>)>,
    /// Names that a stage gave to encrypted values, or to values of the command; an empty one stands for all.
    pub(super) named: Vec<(Vec<u8>, Gives)>,
    /// Every name may be that of an encrypted value: a stage could not be followed.
    pub(super) is_unknown: bool,
    /// A path may have anything before it: a stage gave documents of its own.
    pub(super) any_suffix: bool,
    pub(super) variables: Vec<Variable<'s>>,
}

/// A variable of an expression.
#[derive(Clone)]
pub(super) struct Variable<'s> {
    pub(super) name: Vec<u8>,
    pub(super) gives: Gives,
    /// What names in its documents mean, where that is known.
    pub(super) objects: Vec<&'s ObjectSchema>,
}

impl<'s> Scope<'s> {
    #[inline(never)]
    pub(super) fn of(objects: Vec<&'s ObjectSchema>) -> Self {
        Self {
            objects,
            ..Self::default()
        }
    }

    /// Whether there are encrypted values, in the documents or in variables.
    #[inline(never)]
    pub(super) fn encrypts(&self) -> bool {
        let mut variables = self.variables.iter();
        self.has_encrypted() || variables.any(|known| known.gives.encrypted)
    }

    /// Whether there are encrypted values in the documents.
    #[inline(never)]
    pub(super) fn has_encrypted(&self) -> bool {
        self.is_unknown
            || self.named.iter().any(|(_, gives)| gives.encrypted)
            || !self.objects.is_empty()
            || self.mounts.iter().any(|(_, objects)| !objects.is_empty())
    }

    #[inline(never)]
    pub(super) fn resolve(&self, path: &[u8]) -> Place<'s> {
        let mut rest = path;
        loop {
            let place = self.resolve_whole(rest);
            let dot = rest.iter().position(|byte| *byte == b'.');
            match (place, dot) {
                (Place::Plain, Some(dot)) if self.any_suffix => rest = &rest[dot + 1..],
                (place, _) => return place,
            }
        }
    }

    /// What those names may mean that are `meant` where another schema speaks of several at once.
    #[inline(never)]
    pub(super) fn several(&self, meant: &dyn Fn(&[u8]) -> bool) -> Place<'s> {
        let mut named = self.named.iter();
        let has_names = named.any(|(_, gives)| gives.encrypted) || !self.mounts.is_empty();
        match self.is_unknown || has_names {
            true => Place::Encrypted,
            false => several(&self.objects, meant),
        }
    }

    /// Whether a value of the command may stand at a path.
    #[inline(never)]
    pub(super) fn is_constant(&self, path: &[u8]) -> bool {
        self.gives(path).constant
    }

    /// What stages put at a path, above it or below it.
    #[inline(never)]
    fn gives(&self, path: &[u8]) -> Gives {
        let mut all = Gives::OTHER;
        for (name, gives) in &self.named {
            if name.is_empty() || is_related(name, path) {
                all = all.or(*gives);
            }
        }
        all
    }

    fn resolve_whole(&self, path: &[u8]) -> Place<'s> {
        if self.is_unknown || self.gives(path).encrypted {
            return Place::Encrypted;
        }
        let mut above = match resolve(&self.objects, path) {
            Place::Plain => Vec::new(),
            Place::Above(objects) => objects,
            place => return place,
        };
        for (name, objects) in &self.mounts {
            let place = match path.strip_prefix(&name[..]) {
                Some([]) => Place::Above(objects.clone()),
                Some([b'.', rest @ ..]) => resolve(objects, rest),
                // What is above a mount holds it, but its own names are not known.
                _ if !objects.is_empty() && is_below(name, path) => return Place::Encrypted,
                _ => continue,
            };
            match place {
                Place::Above(objects) => above.extend(objects),
                Place::Plain => {}
                place => return place,
            }
        }
        match above.is_empty() {
            true => Place::Plain,
            false => Place::Above(above),
        }
    }

    /// Whether a text is an encrypted path, or the last name of one.
    #[inline(never)]
    pub(super) fn names(&self, text: &[u8]) -> bool {
        let last = text.rsplit(|byte| *byte == b'.').next().unwrap_or(text);
        let in_objects = |objects: &[&ObjectSchema]| names_encrypted(objects, last);
        in_objects(&self.objects)
            || self.mounts.iter().any(|(_, objects)| in_objects(objects))
            || self
                .named
                .iter()
                .any(|(name, gives)| gives.encrypted && name == text)
    }

    /// The documents of another scope stand at a path from now on; at the root, where the path is empty.
    #[inline(never)]
    pub(super) fn mount(&mut self, at: &[u8], inner: &Self) {
        if at.is_empty() {
            self.objects.extend(&inner.objects);
            self.is_unknown |= inner.is_unknown;
        } else {
            if inner.is_unknown {
                self.alias(at);
            }
            if !inner.objects.is_empty() {
                self.mounts.push((at.to_vec(), inner.objects.clone()));
            }
        }
        for (name, objects) in &inner.mounts {
            self.mounts.push((below(at, name), objects.clone()));
        }
        for (name, gives) in &inner.named {
            self.named.push((below(at, name), *gives));
        }
        self.any_suffix |= inner.any_suffix;
    }

    /// An encrypted value has this name from now on.
    #[inline(never)]
    pub(super) fn alias(&mut self, at: &[u8]) {
        match at.is_empty() {
            true => self.is_unknown = true,
            false => self.named.push((at.to_vec(), Gives::ENCRYPTED)),
        }
    }

    #[inline(never)]
    pub(super) fn variable(&self, name: &[u8]) -> Option<&Variable<'s>> {
        self.variables
            .iter()
            .rev()
            .find(|variable| variable.name == name)
    }
}

/// A path below another.
#[inline(never)]
pub(super) fn below(at: &[u8], name: &[u8]) -> Vec<u8> {
    match (at, name) {
        ([], path) | (path, []) => path.to_vec(),
        _ => [at, b".", name].concat(),
    }
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    matches!(path.strip_prefix(above), Some([b'.', ..]))
}

fn is_related(alias: &[u8], path: &[u8]) -> bool {
    alias == path || is_below(alias, path) || is_below(path, alias)
}
