//! Replaces values of a document and corrects the lengths of everything around them.

use alloc::vec::Vec;

use super::{Scan, element_type as ty, push_binary};

/// What stands in a found value's place.
pub enum NewValue<'r> {
    /// A type byte and value bytes.
    Plain(u8, &'r [u8]),
    /// The payload of a subtype-6 binary.
    Encrypted(&'r [u8]),
}

impl NewValue<'_> {
    /// The BSON type byte.
    #[must_use]
    pub fn bson_type(&self) -> u8 {
        match self {
            Self::Plain(bson_type, _) => *bson_type,
            Self::Encrypted(_) => ty::BINARY,
        }
    }

    /// Appends the value bytes.
    pub fn push_value(&self, out: &mut Vec<u8>) {
        match self {
            Self::Plain(_, value) => out.extend_from_slice(value),
            Self::Encrypted(payload) => push_binary(out, 6, payload),
        }
    }
}

/// Appends the document with every found value replaced, in one pass; all other bytes stay. Returns the new length.
pub fn rewrite<'r>(
    document: &[u8],
    scan: &Scan<'_>,
    replacement: impl Fn(usize) -> NewValue<'r>,
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    // Growth of each document: first by its own values, then summed up to its ancestors.
    let mut growth = alloc::vec![0isize; scan.frames.len()];
    // How far each document moves: all growth before it.
    let mut shift = alloc::vec![0isize; scan.frames.len()];
    let (mut next_frame, mut cursor) = (0, 0);
    for (index, found) in scan.found.iter().enumerate() {
        let moved = (out.len() - start) as isize - cursor as isize;
        // Documents were entered in order, as values were found.
        while next_frame < scan.frames.len() && scan.frames[next_frame].offset < found.offset {
            shift[next_frame] = moved;
            next_frame += 1;
        }
        let value = replacement(index);
        out.extend_from_slice(&document[cursor..found.offset]);
        out.push(value.bson_type());
        out.extend_from_slice(&document[found.offset + 1..found.value_offset()]);
        let value_start = out.len();
        value.push_value(out);
        cursor = found.value_offset() + found.value.len();
        growth[found.frame] += (out.len() - value_start) as isize - found.value.len() as isize;
    }
    out.extend_from_slice(&document[cursor..]);
    for frame in (1..scan.frames.len()).rev() {
        growth[scan.frames[frame].parent] += growth[frame];
    }
    for (frame, grown) in growth.iter().enumerate().filter(|(_, grown)| **grown != 0) {
        let offset = scan.frames[frame].offset;
        let old_len = u32::from_le_bytes(
            *document[offset..]
                .first_chunk()
                .expect("a scanned document has a length"),
        );
        let position = start + offset.wrapping_add_signed(shift[frame]);
        let new_len = (old_len as usize).wrapping_add_signed(*grown) as u32;
        out[position..position + 4].copy_from_slice(&new_len.to_le_bytes());
    }
    out.len() - start
}
