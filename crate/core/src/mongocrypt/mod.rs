//! Operations as libmongocrypt's callers know them: contexts with numbered states that official drivers run to their end.
//!
//! This is the interface of the npm package `mongodb-client-encryption`, without I/O. What an operation does is built from
//! the parts that [`crate::machine`] is built from; what differs is the conversation: who is asked what, when, and which
//! words a refusal has.
//!
//! - Making a context either gives one that can go on, or an error.
//! - After that nothing is returned as an error: a context that failed is in [`State::Error`] and tells why with
//!   [`MongoCryptContext::failure`].
//! - Time and randomness come in through [`Call`].
//!
//! COMPAT: states, messages, filters and the order of fields are those of libmongocrypt 1.21.0. Each exception says
//! `DIFFERS:`.

mod analysis;
mod auto_encrypt;
mod collections;
mod commands;
mod context;
mod data_key;
mod explicit_options;
mod key_broker;
mod keyed;
mod kms_phase;
mod library;
mod markings;
mod operation;
mod outgoing;
mod pipelines;
mod rewrap;
mod schemas;
mod validators;

pub use context::{MongoCryptContext, State};
pub use explicit_options::ExplicitOptions;
pub use library::{Call, MongoCrypt, MongoCryptOptions};
