//! AES and SHA-512 of the host, for values so long that calling out pays.
//!
//! WebAssembly has no instructions for either: the software cipher is bit-sliced, four blocks at a time, and a chain of
//! blocks can be encrypted only one after the other. A host that has the processor's lends them for long values.

use crate::secret::KeyMaterial;

/// Primitives of the host. `false` says that the host could not, and that the last argument is as it was.
pub trait HostPrimitives {
    /// AES-256-CBC without padding over whole blocks, in place.
    fn encrypt(&self, key: &[u8], iv: &[u8], blocks: &mut [u8]) -> bool;
    /// Undoes [`HostPrimitives::encrypt`], in place.
    fn decrypt(&self, key: &[u8], iv: &[u8], blocks: &mut [u8]) -> bool;
    /// HMAC-SHA-512 of three parts, one after the other; `out` takes its 64 bytes.
    fn hmac(&self, key: &[u8], parts: [&[u8]; 3], out: &mut [u8]) -> bool;
}

/// Shortest chain in bytes that the host encrypts: below it, the call costs more than it saves.
const ENCRYPT_FROM: usize = 512;
/// The same for decryption, which the software cipher does four blocks at a time.
const DECRYPT_FROM: usize = 1024;
/// The same for HMAC, by the length of the longest part.
const HMAC_FROM: usize = 8192;

/// Length in bytes of an HMAC-SHA-512.
const HMAC_LEN: usize = 64;

/// Which of the sub-keys an HMAC is made with.
#[derive(Clone, Copy)]
pub(super) enum HmacKey {
    /// That of the tag.
    Mac,
    /// That of deterministic initialisation vectors.
    Iv,
}

/// What a host lends, with the sub-keys that it needs. They are wiped on drop.
pub(super) struct Lent {
    host: &'static dyn HostPrimitives,
    keys: KeyMaterial,
}

impl Lent {
    pub(super) fn new(host: &'static dyn HostPrimitives, material: &KeyMaterial) -> Self {
        let keys = KeyMaterial::copy_of(material);
        Self { host, keys }
    }

    pub(super) fn takes_encryption_of(&self, len: usize) -> bool {
        len >= ENCRYPT_FROM
    }

    pub(super) fn takes_decryption_of(&self, len: usize) -> bool {
        len >= DECRYPT_FROM
    }

    pub(super) fn encrypt(&self, iv: &[u8], blocks: &mut [u8]) -> bool {
        self.takes_encryption_of(blocks.len())
            && self.host.encrypt(&self.keys.expose()[32..64], iv, blocks)
    }

    pub(super) fn decrypt(&self, iv: &[u8], blocks: &mut [u8]) -> bool {
        self.takes_decryption_of(blocks.len())
            && self.host.decrypt(&self.keys.expose()[32..64], iv, blocks)
    }

    /// The HMAC, if the host takes it.
    pub(super) fn hmac(&self, key: HmacKey, parts: [&[u8]; 3]) -> Option<[u8; HMAC_LEN]> {
        if parts.iter().all(|part| part.len() < HMAC_FROM) {
            return None;
        }
        let key = match key {
            HmacKey::Mac => &self.keys.expose()[..32],
            HmacKey::Iv => &self.keys.expose()[64..],
        };
        let mut out = [0; HMAC_LEN];
        self.host.hmac(key, parts, &mut out).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{AeadKey, IV_LEN, OpenBatch, SealBatch},
        secret::KeyMaterial,
    };
    use alloc::{vec, vec::Vec};
    use core::sync::atomic::{AtomicUsize, Ordering};
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha512;

    /// What a host would do, with a key that was lent nothing. Counts the calls: encryption, decryption, HMAC.
    struct Host {
        calls: [AtomicUsize; 3],
        works: bool,
    }

    impl Host {
        const fn new(works: bool) -> Self {
            let calls = [const { AtomicUsize::new(0) }; 3];
            Self { calls, works }
        }

        fn calls(&self) -> [usize; 3] {
            self.calls
                .each_ref()
                .map(|calls| calls.swap(0, Ordering::Relaxed))
        }

        fn run(&self, which: usize, work: impl FnOnce()) -> bool {
            self.calls[which].fetch_add(1, Ordering::Relaxed);
            if self.works {
                work();
            }
            self.works
        }
    }

