//! The states of a context, and which calls they allow.

use alloc::boxed::Box;

use super::{
    Call,
    key_broker::KeyBroker,
    kms_phase::KmsPhase,
    operation::{Operation, not_applicable},
};
use crate::{
    error::{Code, Error, Result},
    kms::wire::{KmsProviders, SignatureWanted, WireRequest},
    raw::{check_value, element_type as ty},
    secret::SecretBytes,
};

/// What a context wants next; the numbers are libmongocrypt's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It failed: [`MongoCryptContext::failure`] tells why. Nothing follows.
    Error = 0,
    /// Documents of `listCollections` that match the filter.
    NeedMongoCollinfo = 1,
    /// The query analyser's reply to a command.
    NeedMongoMarkings = 2,
    /// Key documents that match the filter.
    NeedMongoKeys = 3,
    /// Answers of a KMS.
    NeedKms = 4,
    /// The result can be taken.
    Ready = 5,
    /// The result was taken, or there is none. Nothing follows.
    Done = 6,
    /// Credentials of the providers that are configured without.
    NeedKmsCredentials = 7,
}

/// One operation under way.
pub struct MongoCryptContext {
    state: State,
    failure: Option<Error>,
    operation: Box<dyn Operation>,
    broker: KeyBroker,
}

impl MongoCryptContext {
    pub(super) fn begin(
        state: State,
        operation: impl Operation + 'static,
        broker: KeyBroker,
    ) -> Self {
        Self {
            state,
            failure: None,
            operation: Box::new(operation),
            broker,
        }
    }

    /// What is wanted next.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why the context is in [`State::Error`].
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// What to ask the server, as BSON: a filter for `listCollections`, a command for the query analyser, or a filter for
    /// the key vault. Asking twice gives the same. `None` when the context failed.
    pub fn mongo_operation(&mut self, call: &mut Call<'_>) -> Option<SecretBytes> {
        let asked = match self.state {
            State::Error => return None,
            State::NeedMongoCollinfo | State::NeedMongoMarkings => {
                self.operation.question(call, self.state)
            }
            State::NeedMongoKeys => Ok(match self.operation.filter() {
                Some(filter) => SecretBytes::copy_from(filter),
                None => SecretBytes::adopt(self.broker.filter()),
            }),
            _ => Err(wrong_state()),
        };
        self.keep(asked)
    }

    /// Takes one document of the answer.
    pub fn feed_mongo(&mut self, call: &mut Call<'_>, reply: &[u8]) {
        let fed = match self.state {
            State::Error => return,
            State::NeedMongoCollinfo | State::NeedMongoMarkings => {
                self.operation
                    .answer(call, &mut self.broker, self.state, reply)
            }
            State::NeedMongoKeys => self.broker.add_document(call, reply),
            _ => Err(wrong_state()),
        };
        self.keep(fed);
    }

    /// The answer is complete.
    pub fn finish_mongo(&mut self, call: &mut Call<'_>) {
        let next = match self.state {
            State::Error => return,
            State::NeedMongoCollinfo | State::NeedMongoMarkings => {
                self.operation.answered(call, &mut self.broker, self.state)
            }
            State::NeedMongoKeys => self.finish_documents(call),
            _ => Err(wrong_state()),
        };
        self.go_to(next);
    }

    fn finish_documents(&mut self, call: &mut Call<'_>) -> Result<State> {
        self.broker.finish_documents()?;
        match self.broker.wants_kms() {
            true => {
                self.broker.kms().begin(call)?;
                Ok(State::NeedKms)
            }
            false => self.keys_complete(call),
        }
    }

    fn keys_complete(&mut self, call: &mut Call<'_>) -> Result<State> {
        self.broker.unwrap_all(call)?;
        self.operation.keys_complete(call, &mut self.broker)
    }

    fn kms(&mut self) -> &mut KmsPhase {
        match self.operation.kms() {
            Some(phase) => phase,
            None => self.broker.kms(),
        }
    }

    /// The number of the next request to a KMS that nobody has been told of; `None` when there is no more.
    pub fn next_kms_request(&mut self) -> Option<u32> {
        match self.state {
            State::NeedKms => self.kms().next(),
            State::Error => None,
            _ => {
                self.fail(wrong_state());
                None
            }
        }
    }

