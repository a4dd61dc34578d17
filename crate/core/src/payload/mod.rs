//! The content of BSON binary subtype 6. No cryptography and no keys here.

mod blob_subtype;
mod encrypted_value;

pub use blob_subtype::{Algorithm, PayloadKind};
pub use encrypted_value::{
    ASSOCIATED_DATA_LEN, EncryptedValue, MIN_PAYLOAD_LEN, associated_data, is_well_formed,
    opens_to_plaintext,
};
