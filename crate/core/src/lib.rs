//! MongoDB Client-Side Field Level Encryption (CSFLE) without I/O.
//!
//! The crate holds the formats, the cryptography and the state machines. It has no clock, no source of randomness, no
//! socket and no JavaScript: time and [`Entropy`] are arguments, and a machine says what it wants next.
//!
//! **Data written by any release stays readable by every later one.** The stored formats are MongoDB's: subtype-6 values
//! of kind 1 and 2, and key documents of version 0, byte for byte what libmongocrypt reads and writes. The one format of
//! our own is the sealed backup, described in `docs/sealed-backup.md`.

#![forbid(unsafe_code)]
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod census;
pub mod crypto;
pub mod engine;
pub mod error;
pub mod key_cache;
pub mod key_vault;
pub mod kms;
pub mod machine;
pub mod mongocrypt;
pub mod payload;
pub mod raw;
pub mod schema;
pub mod sealed_backup;
pub mod secret;
pub mod value_cipher;

pub use crypto::Entropy;
pub use engine::Engine;
pub use error::{Code, Error, Result};
pub use machine::{Context, Machine, Step};