    /// A request by its number; `None` once all of its kind are answered.
    pub fn kms_request(&mut self, number: u32) -> Option<&mut WireRequest> {
        self.kms().request(number)
    }

    /// What to sign for a request that has to be signed before it can be told of.
    #[must_use]
    pub fn signature_wanted(&mut self) -> Option<SignatureWanted<'_>> {
        match self.state {
            State::NeedKms => self.kms().signature_wanted(),
            _ => None,
        }
    }

    /// Takes that signature; an empty one says that the host could not sign.
    pub fn provide_signature(&mut self, signature: &[u8]) {
        if self.state == State::NeedKms {
            self.kms().provide_signature(signature);
        }
    }

    /// The requests that were told of are answered.
    pub fn finish_kms(&mut self, call: &mut Call<'_>) {
        let next = match self.state {
            State::Error => return,
            State::NeedKms => self.finish_round(call),
            _ => Err(wrong_state()),
        };
        self.go_to(next);
    }

    fn finish_round(&mut self, call: &mut Call<'_>) -> Result<State> {
        if let Some(phase) = self.operation.kms() {
            return match phase.finish_round(call)? {
                true => self.operation.kms_complete(call),
                false => Ok(State::NeedKms),
            };
        }
        match self.broker.kms().finish_round(call) {
            Ok(true) => self.keys_complete(call),
            Ok(false) => Ok(State::NeedKms),
            Err(error) => {
                self.broker.keep_unwrapped(call);
                Err(error)
            }
        }
    }

    /// Takes the credentials that were missing, as a `kmsProviders` document.
    ///
    /// COMPAT: this is the one call whose mistake replaces an earlier failure.
    pub fn provide_kms_providers(&mut self, call: &mut Call<'_>, providers: &[u8]) {
        let next = match self.state {
            State::NeedKmsCredentials => self.take_credentials(call, providers),
            _ => Err(wrong_state()),
        };
        self.go_to(next);
    }

    fn take_credentials(&mut self, call: &mut Call<'_>, providers: &[u8]) -> Result<State> {
        let answer = KmsProviders::parse(providers)?;
        self.broker.use_credentials(&answer);
        self.operation.credentials_provided(call, &mut self.broker)
    }

    /// The result. `None` when the context failed.
    pub fn finalize(&mut self, call: &mut Call<'_>) -> Option<SecretBytes> {
        let result = match self.state {
            // COMPAT: asked of a context without a result, this replaces an earlier failure.
            _ if !self.operation.has_result() => Err(not_applicable()),
            State::Error => return None,
            State::Ready => self.operation.finalize(call, &self.broker),
            _ => Err(wrong_state()),
        };
        if result.is_ok() {
            self.state = State::Done;
            // Keys, credentials and plaintext are wiped now, not when the host gets round to it.
            self.operation = Box::new(Finished);
            self.broker = KeyBroker::new(call);
        }
        self.keep(result)
    }

    fn go_to(&mut self, next: Result<State>) {
        if let Some(state) = self.keep(next) {
            self.state = state;
        }
    }

    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.fail(error)).ok()
    }

    /// Keys and values go now: a host that has seen the failure may keep the context for long.
    fn fail(&mut self, error: Error) {
        self.failure = Some(error);
        self.state = State::Error;
        self.operation.forget();
        self.broker.forget();
    }
}

/// What is left of an operation whose result was taken.
struct Finished;

impl Operation for Finished {
    fn finalize(&mut self, _call: &mut Call<'_>, _broker: &KeyBroker) -> Result<SecretBytes> {
        Err(wrong_state())
    }
}

fn wrong_state() -> Error {
    Error::new(Code::MachineOutOfOrder, "wrong state")
}

/// Refuses bytes that are not one document, with the words of the place where they came in.
///
/// DIFFERS: libmongocrypt looks at the outermost length alone, and stops its search for values, without a word, where the
/// bytes go wrong further in: ciphertext behind that place stays ciphertext. Here the whole document is looked at.
pub(super) fn check_document(bytes: &[u8], complaint: &'static str) -> Result<()> {
    check_value(ty::DOCUMENT, bytes).map_err(|_| Error::new(Code::BsonMalformed, complaint))
}
