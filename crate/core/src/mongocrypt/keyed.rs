//! Contexts that need keys and nothing else: explicit encryption and decryption, and decryption of whole replies.

use alloc::{boxed::Box, vec::Vec};

use super::{
    Call, ExplicitOptions, MongoCryptContext,
    context::check_document,
    key_broker::KeyBroker,
    operation::{Operation, not_applicable},
};
use crate::{
    error::{Code, Error, Result},
    machine::{
        documents::DecryptDocuments,
        explicit::{Decrypt, Encrypt},
        key_lookup::KeyReference,
        keyed::KeyedOperation,
    },
    raw::find_field,
    secret::SecretBytes,
};

/// The operation, until it fails.
struct Keyed(Option<Box<dyn KeyedOperation>>);

impl Operation for Keyed {
    fn forget(&mut self) {
        self.0 = None;
    }

    fn finalize(&mut self, call: &mut Call<'_>, broker: &KeyBroker) -> Result<SecretBytes> {
        match &self.0 {
            Some(operation) => operation.run(broker.ring(), call.entropy),
            None => Err(not_applicable()),
        }
    }
}

fn begin(
    call: &mut Call<'_>,
    references: Vec<KeyReference>,
    operation: impl KeyedOperation + 'static,
) -> MongoCryptContext {
    let mut broker = KeyBroker::new(call);
    for reference in references {
        broker.request(call, reference);
    }
    MongoCryptContext::begin(
        broker.state_after_requests(),
        Keyed(Some(Box::new(operation))),
        broker,
    )
}

impl MongoCryptContext {
    /// Encrypts one value.
    ///
    /// Shape: in `{v: value}`, out `{v: binary subtype 6}`.
    /// Errors: `VALUE_MISSING`, `VALUE_TYPE_*`, `ALGORITHM_*`, `KEY_REFERENCE_INVALID`, `OPTION_INVALID`,
    /// `BSON_MALFORMED`.
    pub fn explicit_encrypt(
        call: &mut Call<'_>,
        value: &[u8],
        options: &ExplicitOptions<'_>,
    ) -> Result<Self> {
        let (algorithm, key) = options.read()?;
        check_document(value, "msg must be bson")?;
        let operation = Encrypt::prepare(value, algorithm, key.clone())?;
        options.refuse_expression()?;
        Ok(begin(call, alloc::vec![key], operation))
    }

    /// Decrypts one value.
    ///
    /// Shape: in `{v: binary subtype 6}`, out `{v: value}`.
    ///
    /// DIFFERS: a header that names no BSON type is refused here; libmongocrypt first asks for the key.
    ///
    /// Errors: `VALUE_MISSING`, `PAYLOAD_*`, `BSON_MALFORMED`. Payloads of Queryable Encryption are
    /// `PAYLOAD_IS_QUERYABLE`.
    pub fn explicit_decrypt(call: &mut Call<'_>, value: &[u8]) -> Result<Self> {
        check_document(value, "malformed bson")?;
        if find_field(value, "v")?.is_none() {
            return Err(Error::new(
                Code::ValueMissing,
                "invalid msg, must contain 'v'",
            ));
        }
        let (key, operation) = Decrypt::prepare(value)?;
        Ok(begin(call, alloc::vec![key], operation))
    }

    /// Decrypts every CSFLE value of a reply; everything else stays byte for byte.
    ///
    /// DIFFERS: libmongocrypt also opens the stored values of Queryable Encryption. They are refused by name
    /// (`PAYLOAD_IS_QUERYABLE`): passed through, they would show ciphertext where plaintext is expected.
    ///
    /// Errors: `BSON_MALFORMED`, `PAYLOAD_*` with the path.
    pub fn decrypt(call: &mut Call<'_>, reply: &[u8]) -> Result<Self> {
        check_document(reply, "malformed bson")?;
        let (references, operation) = DecryptDocuments::prepare(reply)?;
        Ok(begin(call, references, operation))
    }
}
