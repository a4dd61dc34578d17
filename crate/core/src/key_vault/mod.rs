//! The key vault: the documents data keys are stored in, and the questions asked of the collection.

pub mod filter;
pub mod key_document;
pub mod key_id;
pub mod master_key;
mod well_formed;

pub use filter::keys_filter;
pub use key_document::{KeyDocument, WrappedKeyMaterial, check_unique, split_documents};
pub use key_id::KeyId;
pub use master_key::{MasterKey, MasterKeyFields};
