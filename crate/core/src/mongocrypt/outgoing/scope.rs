//! What names mean at a place of a command: by a schema, and by what the stages before it made of the names.

use alloc::vec::Vec;

use super::expressions::Gives;
use crate::schema::encrypted_paths::{ObjectSchema, Place, names_encrypted, resolve};

/// What names mean at a place.
#[derive(Clone, Default)]
pub(super) struct Scope<'s> {
    pub(super) objects: Vec<&'s ObjectSchema>,
    /// Documents of other collections, by the path they were joined at; elements of arrays, by their identifiers; documents
    /// that a stage gave another name.
    pub(super) mounts: Vec<(Vec<u8>, Vec<&'s ObjectSchema>)>,
    /// Names that a stage gave to encrypted values.
    pub(super) aliases: Vec<Vec<u8>>,
    /// Every name may be that of an encrypted value: a stage could not be followed.
    pub(super) is_unknown: bool,
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

    #[inline(never)]
    pub(super) fn encrypts(&self) -> bool {
        self.is_unknown
            || !self.aliases.is_empty()
            || !self.objects.is_empty()
            || self.mounts.iter().any(|(_, objects)| !objects.is_empty())
    }

    #[inline(never)]
    pub(super) fn resolve(&self, path: &[u8]) -> Place<'s> {
        if self.is_unknown || self.aliases.iter().any(|alias| is_related(alias, path)) {
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
            || self.aliases.iter().any(|alias| alias == text)
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
        for alias in &inner.aliases {
            self.aliases.push(below(at, alias));
        }
    }

    /// An encrypted value has this name from now on.
    #[inline(never)]
    pub(super) fn alias(&mut self, at: &[u8]) {
        match at.is_empty() {
            true => self.is_unknown = true,
            false => self.aliases.push(at.to_vec()),
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
    match at.is_empty() {
        true => name.to_vec(),
        false => [at, b".", name].concat(),
    }
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    matches!(path.strip_prefix(above), Some([b'.', ..]))
}

fn is_related(alias: &[u8], path: &[u8]) -> bool {
    alias == path || is_below(alias, path) || is_below(path, alias)
}
