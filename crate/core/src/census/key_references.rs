//! The data keys that a subtype-6 payload of any kind names.
//!
//! ```text
//! 1, 2, 6, 7, 9, 14..=17   kind ‖ key id (16) ‖ original BSON type ‖ ciphertext
//! 0, 3, 4, 11              kind ‖ BSON document: key ids are UUIDs in it; `v` of 4 and 11 begins with one more
//! others                   no key id that can be read
//! ```
//!
//! Source: MongoDB specifications, "BSON Binary Encrypted" and "Queryable Encryption". Where the layout leaves a choice,
//! more keys are named rather than fewer: the answer decides whether a data key may be removed.

use alloc::{collections::BTreeSet, vec::Vec};

use crate::raw::{Visit, document_len, element_type as ty, walk};

const SUBTYPE_UUID: u8 = 4;
const SUBTYPE_ENCRYPTED: u8 = 6;
const KEY_ID_LEN: usize = 16;
/// Payloads inside payloads: no writer nests them more than once.
const MAX_NESTING: usize = 8;

/// The data keys that a payload names.
pub(super) struct KeyReferences {
    pub(super) key_ids: BTreeSet<[u8; KEY_ID_LEN]>,
    /// Whether these are all: otherwise the payload may need any key.
    pub(super) complete: bool,
}

/// Reads the key ids of a payload, whatever its kind.
pub(super) fn key_references(payload: &[u8]) -> KeyReferences {
    let mut key_ids = BTreeSet::new();
    let complete = collect(payload, MAX_NESTING, &mut key_ids).is_some();
    KeyReferences { key_ids, complete }
}

/// Adds the key ids of a payload; `None` when others are possible.
fn collect(payload: &[u8], nesting: usize, key_ids: &mut BTreeSet<[u8; KEY_ID_LEN]>) -> Option<()> {
    let (kind, rest) = payload.split_first()?;
    match kind {
        1 | 2 | 6 | 7 | 9 | 14..=17 => {
            key_ids.insert(*rest.first_chunk()?);
            Some(())
        }
        0 | 3 | 4 | 11 => {
            let before = key_ids.len();
            let is_payload = matches!(kind, 4 | 11);
            collect_document(rest, is_payload, nesting.checked_sub(1)?, key_ids)?;
            (key_ids.len() > before).then_some(())
        }
        _ => None,
    }
}

