//! AEAD_AES_256_CBC_HMAC_SHA_512 and what is built from it. This layer knows neither BSON nor MongoDB.

mod aead;
mod batch;
mod chunks;
mod derivation;
mod host_primitives;
mod key_wrap;
mod password_key;

pub use aead::{AeadKey, BLOCK_LEN, IV_LEN, MIN_SEALED_LEN, TAG_LEN, sealed_len};
pub use batch::{OpenBatch, SealBatch};
pub use chunks::{ChunkCipher, GCM_TAG_LEN, NONCE_PREFIX_LEN};
pub use derivation::{HASH_LEN, derive_key, sha256};
pub use host_primitives::HostPrimitives;
pub use key_wrap::LocalMasterKey;
pub use password_key::{Argon2Parameters, SALT_LEN};

use crate::error::Result;

/// A source of cryptographically secure random bytes, provided by the host.
pub trait Entropy {
    /// Fills `out` completely.
    ///
    /// Errors: `CRYPTO_RANDOM_UNAVAILABLE`; the content of `out` must not be used then.
    fn fill(&mut self, out: &mut [u8]) -> Result<()>;
}

/// The same byte over and over.
#[cfg(test)]
pub(crate) struct Fixed(pub(crate) u8);

#[cfg(test)]
impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        out.fill(self.0);
        Ok(())
    }
}
