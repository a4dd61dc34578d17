//! What encrypted values say about key material.

use subtle::ConstantTimeEq;

use crate::{
    error::Result,
    payload::{Algorithm, EncryptedValue, opens_to_plaintext},
    raw::{Found, scan},
    secret::SecretBytes,
    value_cipher::{DataKey, decrypt_value},
};

/// First byte of a deterministic value.
const DETERMINISTIC: u8 = Algorithm::Deterministic.blob_subtype();

/// Counts the values under this key, and those that it opens; of deterministic ones alone where there are any. What is no
/// whole value counts as tried.
pub(super) fn open_each(values: &[u8], key: &DataKey) -> Result<(i32, i32)> {
    let is_under = |payload: &[u8]| payload.get(1..17) == Some(&key.id().as_bytes()[..]);
    let mut found = scan(values, |payload| {
        opens_to_plaintext(payload) && is_under(payload)
    })?
    .found;
    let is_deterministic = |found: &Found<'_>| found.payload().first() == Some(&DETERMINISTIC);
    if found.iter().any(is_deterministic) {
        found.retain(is_deterministic);
    }
    let opened = found.iter().filter(|found| opens(key, found.payload()));
    let opened = opened.count();
    Ok((found.len() as i32, opened as i32))
}

/// Whether a payload authenticates under the key, and, if it is deterministic, is what encrypting its plaintext gives
/// again: the rest of it follows from its initialisation vector.
fn opens(key: &DataKey, payload: &[u8]) -> bool {
    let mut plaintext = SecretBytes::with_capacity(payload.len());
    let Ok(value) = EncryptedValue::parse(payload) else {
        return false;
    };
    if decrypt_value(key, &value, plaintext.expose_mut()).is_err() {
        return false;
    }
    match value.algorithm {
        Algorithm::Random => true,
        Algorithm::Deterministic => {
            let iv = key
                .aead()
                .derive_iv(value.associated_data, plaintext.expose());
            value
                .sealed
                .get(..iv.len())
                .is_some_and(|stored| stored.ct_eq(&iv).into())
        }
    }
}
