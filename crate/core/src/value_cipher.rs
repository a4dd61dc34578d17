//! One BSON value to one encrypted value and back, given a data key.

use alloc::vec::Vec;

use crate::{
    crypto::{AeadKey, Entropy, HostPrimitives, IV_LEN, sealed_len},
    error::{Code, Error, Result},
    key_vault::KeyId,
    payload::{ASSOCIATED_DATA_LEN, Algorithm, EncryptedValue, associated_data},
    raw::{check_value, element_type as ty},
    secret::{KeyMaterial, SecretBytes},
};

/// An unwrapped data key: its id and its expanded sub-keys. Wiped on drop.
pub struct DataKey {
    id: KeyId,
    aead: AeadKey,
}

impl DataKey {
    /// Expands key material once, for any number of values.
    #[must_use]
    pub fn new(id: KeyId, material: &KeyMaterial) -> Self {
        Self::with_host(id, material, None)
    }

    /// The same, with long values left to a host that lends its primitives.
    #[must_use]
    pub fn with_host(
        id: KeyId,
        material: &KeyMaterial,
        host: Option<&'static dyn HostPrimitives>,
    ) -> Self {
        Self {
            id,
            aead: AeadKey::with_host(material, host),
        }
    }

    /// The id under which the key vault holds this key.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub(crate) fn aead(&self) -> &AeadKey {
        &self.aead
    }

    /// The header of a value encrypted under this key.
    #[must_use]
    pub fn associated_data(
        &self,
        algorithm: Algorithm,
        bson_type: u8,
    ) -> [u8; ASSOCIATED_DATA_LEN] {
        associated_data(algorithm, self.id.as_bytes(), bson_type)
    }

    /// The initialisation vector for a value: derived or random, as the algorithm demands.
    ///
    /// Errors: `CRYPTO_RANDOM_UNAVAILABLE`.
    pub fn iv(
        &self,
        algorithm: Algorithm,
        associated_data: &[u8],
        value: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<[u8; IV_LEN]> {
        match algorithm {
            Algorithm::Deterministic => Ok(self.aead.derive_iv(associated_data, value)),
            Algorithm::Random => {
                let mut iv = [0; IV_LEN];
                entropy.fill(&mut iv)?;
                Ok(iv)
            }
        }
    }
}

/// Length in bytes of the payload that encrypting `value_len` bytes gives.
#[must_use]
pub const fn payload_len(value_len: usize) -> usize {
    ASSOCIATED_DATA_LEN + sealed_len(value_len)
}

/// Refuses values that the algorithm must not encrypt.
///
/// Errors: `VALUE_TYPE_NOT_ENCRYPTABLE`, `VALUE_TYPE_NOT_DETERMINISTIC`.
pub fn check_encryptable(algorithm: Algorithm, bson_type: u8, value: &[u8]) -> Result<()> {
    match bson_type {
        ty::BINARY if value.get(4) == Some(&6) => Err(refused(
            Code::ValueTypeNotEncryptable,
            "BSON binary subtype 6 is invalid for encryption",
            bson_type,
        )),
        ty::STRING
        | ty::BINARY
        | ty::OBJECT_ID
        | ty::DATETIME
        | ty::REGEX
        | ty::DB_POINTER
        | ty::CODE
        | ty::SYMBOL
        | ty::INT32
        | ty::TIMESTAMP
        | ty::INT64 => Ok(()),
        ty::DOUBLE | ty::DOCUMENT | ty::ARRAY | ty::CODE_WITH_SCOPE | ty::BOOL | ty::DECIMAL128 => {
            match algorithm {
                Algorithm::Random => Ok(()),
                Algorithm::Deterministic => Err(refused(
                    Code::ValueTypeNotDeterministic,
                    "BSON type invalid for deterministic encryption",
                    bson_type,
                )),
            }
        }
        ty::NULL | ty::UNDEFINED | ty::MIN_KEY | ty::MAX_KEY => Err(refused(
            Code::ValueTypeNotEncryptable,
            "BSON type invalid for encryption",
            bson_type,
        )),
        other => Err(Error::new(
            Code::ValueTypeNotEncryptable,
            alloc::format!("invalid BSON value type {other:02x}"),
        )),
    }
}

