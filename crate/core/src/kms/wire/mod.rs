//! KMS requests as bytes, for hosts that have a TLS socket and no SDK.
//!
//! Nothing here connects, waits or draws the time: a [`WireRequest`] says which bytes go where, is fed what comes back,
//! and asks for a signature or another attempt. [`WireRound`] runs several side by side.
//!
//! Every input is hostile here. Key documents name regions, keys and endpoints; answers come from whoever listens there.
//! What goes into a message is escaped or refused, what comes back is bounded, and no error quotes a secret.
//!
//! Requests are those of libmongocrypt 1.21.0, byte for byte; each deliberate difference is marked `DIFFERS:`.

mod answer;
mod aws;
mod azure;
mod base64;
mod call;
mod credentials;
mod exchange;
mod gcp;
pub mod http;
mod json;
mod kmip;
mod oauth;
mod percent;
mod provider_fields;
mod providers;
mod request;
pub mod retry;
mod round;
pub mod sigv4;
mod step;
mod timestamp;
mod writer;

pub use credentials::{AwsCredentials, AzureCredentials, Credentials, GcpCredentials};
pub use oauth::TokenCache;
pub use providers::KmsProviders;
pub use request::WireRequest;
pub use round::WireRound;
pub use step::{SignatureWanted, WireContext, WireReply, WireStep};
