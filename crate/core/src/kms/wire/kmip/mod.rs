//! KMIP 1.x: messages, their encoding, and which of them a call takes.
//!
//! Source: OASIS "Key Management Interoperability Protocol Specification Version 1.2" (and 1.4 for Encrypt and Decrypt).

mod answers;
mod flow;
mod frame;
mod messages;
mod ttlv;

pub(super) use answers::{KmipAnswer, WantedKmip};
pub(super) use flow::{Call, KmipStep, Next};
pub(super) use frame::FrameReader;