fn refused(code: Code, message: &'static str, bson_type: u8) -> Error {
    Error::new(code, message).with("bsonType", alloc::format!("{bson_type:#04x}"))
}

/// Options of regular expressions that BSON defines, in the order BSON stores them (bsonspec.org, "regex_opts").
const REGEX_OPTIONS: &[u8] = b"ilmsux";

/// The bytes to encrypt for a value, where they are others than the value's own.
///
/// COMPAT: the options of a regular expression are sorted, each stands once, and those that BSON does not define are
/// dropped, as libmongocrypt does it: only equal bytes are found by an equality query on a deterministic value. The
/// `bson` package writes `/a/gim` with the options "ism". Regular expressions inside documents stay as they are.
#[must_use]
pub fn canonical_value(bson_type: u8, value: &[u8]) -> Option<SecretBytes> {
    if bson_type != ty::REGEX {
        return None;
    }
    let pattern = value.iter().position(|byte| *byte == 0)? + 1;
    let options = value.get(pattern..value.len() - 1)?;
    let sorted = || {
        REGEX_OPTIONS
            .iter()
            .filter(|option| options.contains(option))
    };
    if sorted().eq(options) {
        return None;
    }
    let mut canonical = SecretBytes::with_capacity(value.len());
    canonical.expose_mut().extend_from_slice(&value[..pattern]);
    canonical.expose_mut().extend(sorted());
    canonical.expose_mut().push(0);
    Some(canonical)
}

/// Encrypts one value and appends its payload.
///
/// Shape: `value` = BSON value bytes, without type byte and name; appends [`payload_len`] bytes.
/// Errors: `VALUE_TYPE_NOT_ENCRYPTABLE`, `VALUE_TYPE_NOT_DETERMINISTIC`, `CRYPTO_RANDOM_UNAVAILABLE`; nothing is written.
/// Source: MongoDB specifications, "BSON Binary Encrypted", types 1 and 2.
pub fn encrypt_value(
    key: &DataKey,
    algorithm: Algorithm,
    bson_type: u8,
    value: &[u8],
    entropy: &mut dyn Entropy,
    out: &mut Vec<u8>,
) -> Result<()> {
    check_encryptable(algorithm, bson_type, value)?;
    let header = key.associated_data(algorithm, bson_type);
    let iv = key.iv(algorithm, &header, value, entropy)?;
    out.reserve(payload_len(value.len()));
    out.extend_from_slice(&header);
    key.aead.seal_into(&iv, &header, value, out);
    Ok(())
}

/// Decrypts one value and appends its BSON value bytes.
///
/// Errors: `CRYPTO_AUTHENTICATION_FAILED`, `CRYPTO_INPUT_TOO_SHORT`, `PAYLOAD_VALUE_MALFORMED`; nothing is written then.
pub fn decrypt_value(
    key: &DataKey,
    encrypted: &EncryptedValue<'_>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    key.aead
        .open_into(encrypted.associated_data, encrypted.sealed, out)?;
    check_opened(encrypted.original_bson_type, &out[start..]).inspect_err(|_| {
        crate::secret::wipe(&mut out[start..]);
        out.truncate(start);
    })
}