/// Adds every UUID of a placeholder or payload document, and what the subtype-6 values inside it name.
fn collect_document(
    document: &[u8],
    is_payload: bool,
    nesting: usize,
    key_ids: &mut BTreeSet<[u8; KEY_ID_LEN]>,
) -> Option<()> {
    if document_len(document).ok()? != document.len() {
        return None;
    }
    let mut inner = Vec::new();
    let mut complete = true;
    walk(document, |element, frame| {
        match element.as_binary() {
            Some((SUBTYPE_UUID, bytes)) if bytes.len() == KEY_ID_LEN => {
                key_ids.extend(bytes.first_chunk());
            }
            Some((SUBTYPE_ENCRYPTED, payload)) => inner.push(payload),
            // The ciphertext of an insert or update payload: the id of the user key, then what was sealed under it.
            Some((_, bytes)) if is_payload && frame == 0 && element.name == b"v" => {
                match bytes.first_chunk() {
                    Some(key_id) => {
                        key_ids.insert(*key_id);
                    }
                    None => complete = false,
                }
            }
            _ => {}
        }
        // A marking that names its key by an alternate name, and code, whose scope is not looked into.
        let by_name = frame == 0 && element.name == b"ka";
        if by_name || element.bson_type == ty::CODE_WITH_SCOPE {
            complete = false;
        }
        Ok(Visit::Enter)
    })
    .ok()?;
    for payload in inner {
        collect(payload, nesting, key_ids)?;
    }
    complete.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::{
        begin_document, binary_value, end_document, push_binary, push_element,
        single_field_document, string_value,
    };
    use alloc::vec;

    fn document(fields: &[(&str, u8, Vec<u8>)]) -> Vec<u8> {
        let mut out = begin_document(64);
        for (name, bson_type, value) in fields {
            push_element(&mut out, *bson_type, name.as_bytes(), value);
        }
        end_document(&mut out, 0);
        out
    }

    fn payload(kind: u8, rest: &[u8]) -> Vec<u8> {
        [&[kind], rest].concat()
    }

    fn found(payload: &[u8]) -> (Vec<u8>, bool) {
        let KeyReferences { key_ids, complete } = key_references(payload);
        (key_ids.iter().map(|id| id[0]).collect(), complete)
    }

    fn uuid(byte: u8) -> Vec<u8> {
        binary_value(SUBTYPE_UUID, &[byte; 16])
    }

    #[test]
    fn stored_values_of_every_kind_name_the_key_after_their_first_byte() {
        for kind in [1, 2, 6, 7, 9, 14, 15, 16, 17] {
            assert_eq!(
                found(&payload(kind, &[7; 40])),
                (vec![7], true),
                "kind {kind}"
            );
            assert_eq!(
                found(&payload(kind, &[7; 15])),
                (vec![], false),
                "kind {kind}"
            );
        }
    }

    #[test]
    fn payloads_without_a_known_key_id_may_need_any_key() {
        for kind in [5, 8, 10, 12, 13].into_iter().chain(18..=255) {
            assert_eq!(
                found(&payload(kind, &[7; 40])),
                (vec![], false),
                "kind {kind}"
            );
        }
        assert_eq!(found(&[]), (vec![], false));
    }

    #[test]
    fn insert_payloads_name_the_index_key_and_the_user_key() {
        let sealed = binary_value(0, &[9; 40]);
        for kind in [4, 11] {
            let body = document(&[
                ("u", ty::BINARY, uuid(8)),
                ("v", ty::BINARY, sealed.clone()),
            ]);
            assert_eq!(found(&payload(kind, &body)), (vec![8, 9], true));
            let short = document(&[
                ("u", ty::BINARY, uuid(8)),
                ("v", ty::BINARY, binary_value(0, &[9; 4])),
            ]);
            assert_eq!(found(&payload(kind, &short)), (vec![8], false));
        }
    }

    #[test]
    fn placeholders_name_their_key_ids_and_a_marking_by_name_any_key() {
        let queryable = document(&[("ki", ty::BINARY, uuid(1)), ("ku", ty::BINARY, uuid(2))]);
        assert_eq!(found(&payload(3, &queryable)), (vec![1, 2], true));
        let by_id = document(&[("ki", ty::BINARY, uuid(3)), ("v", ty::INT32, vec![0; 4])]);
        assert_eq!(found(&payload(0, &by_id)), (vec![3], true));
        let by_name = document(&[
            ("ka", ty::STRING, string_value("name")),
            ("x", ty::BINARY, uuid(3)),
        ]);
        assert_eq!(found(&payload(0, &by_name)), (vec![3], false));
        assert_eq!(found(&payload(0, &document(&[]))), (vec![], false));
        assert_eq!(found(&payload(0, b"no document")), (vec![], false));
    }

    #[test]
    fn values_inside_a_marking_count_too() {
        let mut inner = begin_document(64);
        push_binary(&mut inner, SUBTYPE_ENCRYPTED, &payload(2, &[5; 40]));
        let value = document(&[("x", ty::BINARY, inner.split_off(4))]);
        let marking = document(&[("ki", ty::BINARY, uuid(3)), ("v", ty::DOCUMENT, value)]);
        assert_eq!(found(&payload(0, &marking)), (vec![3, 5], true));
        let nested = (0..20).fold(payload(99, &[]), |inside, _| {
            payload(
                0,
                &single_field_document("v", ty::BINARY, &binary_value(SUBTYPE_ENCRYPTED, &inside)),
            )
        });
        assert!(!found(&nested).1);
    }
}
