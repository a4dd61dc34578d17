//! Wrapping of data keys under a local master key: the same AEAD, random, with empty associated data.

use alloc::vec::Vec;

use super::{AeadKey, Entropy, IV_LEN, sealed_len};
use crate::{
    error::{Code, Error, Result},
    secret::{KEY_MATERIAL_LEN, KeyMaterial, SecretBytes},
};

/// A local master key, expanded.
pub struct LocalMasterKey(AeadKey);

impl LocalMasterKey {
    /// Expands the 96 bytes of a local master key.
    #[must_use]
    pub fn new(material: &KeyMaterial) -> Self {
        Self(AeadKey::new(material))
    }

    /// Wraps the material of a data key.
    ///
    /// Shape: 160 bytes = IV (16) ‖ ciphertext (112) ‖ tag (32).
    /// Errors: `CRYPTO_RANDOM_UNAVAILABLE`.
    pub fn wrap(&self, material: &KeyMaterial, entropy: &mut dyn Entropy) -> Result<Vec<u8>> {
        let mut iv = [0; IV_LEN];
        entropy.fill(&mut iv)?;
        // The plaintext is written into the output and encrypted in place, so the buffer must not move.
        let mut out = Vec::with_capacity(sealed_len(KEY_MATERIAL_LEN));
        self.0.seal_into(&iv, b"", material.expose(), &mut out);
        Ok(out)
    }

    /// Unwraps key material.
    ///
    /// Errors: `CRYPTO_AUTHENTICATION_FAILED` when this is not the master key, or the bytes were altered;
    /// `CRYPTO_INPUT_TOO_SHORT`; `KEY_MATERIAL_LENGTH` when what was wrapped is not 96 bytes.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<KeyMaterial> {
        let mut opened = SecretBytes::with_capacity(wrapped.len());
        self.0.open_into(b"", wrapped, opened.expose_mut())?;
        KeyMaterial::copy_from(opened.expose()).map_err(|_| {
            Error::new(
                Code::KeyMaterialLength,
                alloc::format!(
                    "decrypted key is incorrect length, expected: {KEY_MATERIAL_LEN}, got: {}",
                    opened.expose().len()
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Fixed;

    #[test]
    fn unwrap_undoes_wrap_and_another_master_key_fails() {
        let material = KeyMaterial::copy_from(&[3; 96]).unwrap();
        let master_key = LocalMasterKey::new(&KeyMaterial::copy_from(&[1; 96]).unwrap());
        let wrapped = master_key.wrap(&material, &mut Fixed(8)).unwrap();
        assert_eq!(wrapped.len(), 160);
        assert!(master_key.unwrap(&wrapped).unwrap().ct_eq(&material));
        let other = LocalMasterKey::new(&KeyMaterial::copy_from(&[2; 96]).unwrap());
        assert_eq!(
            other.unwrap(&wrapped).err().unwrap().code(),
            Code::CryptoAuthenticationFailed
        );
    }

    #[test]
    fn unwrap_rejects_material_of_another_length() {
        let master_key = LocalMasterKey::new(&KeyMaterial::copy_from(&[1; 96]).unwrap());
        let mut wrapped = Vec::new();
        master_key
            .0
            .seal_into(&[4; 16], b"", &[3; 95], &mut wrapped);
        assert_eq!(
            master_key.unwrap(&wrapped).err().unwrap().code(),
            Code::KeyMaterialLength
        );
    }
}
