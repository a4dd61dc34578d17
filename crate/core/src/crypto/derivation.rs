//! SHA-256, and keys derived from other keys.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::{
    error::Result,
    secret::{SymmetricKey, scrub_stack},
};

/// Length of a SHA-256 hash in bytes.
pub const HASH_LEN: usize = 32;

/// The SHA-256 hash of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; HASH_LEN] {
    Sha256::digest(bytes).into()
}

/// Derives a key of 32 bytes from `secret`.
///
/// Shape: HKDF-SHA-256 with `salt` and the info `label`, one block of output:
/// HMAC(HMAC(salt, secret), label ‖ 0x01).
/// Errors: none.
/// Source: RFC 5869 sections 2.2 and 2.3.
pub fn derive_key(secret: &[u8], salt: &[u8], label: &[u8]) -> Result<SymmetricKey> {
    let key = expand(secret, salt, label);
    scrub_stack();
    key
}

#[inline(never)]
fn expand(secret: &[u8], salt: &[u8], label: &[u8]) -> Result<SymmetricKey> {
    let pseudorandom = SymmetricKey::fill_with(|out| {
        out.copy_from_slice(&hmac(salt, [secret, b""]));
        Ok(())
    })?;
    SymmetricKey::fill_with(|out| {
        out.copy_from_slice(&hmac(pseudorandom.expose(), [label, &[1]]));
        Ok(())
    })
}

fn hmac(key: &[u8], parts: [&[u8]; 2]) -> [u8; HASH_LEN] {
    let mut mac: Hmac<Sha256> =
        hmac::KeyInit::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 5869, A.1; the output there is 42 bytes, of which the first block is compared.
    #[test]
    fn derive_key_gives_the_first_block_of_the_rfc() {
        let secret = [0x0b; 22];
        let salt: [u8; 13] = core::array::from_fn(|index| index as u8);
        let label: [u8; 10] = core::array::from_fn(|index| 0xf0 + index as u8);
        let key = derive_key(&secret, &salt, &label).unwrap();
        assert_eq!(
            hex::encode(key.expose()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        );
    }
}
