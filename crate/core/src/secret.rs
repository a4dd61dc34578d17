//! Owners of secret bytes. This is the only file that names `zeroize`.
//!
//! Nothing here implements `Debug`, `Clone`, `PartialEq` or serde: a secret can only be lent out through an
//! explicit `expose`, so that a search for that word is the audit list.

use alloc::{boxed::Box, vec::Vec};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Code, Error, Result};

/// Length in bytes of a data key and of a local master key: MAC key, encryption key and IV key of 32 bytes each.
pub const KEY_MATERIAL_LEN: usize = 96;

/// The 96 plaintext bytes of a data key or of a local master key, boxed in place and wiped on drop.
pub struct KeyMaterial(Box<[u8; KEY_MATERIAL_LEN]>);

impl KeyMaterial {
    /// Copies 96 bytes into wiped memory.
    ///
    /// Errors: `KEY_MATERIAL_LENGTH` when `bytes` has any other length; nothing is copied then.
    pub fn copy_from(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != KEY_MATERIAL_LEN {
            return Err(key_length_error(bytes.len()));
        }
        Self::fill_with(|out| {
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// Copies key material straight from box to box.
    #[must_use]
    pub fn copy_of(other: &Self) -> Self {
        let mut copy = Self(Box::new([0; KEY_MATERIAL_LEN]));
        copy.0.copy_from_slice(&*other.0);
        copy
    }

    /// Lets `fill` write the bytes in place, so that they never exist anywhere else.
    ///
    /// Errors: whatever `fill` returns; the memory is wiped then as well.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; KEY_MATERIAL_LEN]) -> Result<()>) -> Result<Self> {
        let mut material = Self(Box::new([0; KEY_MATERIAL_LEN]));
        fill(&mut material.0)?;
        Ok(material)
    }

    /// Lends the bytes out.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_MATERIAL_LEN] {
        &self.0
    }

    /// Compares in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Drop for KeyMaterial {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn key_length_error(found: usize) -> Error {
    Error::new(
        Code::KeyMaterialLength,
        alloc::format!("key material must be {KEY_MATERIAL_LEN} bytes, found {found}"),
    )
}

/// A buffer of plaintext that is wiped on drop.
///
/// A plain `Vec` that grows moves its bytes and leaves a copy behind. So callers write within the capacity, and
/// [`SecretBytes::reserve`] grows it with the old memory wiped.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// An empty buffer that holds up to `capacity` bytes without moving.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Copies `bytes` into a buffer of exactly that size.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        let mut secret = Self::with_capacity(bytes.len());
        secret.0.extend_from_slice(bytes);
        secret
    }

    /// Takes ownership of bytes that are already in memory; they are wiped with this value.
    #[must_use]
    pub fn adopt(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Makes room for `additional` more bytes; memory that is given up is wiped first.
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.0.len() + additional;
        if needed > self.0.capacity() {
            let mut grown = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            grown.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(grown);
        }
    }

    /// Lends the bytes out.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Lends the underlying buffer out for writing within its capacity.
    pub fn expose_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// Length in bytes of a key for AES-256.
pub const SYMMETRIC_KEY_LEN: usize = 32;

/// The 32 bytes of a key for AES-256, boxed in place and wiped on drop.
pub struct SymmetricKey(Box<[u8; SYMMETRIC_KEY_LEN]>);

impl SymmetricKey {
    /// Lets `fill` write the bytes in place, so that they never exist anywhere else.
    ///
    /// Errors: whatever `fill` returns; the memory is wiped then as well.
    pub fn fill_with(
        fill: impl FnOnce(&mut [u8; SYMMETRIC_KEY_LEN]) -> Result<()>,
    ) -> Result<Self> {
        let mut key = Self(Box::new([0; SYMMETRIC_KEY_LEN]));
        fill(&mut key.0)?;
        Ok(key)
    }

    /// Lends the bytes out.
    #[must_use]
    pub fn expose(&self) -> &[u8; SYMMETRIC_KEY_LEN] {
        &self.0
    }
}

impl Drop for SymmetricKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Working memory of a password hash, wiped on drop.
pub struct SecretBlocks<T: Zeroize>(Vec<T>);

impl<T: Zeroize + Clone + Default> SecretBlocks<T> {
    /// Allocates `count` blocks, or returns `None` when the host does not have the memory.
    #[must_use]
    pub fn allocate(count: usize) -> Option<Self> {
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(count).ok()?;
        blocks.resize(count, T::default());
        Some(Self(blocks))
    }

    /// Lends the blocks out for writing.
    pub fn expose_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Zeroize> Drop for SecretBlocks<T> {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// Overwrites `bytes` with zeros in a way the compiler must keep.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
}

/// Overwrites the part of the stack that key-dependent calls have used.
///
/// Key expansion leaves round keys and padded HMAC keys in dead stack frames, and on every call the cipher leaves the
/// form of the round keys that it works with. A frame of the same depth, filled with zeros, covers them. Call it after
/// the key-dependent call has returned.
#[inline(never)]
pub fn scrub_stack() {
    const COVERED_BYTES: usize = 16 * 1024;
    let mut frame = [0u8; COVERED_BYTES];
    // The compiler has to assume that the zeros are read. One fill costs far less than volatile writes byte by byte.
    core::hint::black_box(&mut frame);
}
