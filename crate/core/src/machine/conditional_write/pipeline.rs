//! The update of documents whose places no dotted path reaches, or reaches at too great a length.

use alloc::{string::ToString, vec::Vec};

use super::{
    Kind, Places, array_index, begin, check_levels, input_of, push_int, push_literal_name,
    push_text,
};
use crate::{
    error::Result,
    machine::transform::unsupported,
    raw::{NewValue, element_type as ty, end_document, push_element},
};

impl Places<'_, '_> {
    /// Appends `u`: a pipeline that computes the new document from the stored one.
    ///
    /// Errors: `MIGRATION_DOCUMENT_UNSUPPORTED` for a document that nests too deeply for it.
    pub(super) fn push_pipeline<'r>(
        &self,
        out: &mut Vec<u8>,
        new_value: &dyn Fn(usize) -> NewValue<'r>,
    ) -> Result<()> {
        let update = begin(out, ty::ARRAY, b"u");
        let stage = begin(out, ty::DOCUMENT, b"0");
        let document = begin(out, ty::DOCUMENT, b"$replaceWith");
        self.push_changed(out, 0, 0, new_value)?;
        end_document(out, document);
        end_document(out, stage);
        end_document(out, update);
        Ok(())
    }

    /// Appends the content of an expression for the document or array at `place` with its values replaced.
    fn push_changed<'r>(
        &self,
        out: &mut Vec<u8>,
        place: usize,
        levels: usize,
        new_value: &dyn Fn(usize) -> NewValue<'r>,
    ) -> Result<()> {
        check_levels(levels)?;
        let children = &self.places[place].children;
        if self.places[place].kind == Kind::Array {
            return self.push_changed_array(out, place, levels, new_value);
        }
        if let [only] = children[..] {
            let field = begin(out, ty::DOCUMENT, b"$setField");
            push_literal_name(out, self.places[only].name);
            push_text(out, b"input", input_of(place));
            self.push_new(out, b"value", place, only, levels + 1, new_value)?;
            end_document(out, field);
            return Ok(());
        }
        // Fields that are there keep their place in the document.
        let merged = begin(out, ty::ARRAY, b"$mergeObjects");
        push_text(out, b"0", input_of(place));
        let fields = begin(out, ty::DOCUMENT, b"1");
        let operand = begin(out, ty::ARRAY, b"$arrayToObject");
        let pairs = begin(out, ty::ARRAY, b"0");
        for (index, child) in children.iter().enumerate() {
            let pair = begin(out, ty::DOCUMENT, index.to_string().as_bytes());
            let name = begin(out, ty::DOCUMENT, b"k");
            push_text(out, b"$literal", self.places[*child].name);
            end_document(out, name);
            self.push_new(out, b"v", place, *child, levels + 5, new_value)?;
            end_document(out, pair);
        }
        end_document(out, pairs);
        end_document(out, operand);
        end_document(out, fields);
        end_document(out, merged);
        Ok(())
    }

    /// `$concatArrays` of what lies between the elements that change, and of these.
    fn push_changed_array<'r>(
        &self,
        out: &mut Vec<u8>,
        place: usize,
        levels: usize,
        new_value: &dyn Fn(usize) -> NewValue<'r>,
    ) -> Result<()> {
        let parts = begin(out, ty::ARRAY, b"$concatArrays");
        let mut number = 0usize;
        let mut part = |out: &mut Vec<u8>, bson_type| {
            let start = begin(out, bson_type, number.to_string().as_bytes());
            number += 1;
            start
        };
        let mut next = 0;
        for child in &self.places[place].children {
            let index = array_index(self.places[*child].name).unwrap_or_default();
            if index < next {
                return Err(unsupported(
                    "an array of the document has no regular indexes",
                ));
            }
            if index > next {
                let kept = part(out, ty::DOCUMENT);
                push_slice(out, next, |out| push_int(out, b"2", index - next));
                end_document(out, kept);
            }
            let one = part(out, ty::ARRAY);
            self.push_new(out, b"0", place, *child, levels + 2, new_value)?;
            end_document(out, one);
            next = index + 1;
        }
        let rest = part(out, ty::DOCUMENT);
        push_slice(out, next, |out| {
            let size = begin(out, ty::DOCUMENT, b"2");
            push_text(out, b"$size", b"$$v");
            end_document(out, size);
        });
        end_document(out, rest);
        end_document(out, parts);
        Ok(())
    }

    /// Appends the expression `name` for what is to stand at `child`.
    fn push_new<'r>(
        &self,
        out: &mut Vec<u8>,
        name: &[u8],
        place: usize,
        child: usize,
        levels: usize,
        new_value: &dyn Fn(usize) -> NewValue<'r>,
    ) -> Result<()> {
        let expression = begin(out, ty::DOCUMENT, name);
        if let Kind::Value(index) = self.places[child].kind {
            let value = new_value(index);
            push_element(out, value.bson_type(), b"$literal", b"");
            value.push_value(out);
        } else {
            let scope = begin(out, ty::DOCUMENT, b"$let");
            self.push_variable(out, place, child);
            let inner = begin(out, ty::DOCUMENT, b"in");
            self.push_changed(out, child, levels + 3, new_value)?;
            end_document(out, inner);
            end_document(out, scope);
        }
        end_document(out, expression);
        Ok(())
    }
}

fn push_slice(out: &mut Vec<u8>, from: i32, count: impl FnOnce(&mut Vec<u8>)) {
    let operands = begin(out, ty::ARRAY, b"$slice");
    push_text(out, b"0", b"$$v");
    push_int(out, b"1", from);
    count(out);
    end_document(out, operands);
}
