//! HTTP/1.1 as the KMS need it: one request on one connection, and its answer.

mod request;
mod response;

pub(super) use request::HttpRequest;
pub use response::{MAX_BODY_LEN, ResponseParser};
