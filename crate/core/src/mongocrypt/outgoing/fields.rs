//! The fields of a document, found by name.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    error::Result,
    raw::{Element, all_elements},
};

/// The fields of a document that were not taken yet.
pub(super) struct RemainingFields<'a> {
    /// In the order of the document; `None` once a field was taken.
    fields: Vec<Option<Element<'a>>>,
    indexes: BTreeMap<Vec<u8>, usize>,
}

impl<'a> RemainingFields<'a> {
    /// `None` where a name is there twice: which of the two fields counts depends on the reader.
    ///
    /// Errors: `BSON_MALFORMED`.
    #[inline(never)]
    pub(super) fn of(document: &'a [u8]) -> Result<Option<Self>> {
        let mut fields = Vec::new();
        let mut indexes = BTreeMap::new();
        for (index, field) in all_elements(document)?.into_iter().enumerate() {
            *indexes.entry(field.name.to_vec()).or_default() = index;
            fields.push(Some(field));
        }
        Ok((indexes.len() == fields.len()).then_some(Self { fields, indexes }))
    }

    #[inline(never)]
    pub(super) fn take(&mut self, name: &[u8]) -> Option<Element<'a>> {
        self.fields[*self.indexes.get(name)?].take()
    }

    /// The fields that nobody took, in the order of the document.
    pub(super) fn rest(&self) -> impl Iterator<Item = &Element<'a>> {
        self.fields.iter().flatten()
    }
}
