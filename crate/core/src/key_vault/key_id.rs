//! Ids of data keys.

use core::fmt;

use bson::{
    raw::{RawBinaryRef, RawBsonRef},
    spec::BinarySubtype,
};

/// The id of a data key: a UUID, stored as BSON binary subtype 4.
///
/// Version and variant bits are not checked on reading, as libmongocrypt does not check them either.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The id of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Makes 16 random bytes a UUID of version 4 (RFC 9562 section 5.4).
    #[must_use]
    pub const fn v4_from_random(mut random: [u8; 16]) -> Self {
        random[6] = (random[6] & 0x0f) | 0x40;
        random[8] = (random[8] & 0x3f) | 0x80;
        Self(random)
    }

    /// Reads an id from a BSON value; `None` when that is not binary subtype 4 of 16 bytes.
    #[must_use]
    pub fn from_bson(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::Binary(RawBinaryRef {
                subtype: BinarySubtype::Uuid,
                bytes,
            }) => bytes.try_into().ok().map(Self),
            _ => None,
        }
    }

    /// The id as a BSON value.
    #[must_use]
    pub const fn to_bson(&self) -> RawBinaryRef<'_> {
        RawBinaryRef {
            subtype: BinarySubtype::Uuid,
            bytes: &self.0,
        }
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    /// Writes the UUID as text, `8-4-4-4-12` digits in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    const COUNTING: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];

    #[test]
    fn display_is_uuid_text() {
        let id = KeyId::new(COUNTING);
        assert_eq!(id.to_string(), "00010203-0405-0607-0809-0a0b0c0d0eff");
        assert_eq!(
            format!("{id:?}"),
            "KeyId(00010203-0405-0607-0809-0a0b0c0d0eff)"
        );
    }

    #[test]
    fn v4_from_random_sets_version_and_variant_and_nothing_else() {
        assert_eq!(
            KeyId::v4_from_random([0xff; 16]).to_string(),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        assert_eq!(
            KeyId::v4_from_random([0; 16]).to_string(),
            "00000000-0000-4000-8000-000000000000"
        );
    }

    #[test]
    fn bson_round_trip_needs_subtype_4_and_16_bytes() {
        let id = KeyId::new(COUNTING);
        assert_eq!(KeyId::from_bson(id.to_bson().into()), Some(id));
        for (subtype, len) in [
            (BinarySubtype::UuidOld, 16),
            (BinarySubtype::Generic, 16),
            (BinarySubtype::Uuid, 15),
        ] {
            let binary = RawBinaryRef {
                subtype,
                bytes: &COUNTING[..len],
            };
            assert_eq!(KeyId::from_bson(binary.into()), None);
        }
        assert_eq!(KeyId::from_bson(RawBsonRef::Null), None);
    }
}
