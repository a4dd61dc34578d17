//! Key management services: their identifiers, their endpoints and what is asked of them. The transport is the host's.

pub mod cloud_domains;
pub mod endpoint;
pub mod provider;
pub mod request;
pub mod wire;

pub use endpoint::Endpoint;
pub use provider::{KmsProvider, ProviderKind};
pub use request::{KmsOperation, KmsRequest};
