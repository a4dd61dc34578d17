//! The key vault: the documents data keys are stored in, and the questions asked of the collection.

pub mod admission;
mod arn;
pub mod assessment;
pub mod filter;
pub mod key_document;
pub mod key_id;
pub mod master_key;
mod master_key_fields;
pub mod master_key_pattern;
pub mod trusted_master_key;
mod well_formed;

pub use admission::Admission;
pub use assessment::{Disposition, KeyAssessment, assess};
pub use filter::keys_filter;
pub use key_document::{
    KeyDocument, WrappedKeyMaterial, check_new_alt_names, check_unique, split_documents,
};
pub use key_id::KeyId;
pub use master_key::{MasterKey, MasterKeyFields};
pub use master_key_pattern::MasterKeyPattern;
pub use trusted_master_key::TrustedMasterKey;