/// Checks that opened bytes are a value of the type the header names, before they are put into a document.
///
/// Errors: `PAYLOAD_VALUE_MALFORMED`.
pub fn check_opened(bson_type: u8, value: &[u8]) -> Result<()> {
    check_value(bson_type, value).map_err(|_| {
        Error::new(Code::PayloadValueMalformed, "malformed encrypted bson")
            .with("bsonType", alloc::format!("{bson_type:#04x}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Fixed;

    fn specification_key() -> DataKey {
        let material = hex::decode(concat!(
            "c4f4c08c1446e4988f9be7777e3e972e2daae43317512fdfd5ff923009618709210d12f492bf2bf460cb2064c01a5bc2",
            "f8756348881d2fe44ac190afa574b2c532025925d3518b1660fcaedc8a076ee059766c367da3375a17112206cc45e539",
        ))
        .unwrap();
        DataKey::new(
            KeyId::new([0; 16]),
            &KeyMaterial::copy_from(&material).unwrap(),
        )
    }

    // MongoDB specifications, client-side encryption, prose test 1 "custom key material".
    #[test]
    fn regex_options_are_put_into_the_order_of_bson() {
        let canonical =
            |value: &[u8]| canonical_value(ty::REGEX, value).map(|found| found.expose().to_vec());
        assert_eq!(canonical(b"a\0ism\0").as_deref(), Some(&b"a\0ims\0"[..]));
        assert_eq!(
            canonical(b"a\0xusmli\0").as_deref(),
            Some(&b"a\0ilmsux\0"[..])
        );
        assert_eq!(canonical(b"\0ii\0").as_deref(), Some(&b"\0i\0"[..]));
        assert_eq!(canonical(b"a\0kx\0").as_deref(), Some(&b"a\0x\0"[..]));
        assert_eq!(canonical(b"xi\0ix\0"), None);
        assert_eq!(canonical(b"\0\0"), None);
        assert!(canonical_value(ty::STRING, b"\x03\0\0\0xi\0").is_none());
    }

    #[test]
    fn encrypt_gives_the_specification_vector() {
        use base64::Engine as _;
        let mut payload = Vec::new();
        let value = b"\x05\x00\x00\x00test\x00";
        encrypt_value(
            &specification_key(),
            Algorithm::Deterministic,
            ty::STRING,
            value,
            &mut Fixed(0),
            &mut payload,
        )
        .unwrap();
        assert_eq!(
            base64::engine::general_purpose::STANDARD.encode(&payload),
            "AQAAAAAAAAAAAAAAAAAAAAACz0ZOLuuhEYi807ZXTdhbqhLaS2/t9wLifJnnNYwiw79d75QYIZ6M/aYC1h9nCzCjZ7pGUpAuNnkUhnIXM3PjrA=="
        );
        let mut opened = Vec::new();
        decrypt_value(
            &specification_key(),
            &EncryptedValue::parse(&payload).unwrap(),
            &mut opened,
        )
        .unwrap();
        assert_eq!(opened, value);
    }

    #[test]
    fn check_encryptable_follows_the_type_table() {
        let verdict = |algorithm, bson_type, value: &[u8]| {
            check_encryptable(algorithm, bson_type, value).map_err(|e| e.code())
        };
        for bson_type in 0..=255u8 {
            let random = verdict(Algorithm::Random, bson_type, &[0; 32]);
            let deterministic = verdict(Algorithm::Deterministic, bson_type, &[0; 32]);
            match bson_type {
                0x02 | 0x05 | 0x07 | 0x09 | 0x0B..=0x0E | 0x10..=0x12 => {
                    assert_eq!((random, deterministic), (Ok(()), Ok(())))
                }
                0x01 | 0x03 | 0x04 | 0x08 | 0x0F | 0x13 => {
                    assert_eq!(
                        (random, deterministic),
                        (Ok(()), Err(Code::ValueTypeNotDeterministic))
                    );
                }
                _ => assert_eq!(
                    (random, deterministic),
                    (
                        Err(Code::ValueTypeNotEncryptable),
                        Err(Code::ValueTypeNotEncryptable)
                    )
                ),
            }
        }
        let subtype_6 = [0, 0, 0, 0, 6];
        assert_eq!(
            verdict(Algorithm::Random, ty::BINARY, &subtype_6),
            Err(Code::ValueTypeNotEncryptable)
        );
    }

    #[test]
    fn decrypt_refuses_bytes_that_are_not_of_the_named_type() {
        let key = specification_key();
        let header = key.associated_data(Algorithm::Random, ty::INT32);
        let mut payload = header.to_vec();
        key.aead()
            .seal_into(&[0; 16], &header, b"five!", &mut payload);
        let mut out = b"before".to_vec();
        let error =
            decrypt_value(&key, &EncryptedValue::parse(&payload).unwrap(), &mut out).unwrap_err();
        assert_eq!(error.code(), Code::PayloadValueMalformed);
        assert_eq!(out, b"before");
    }
}
