//! Encrypted values of CSFLE.
//!
//! ```text
//! offset 0   blob subtype (1 deterministic, 2 random)  ┐
//! offset 1   data key id, 16 bytes                     ├ associated data
//! offset 17  original BSON type                        ┘
//! offset 18  IV ‖ ciphertext ‖ tag
//! ```
//!
//! Source: MongoDB specifications, "BSON Binary Encrypted". There is no length field inside; the table in the main CSFLE
//! document that draws one is wrong.

use super::{Algorithm, PayloadKind};
use crate::error::{Code, Error, Result};

/// Length in bytes of the header, which is also the associated data.
pub const ASSOCIATED_DATA_LEN: usize = 18;
/// Shortest payload that parses: header and one byte.
pub const MIN_PAYLOAD_LEN: usize = ASSOCIATED_DATA_LEN + 1;

/// A subtype-6 value of kind 1 or 2, borrowed.
#[derive(Clone, Copy)]
pub struct EncryptedValue<'a> {
    /// How it was encrypted.
    pub algorithm: Algorithm,
    /// The id of the data key.
    pub key_id: &'a [u8; 16],
    /// The BSON type of the plaintext.
    pub original_bson_type: u8,
    /// The header bytes.
    pub associated_data: &'a [u8],
    /// IV ‖ ciphertext ‖ tag.
    pub sealed: &'a [u8],
}

impl<'a> EncryptedValue<'a> {
    /// Reads a payload.
    ///
    /// Errors: `PAYLOAD_IS_MARKING`, `PAYLOAD_IS_QUERYABLE`, `PAYLOAD_KIND_UNKNOWN` by the first byte;
    /// `PAYLOAD_TOO_SHORT`; `PAYLOAD_VALUE_MALFORMED` when the original type is 0.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        let algorithm = match PayloadKind::of(payload) {
            PayloadKind::Encrypted(algorithm) => algorithm,
            other => return Err(refuse(other, payload)),
        };
        let Some((associated_data, sealed)) = payload.split_at_checked(ASSOCIATED_DATA_LEN) else {
            return Err(too_short(payload.len()));
        };
        if sealed.is_empty() {
            return Err(too_short(payload.len()));
        }
        let key_id = associated_data[1..17].try_into().expect("16 bytes");
        if associated_data[17] == 0 {
            return Err(Error::new(
                Code::PayloadValueMalformed,
                "could not serialize associated data: the original BSON type is 0",
            ));
        }
        Ok(Self {
            algorithm,
            key_id,
            original_bson_type: associated_data[17],
            associated_data,
            sealed,
        })
    }
}

/// Whether a payload is one that decrypting a whole document must open, or fail.
///
/// DIFFERS: libmongocrypt also opens the stored kinds of Queryable Encryption. They count here, so that they are refused
/// by name: a silent pass would show ciphertext where the user expects plaintext.
#[must_use]
pub fn opens_to_plaintext(payload: &[u8]) -> bool {
    matches!(
        PayloadKind::of(payload),
        PayloadKind::Encrypted(_) | PayloadKind::QueryableStored
    )
}

/// Whether a payload has the form of a value of CSFLE: kind 1 or 2, a BSON type, an IV, whole blocks and a tag. Whether it
/// can be opened is known only with its key.
#[must_use]
pub fn is_well_formed(payload: &[u8]) -> bool {
    const MIN_LEN: usize = ASSOCIATED_DATA_LEN + 16 + 16 + 32;
    matches!(PayloadKind::of(payload), PayloadKind::Encrypted(_))
        && payload.len() >= MIN_LEN
        && (payload.len() - MIN_LEN).is_multiple_of(16)
        && payload[ASSOCIATED_DATA_LEN - 1] != 0
}

/// The associated data of a value, which is its header.
#[must_use]
pub fn associated_data(
    algorithm: Algorithm,
    key_id: &[u8; 16],
    original_bson_type: u8,
) -> [u8; ASSOCIATED_DATA_LEN] {
    let mut header = [0; ASSOCIATED_DATA_LEN];
    header[0] = algorithm.blob_subtype();
    header[1..17].copy_from_slice(key_id);
    header[17] = original_bson_type;
    header
}

fn too_short(found: usize) -> Error {
    Error::new(Code::PayloadTooShort, "malformed ciphertext, too small").with("found", found)
}

fn refuse(kind: PayloadKind, payload: &[u8]) -> Error {
    let Some(number) = payload.first() else {
        return Error::new(
            Code::PayloadTooShort,
            "unsupported FLE blob subtype: expected non-empty payload",
        );
    };
    let code = match kind {
        PayloadKind::Marking => Code::PayloadIsMarking,
        PayloadKind::QueryableStored | PayloadKind::QueryableCommand => Code::PayloadIsQueryable,
        _ => Code::PayloadKindUnknown,
    };
    // The one kind that the reference has no words for: it would decrypt such a value.
    let why = match kind {
        PayloadKind::QueryableStored => ", of Queryable Encryption, which is not supported",
        _ => "",
    };
    Error::new(
        code,
        alloc::format!("unsupported FLE blob subtype: {number}{why}"),
    )
    .with("kind", number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn parse_reads_what_associated_data_writes() {
        let mut payload = associated_data(Algorithm::Random, &[7; 16], 0x10).to_vec();
        payload.push(9);
        let value = EncryptedValue::parse(&payload).unwrap();
        assert_eq!(value.algorithm, Algorithm::Random);
        assert_eq!(value.key_id, &[7; 16]);
        assert_eq!(value.original_bson_type, 0x10);
        assert_eq!(value.sealed, [9]);
    }

    #[test]
    fn parse_refuses_every_foreign_kind_by_name() {
        for number in 0..=255u8 {
            let mut payload: Vec<u8> = alloc::vec![3; 82];
            payload[0] = number;
            let result = EncryptedValue::parse(&payload)
                .map(|_| ())
                .map_err(|error| error.code());
            let expected = match number {
                1 | 2 => Ok(()),
                0 => Err(Code::PayloadIsMarking),
                3..=7 | 9..=18 => Err(Code::PayloadIsQueryable),
                _ => Err(Code::PayloadKindUnknown),
            };
            assert_eq!(result, expected, "kind {number}");
        }
    }

    #[test]
    fn parse_refuses_short_payloads_and_type_zero() {
        for len in 0..19 {
            let payload = alloc::vec![1; len];
            assert_eq!(
                EncryptedValue::parse(&payload).err().unwrap().code(),
                Code::PayloadTooShort,
                "length {len}"
            );
        }
        let mut payload = alloc::vec![1; 82];
        payload[17] = 0;
        assert_eq!(
            EncryptedValue::parse(&payload).err().unwrap().code(),
            Code::PayloadValueMalformed
        );
    }
}
