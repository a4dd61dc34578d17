//! Explicit encryption and decryption of one value, as `{v: value}`.

use alloc::{vec, vec::Vec};

use super::{
    Machine,
    key_lookup::{KeyReference, KeyRing},
    keyed::{KeyedOperation, keyed},
    options::parse_encrypt_options,
};
use crate::{
    crypto::Entropy,
    error::{Code, Error, Result},
    key_vault::KeyId,
    payload::{Algorithm, EncryptedValue},
    raw::{
        Element, begin_document, check_document_size, check_value, element_type as ty,
        end_document, find_field, push_element,
    },
    secret::SecretBytes,
    value_cipher::{canonical_value, check_encryptable, decrypt_value, encrypt_value, payload_len},
};

const SUBTYPE_ENCRYPTED: u8 = 6;

/// One value to encrypt.
pub(crate) struct Encrypt {
    algorithm: Algorithm,
    key: KeyReference,
    bson_type: u8,
    value: SecretBytes,
}

/// One value to decrypt.
pub(crate) struct Decrypt {
    payload: Vec<u8>,
}

impl Encrypt {
    /// Takes `{v: value}`.
    ///
    /// Errors: `VALUE_MISSING`, `VALUE_TYPE_*`, `BSON_MALFORMED`.
    pub(crate) fn prepare(value: &[u8], algorithm: Algorithm, key: KeyReference) -> Result<Self> {
        let element = required_v(value)?;
        check_encryptable(algorithm, element.bson_type, element.value)?;
        check_value(element.bson_type, element.value)?;
        Ok(Self {
            algorithm,
            key,
            bson_type: element.bson_type,
            value: canonical_value(element.bson_type, element.value)
                .unwrap_or_else(|| SecretBytes::copy_from(element.value)),
        })
    }
}

impl Decrypt {
    /// Takes `{v: binary subtype 6}`; the key it needs comes with it.
    ///
    /// Errors: `VALUE_MISSING`, `PAYLOAD_*`, `BSON_MALFORMED`.
    pub(crate) fn prepare(value: &[u8]) -> Result<(KeyReference, Self)> {
        let payload = match required_v(value)?.as_binary() {
            Some((SUBTYPE_ENCRYPTED, payload)) => payload,
            Some((subtype, _)) => {
                return Err(Error::new(
                    Code::PayloadNotEncrypted,
                    alloc::format!("decryption expected BSON binary subtype 6, got {subtype}"),
                ));
            }
            None => {
                return Err(Error::new(
                    Code::PayloadNotEncrypted,
                    "invalid msg, 'v' must contain a binary",
                ));
            }
        };
        let key_id = *EncryptedValue::parse(payload)?.key_id;
        let operation = Self {
            payload: payload.to_vec(),
        };
        Ok((KeyReference::Id(KeyId::new(key_id)), operation))
    }
}

impl Machine {
    /// Encrypts one value.
    ///
    /// Shape: in `{v: value}` and `{algorithm, keyId | keyAltName}`, out `{v: binary subtype 6}`.
    /// Errors: `VALUE_MISSING`, `VALUE_TYPE_*`, `ALGORITHM_*`, `KEY_REFERENCE_INVALID`, `OPTION_INVALID`,
    /// `BSON_MALFORMED`; later those of the key lookup and `BSON_TOO_LARGE`.
    pub fn encrypt(value: &[u8], options: &[u8]) -> Result<Self> {
        let (algorithm, key) = parse_encrypt_options(options)?;
        let operation = Encrypt::prepare(value, algorithm, key.clone())?;
        Ok(keyed(vec![key], false, operation))
    }

    /// Decrypts one value.
    ///
    /// Shape: in `{v: binary subtype 6}`, out `{v: value}`.
    /// Errors: `VALUE_MISSING`, `PAYLOAD_*`, `BSON_MALFORMED`; later those of the key lookup,
    /// `CRYPTO_AUTHENTICATION_FAILED`, `CRYPTO_INPUT_TOO_SHORT`.
    pub fn decrypt(value: &[u8]) -> Result<Self> {
        let (key, operation) = Decrypt::prepare(value)?;
        Ok(keyed(vec![key], false, operation))
    }
}

fn required_v(document: &[u8]) -> Result<Element<'_>> {
    find_field(document, "v")?
        .ok_or_else(|| Error::new(Code::ValueMissing, "invalid msg, must contain 'v'"))
}

impl KeyedOperation for Encrypt {
    fn run(&self, keys: &KeyRing, entropy: &mut dyn Entropy) -> Result<SecretBytes> {
        let key = key_for(keys, &self.key)?;
        let value = self.value.expose();
        let payload_len = payload_len(value.len());
        let mut out = begin_document(payload_len + 16);
        push_element(
            &mut out,
            ty::BINARY,
            b"v",
            &(payload_len as u32).to_le_bytes(),
        );
        out.push(SUBTYPE_ENCRYPTED);
        encrypt_value(
            key,
            self.algorithm,
            self.bson_type,
            value,
            entropy,
            &mut out,
        )?;
        end_document(&mut out, 0);
        check_document_size(out.len())?;
        Ok(SecretBytes::adopt(out))
    }
}

impl KeyedOperation for Decrypt {
    fn run(&self, keys: &KeyRing, _entropy: &mut dyn Entropy) -> Result<SecretBytes> {
        let encrypted = EncryptedValue::parse(&self.payload)?;
        let key_id = KeyId::new(*encrypted.key_id);
        let key = key_for(keys, &KeyReference::Id(key_id))?;
        let mut out = SecretBytes::with_capacity(encrypted.sealed.len() + 16);
        let document = out.expose_mut();
        document.extend_from_slice(&[0; 4]);
        push_element(document, encrypted.original_bson_type, b"v", b"");
        decrypt_value(key, &encrypted, document).map_err(|error| error.with("keyId", key_id))?;
        end_document(document, 0);
        Ok(out)
    }
}

/// A key that the lookup has promised.
pub(crate) fn key_for<'k>(
    keys: &'k KeyRing,
    reference: &KeyReference,
) -> Result<&'k crate::value_cipher::DataKey> {
    keys.get(reference)
        .ok_or_else(|| Error::new(Code::KeyVaultKeyNotFound, "key not found"))
}
