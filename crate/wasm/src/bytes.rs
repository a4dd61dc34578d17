//! Bytes across the boundary.

use csfle_core::secret::{KEY_MATERIAL_LEN, KeyMaterial, SecretBytes};
use csfle_core::{Code, Error, Result};
use js_sys::Uint8Array;

/// Copies an argument into memory that is wiped.
///
/// An array that was handed over to another thread has no length, and refuses to be copied from.
pub(crate) fn read(array: &Uint8Array) -> SecretBytes {
    match array.length() {
        0 => SecretBytes::with_capacity(0),
        _ => SecretBytes::adopt(array.to_vec()),
    }
}

/// Copies 96 secret bytes straight to where they live.
///
/// Errors: `KEY_MATERIAL_LENGTH`, checked before anything is copied.
pub(crate) fn read_key_material(array: &Uint8Array) -> Result<KeyMaterial> {
    let found = array.length() as usize;
    if found != KEY_MATERIAL_LEN {
        return Err(Error::new(
            Code::KeyMaterialLength,
            format!("expected {KEY_MATERIAL_LEN} bytes, found {found}"),
        )
        .with("found", found));
    }
    KeyMaterial::fill_with(|out| {
        array.copy_to(out);
        Ok(())
    })
}

/// Copies bytes out into memory that JavaScript owns.
pub(crate) fn write(bytes: &[u8]) -> Uint8Array {
    Uint8Array::from(bytes)
}
