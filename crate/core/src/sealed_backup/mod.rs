//! The sealed backup: key documents and what belongs to them in one authenticated, encrypted file.
//!
//! The format is described byte by byte in `docs/sealed-backup.md`. **A file of any version stays readable by every later
//! release**; the vectors in `tests/vectors/sealed-backup` hold this promise.

mod content;
mod header;
mod seal;

pub use content::{compose, parse};
pub use header::{Header, KeyMethod, MAGIC, has_magic};
pub use seal::{
    DEFAULT_CHUNK_LEN, MAX_CHUNK_LEN, MAX_CONTENT_LEN, MIN_CHUNK_LEN, Sealing,
    check_new_passphrase, check_passphrase, open,
};
