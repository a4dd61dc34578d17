//! What the kinds of context do differently.

use super::{Call, State, key_broker::KeyBroker, kms_phase::KmsPhase};
use crate::{
    error::{Code, Error, Result},
    secret::SecretBytes,
};

/// The answer to a call that this kind of context never takes.
pub(super) fn not_applicable() -> Error {
    Error::new(Code::MachineOutOfOrder, "not applicable to context")
}

/// One kind of context. [`super::MongoCryptContext`] sees to the order of the calls.
pub(super) trait Operation {
    /// What to ask in the states before keys are looked up. It may hold the application's values.
    fn question(&mut self, _call: &mut Call<'_>, _state: State) -> Result<SecretBytes> {
        Err(not_applicable())
    }

    /// One of the answers to that.
    fn answer(
        &mut self,
        _call: &mut Call<'_>,
        _broker: &mut KeyBroker,
        _state: State,
        _reply: &[u8],
    ) -> Result<()> {
        Err(not_applicable())
    }

    /// There are no more answers.
    fn answered(
        &mut self,
        _call: &mut Call<'_>,
        _broker: &mut KeyBroker,
        _state: State,
    ) -> Result<State> {
        Err(not_applicable())
    }

    /// The filter for the key vault, where it is not the broker's.
    fn filter(&self) -> Option<&[u8]> {
        None
    }

    /// Credentials were asked for and are there.
    fn credentials_provided(
        &mut self,
        _call: &mut Call<'_>,
        broker: &mut KeyBroker,
    ) -> Result<State> {
        Ok(match broker.wants_documents() {
            true => State::NeedMongoKeys,
            false => State::NeedKms,
        })
    }

    /// All keys are unwrapped.
    fn keys_complete(&mut self, _call: &mut Call<'_>, _broker: &mut KeyBroker) -> Result<State> {
        Ok(State::Ready)
    }

    /// The requests to a KMS, where they are not the broker's.
    fn kms(&mut self) -> Option<&mut KmsPhase> {
        None
    }

    /// All of those are answered.
    fn kms_complete(&mut self, _call: &mut Call<'_>) -> Result<State> {
        Ok(State::Ready)
    }

    /// Whether there is something to finalize at all.
    fn has_result(&self) -> bool {
        true
    }

    /// It failed: what it holds of keys and values goes now. The requests to a KMS stay, whose own failures can be asked for.
    fn forget(&mut self) {}

    /// The result.
    fn finalize(&mut self, call: &mut Call<'_>, broker: &KeyBroker) -> Result<SecretBytes>;
}
