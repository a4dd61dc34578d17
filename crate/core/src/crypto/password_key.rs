//! A key from a passphrase: Argon2id, version 1.3.
//!
//! Source: RFC 9106.

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::{
    error::{Code, Error, Result},
    secret::{SecretBlocks, SymmetricKey, scrub_stack},
};

/// Length of the salt in bytes.
pub const SALT_LEN: usize = 16;

/// What Argon2id costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Parameters {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes. They are computed one after the other.
    pub lanes: u32,
}

impl Argon2Parameters {
    /// 64 MiB and three passes, as RFC 9106 section 4 recommends where memory is scarce, with one lane: WebAssembly has one
    /// thread, so that more lanes would help an attacker's parallel hardware alone.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 * 1024,
        iterations: 3,
        lanes: 1,
    };
    /// 19 MiB and two passes. Weaker parameters are refused.
    pub const LEAST: Self = Self {
        memory_kib: 19 * 1024,
        iterations: 2,
        lanes: 1,
    };
    /// 256 MiB, 16 passes, four lanes: what a file of unknown origin may cost at most.
    pub const MOST: Self = Self {
        memory_kib: 256 * 1024,
        iterations: 16,
        lanes: 4,
    };

    /// Checks the parameters against [`Self::LEAST`] and [`Self::MOST`].
    ///
    /// Errors: `BACKUP_LIMIT_EXCEEDED` with the name of the parameter and its limits.
    pub fn check(&self) -> Result<()> {
        let (least, most) = (Self::LEAST, Self::MOST);
        for (name, found, least, most) in [
            (
                "memoryKiB",
                self.memory_kib,
                least.memory_kib,
                most.memory_kib,
            ),
            (
                "iterations",
                self.iterations,
                least.iterations,
                most.iterations,
            ),
            ("lanes", self.lanes, least.lanes, most.lanes),
        ] {
            if !(least..=most).contains(&found) {
                return Err(Error::new(
                    Code::BackupLimitExceeded,
                    alloc::format!(
                        "{name} of Argon2id must be from {least} to {most}, found {found}"
                    ),
                )
                .with("parameter", name)
                .with("found", found));
            }
        }
        Ok(())
    }

    /// Derives a key from a passphrase.
    ///
    /// Errors: those of [`Self::check`]; `BACKUP_LIMIT_EXCEEDED` too when the host does not have the memory.
    pub fn derive(&self, passphrase: &[u8], salt: &[u8; SALT_LEN]) -> Result<SymmetricKey> {
        self.check()?;
        let unusable = |_| Error::new(Code::BackupLimitExceeded, "Argon2id refuses its parameters");
        let params = Params::new(self.memory_kib, self.iterations, self.lanes, Some(32))
            .map_err(unusable)?;
        let mut memory =
            SecretBlocks::<Block>::allocate(params.block_count()).ok_or_else(|| {
                Error::new(
                    Code::BackupLimitExceeded,
                    alloc::format!(
                        "the host does not have {} KiB of memory for Argon2id",
                        self.memory_kib
                    ),
                )
                .with("found", self.memory_kib)
            })?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let key = SymmetricKey::fill_with(|out| {
            argon2
                .hash_password_into_with_memory(passphrase, salt, out, memory.expose_mut())
                .map_err(unusable)
        });
        scrub_stack();
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with OpenSSL through the Python package cryptography: Argon2id(salt=b"0123456789abcdef", length=32, iterations=2,
    // lanes=1, memory_cost=19456).derive(b"correct horse").
    #[test]
    fn derive_gives_the_bytes_of_openssl() {
        let key = Argon2Parameters::LEAST
            .derive(b"correct horse", b"0123456789abcdef")
            .unwrap();
        assert_eq!(
            hex::encode(key.expose()),
            "ae4d8c8b713876044c8347c76986a9b5655944aaacfffe9bea4dff9e7b6a1899"
        );
    }

    #[test]
    fn check_refuses_parameters_outside_of_the_limits() {
        let changed = |change: fn(&mut Argon2Parameters)| {
            let mut parameters = Argon2Parameters::DEFAULT;
            change(&mut parameters);
            parameters.check().err().map(|error| error.code())
        };
        let refused = Some(Code::BackupLimitExceeded);
        assert_eq!(changed(|_| {}), None);
        assert_eq!(changed(|it| it.memory_kib = 19 * 1024 - 1), refused);
        assert_eq!(changed(|it| it.memory_kib = 256 * 1024 + 1), refused);
        assert_eq!(changed(|it| it.memory_kib = u32::MAX), refused);
        assert_eq!(changed(|it| it.iterations = 1), refused);
        assert_eq!(changed(|it| it.iterations = 17), refused);
        assert_eq!(changed(|it| it.lanes = 0), refused);
        assert_eq!(changed(|it| it.lanes = 5), refused);
    }
}