    impl HostPrimitives for Host {
        fn encrypt(&self, key: &[u8], iv: &[u8], blocks: &mut [u8]) -> bool {
            assert_eq!(key, [2; 32]);
            self.run(0, || plain().encrypt_chain(iv.try_into().unwrap(), blocks))
        }

        fn decrypt(&self, key: &[u8], iv: &[u8], blocks: &mut [u8]) -> bool {
            assert_eq!(key, [2; 32]);
            let chained = [iv, &*blocks].concat();
            self.run(1, || plain().decrypt_chain(&chained, blocks))
        }

        fn hmac(&self, key: &[u8], parts: [&[u8]; 3], out: &mut [u8]) -> bool {
            self.run(2, || {
                let mut hmac = Hmac::<Sha512>::new_from_slice(key).unwrap();
                hmac.update(&parts.concat());
                out.copy_from_slice(&hmac.finalize().into_bytes());
            })
        }
    }

    fn material() -> KeyMaterial {
        let sub_keys = [[1; 32], [2; 32], [3; 32]];
        KeyMaterial::copy_from(&sub_keys.concat()).unwrap()
    }

    fn plain() -> AeadKey {
        AeadKey::new(&material())
    }

    fn check_one_by_one(host: &'static Host) {
        let (lent, plain) = (AeadKey::with_host(&material(), Some(host)), plain());
        // Each time the longest that stays here, and the shortest that goes out.
        for (len, to_seal, to_open) in [
            (495, [0, 0, 0], [0, 0, 0]),
            (496, [1, 0, 0], [0, 0, 0]),
            (1007, [1, 0, 0], [0, 0, 0]),
            (1008, [1, 0, 0], [0, 1, 0]),
            (8159, [1, 0, 0], [0, 1, 0]),
            (8160, [1, 0, 1], [0, 1, 1]),
            (8191, [1, 0, 1], [0, 1, 1]),
            (8192, [1, 0, 2], [0, 1, 1]),
        ] {
            let value = vec![0x5a; len];
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            for (key, out) in [(&lent, &mut found), (&plain, &mut expected)] {
                let iv = key.derive_iv(b"ad", &value);
                key.seal_into(&iv, b"ad", &value, out);
            }
            assert_eq!(found, expected);
            assert_eq!(host.calls(), to_seal, "{len}");
            let mut opened = b"before".to_vec();
            lent.open_into(b"ad", &found, &mut opened).unwrap();
            assert_eq!(&opened[6..], value);
            assert_eq!(host.calls(), to_open, "{len}");
            // A tag that is wrong is found out before anything is decrypted.
            *found.last_mut().unwrap() ^= 1;
            assert!(lent.open_into(b"ad", &found, &mut opened).is_err());
            assert_eq!(host.calls()[..2], [0, 0]);
        }
    }

    #[test]
    fn long_values_go_to_the_host_and_give_the_same_bytes() {
        static HOST: Host = Host::new(true);
        check_one_by_one(&HOST);
    }

    #[test]
    fn a_host_that_fails_is_done_without() {
        static HOST: Host = Host::new(false);
        check_one_by_one(&HOST);
    }

    #[test]
    fn batches_of_short_and_long_values_give_the_same_bytes() {
        static HOST: Host = Host::new(true);
        let (lent, plain) = (AeadKey::with_host(&material(), Some(&HOST)), plain());
        let lengths = [10, 3000, 20, 30, 600, 2500, 40];
        let values: Vec<_> = lengths.iter().map(|len| vec![*len as u8; *len]).collect();
        let mut batch = SealBatch::with_capacity(values.len(), 0);
        for value in &values {
            batch.push(&lent, &[9; IV_LEN], b"ad", value);
        }
        let (bytes, blobs) = batch.seal();
        assert_eq!(HOST.calls(), [3, 0, 0]);
        let mut open = OpenBatch::with_capacity(values.len(), bytes.len());
        for (value, blob) in values.iter().zip(&blobs) {
            let mut expected = b"ad".to_vec();
            plain.seal_into(&[9; IV_LEN], b"ad", value, &mut expected);
            assert_eq!(&bytes[blob.clone()], &expected);
            open.push(&lent, b"ad", &bytes[blob.start + 2..blob.end])
                .unwrap();
        }
        let (opened, ranges) = open.open().ok().unwrap();
        assert_eq!(HOST.calls(), [0, 2, 0]);
        for (value, range) in values.iter().zip(ranges) {
            assert_eq!(&opened.expose()[range], value);
        }
    }
}
