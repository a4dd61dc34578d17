//! Operations that need keys, as machines without I/O.
//!
//! A machine says what it wants ([`Step`]), the host fetches it and provides it, and steps again:
//!
//! - `step` twice without providing anything gives the same step.
//! - After `provide_keys`, and after the last `provide_kms`, step again.
//! - An error is sticky: every later call returns the same one.
//! - Time and randomness come in through [`Context`]; retries and deadlines are the host's.

mod conditional_write;
pub(crate) mod create_data_key;
pub(crate) mod documents;
mod encrypt_documents;
pub(crate) mod explicit;
pub(crate) mod key_lookup;
mod key_proof;
pub(crate) mod keyed;
mod kms_round;
mod options;
mod sealed_backup;
mod transform;
mod vault;

use alloc::{boxed::Box, format, vec::Vec};

use crate::{
    crypto::Entropy,
    engine::Engine,
    error::{Code, Error, Result},
    kms::KmsRequest,
    secret::SecretBytes,
};
use kms_round::KmsRound;
pub use options::parse_key_mapping;

/// What a machine wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find the key documents that match [`Machine::filter`] and hand them to [`Machine::provide_keys`].
    NeedKeys,
    /// Perform [`Machine::kms_requests`] and hand each reply to [`Machine::provide_kms`].
    NeedKms,
    /// Take the result with [`Machine::output`].
    Done,
}

/// What the host lends to a call.
pub struct Context<'a> {
    /// Providers and key cache.
    pub engine: &'a mut Engine,
    /// The host's randomness.
    pub entropy: &'a mut dyn Entropy,
    /// Milliseconds since the Unix epoch.
    pub now_ms: f64,
}

/// One kind of operation. Calls arrive in the order that the steps allow; [`Machine`] sees to that.
pub(crate) trait Work {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Step>;
    fn filter(&self) -> &[u8] {
        &[]
    }
    fn provide_keys(&mut self, _context: &mut Context<'_>, _documents: &[u8]) -> Result<()> {
        Err(out_of_order("this machine does not read the key vault"))
    }
    fn round(&mut self) -> Option<&mut KmsRound> {
        None
    }
    fn output(&mut self) -> Option<SecretBytes>;
}

/// An operation under way.
pub struct Machine {
    work: Box<dyn Work>,
    last: Option<Step>,
    failure: Option<Error>,
}

impl Machine {
    pub(crate) fn new(work: impl Work + 'static) -> Self {
        Self {
            work: Box::new(work),
            last: None,
            failure: None,
        }
    }

    /// Goes as far as possible and says what is wanted next.
    ///
    /// Errors: those of the operation; they are sticky.
    pub fn step(&mut self, context: &mut Context<'_>) -> Result<Step> {
        let step = self.guard(|work, _| work.step(context))?;
        self.last = Some(step);
        Ok(step)
    }

    /// The filter for the key vault, as BSON, while [`Step::NeedKeys`] is wanted.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER`.
    pub fn filter(&self) -> Result<&[u8]> {
        match self.last {
            Some(Step::NeedKeys) => Ok(self.work.filter()),
            other => Err(expected(Step::NeedKeys, other)),
        }
    }

    /// Takes all key documents that the filter found, end to end; none is fine too.
    ///
    /// Errors: `KEY_VAULT_*`, `KMS_PROVIDER_NOT_CONFIGURED`, `CRYPTO_AUTHENTICATION_FAILED` for a wrong local master key,
    /// `MACHINE_OUT_OF_ORDER`.
    pub fn provide_keys(&mut self, context: &mut Context<'_>, documents: &[u8]) -> Result<()> {
        self.guard(|work, last| {
            if last.take() != Some(Step::NeedKeys) {
                return Err(out_of_order("keys were provided that were not asked for"));
            }
            work.provide_keys(context, documents)
        })
    }

    /// The KMS requests that have no reply yet, while [`Step::NeedKms`] is wanted.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER`.
    pub fn kms_requests(&mut self) -> Result<Vec<&KmsRequest>> {
        let last = self.last;
        match (last, self.work.round()) {
            (Some(Step::NeedKms), Some(round)) => Ok(round.outstanding()),
            _ => Err(expected(Step::NeedKms, last)),
        }
    }

    /// Takes the reply to one KMS request.
    ///
    /// Shape: to wrap, the wrapped bytes, and the id of the KMIP object if one was made; to unwrap, 96 bytes.
    /// Errors: `KMS_REPLY_LENGTH`, `MACHINE_OUT_OF_ORDER` for an unknown or answered id.
    pub fn provide_kms(&mut self, id: u32, reply: &[u8], kmip_key_id: Option<&str>) -> Result<()> {
        self.guard(|work, last| match (*last, work.round()) {
            (Some(Step::NeedKms), Some(round)) => round.answer(id, reply, kmip_key_id),
            _ => Err(out_of_order(
                "a KMS reply was provided that was not asked for",
            )),
        })
    }

    /// The result, once.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER`.
    pub fn output(&mut self) -> Result<SecretBytes> {
        match self.last {
            Some(Step::Done) => self
                .work
                .output()
                .ok_or_else(|| out_of_order("the output was taken before")),
            other => Err(expected(Step::Done, other)),
        }
    }

    fn guard<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Work, &mut Option<Step>) -> Result<T>,
    ) -> Result<T> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        call(&mut *self.work, &mut self.last)
            .inspect_err(|error| self.failure = Some(error.clone()))
    }
}

fn out_of_order(message: &'static str) -> Error {
    Error::new(Code::MachineOutOfOrder, message)
}

fn expected(wanted: Step, found: Option<Step>) -> Error {
    Error::new(
        Code::MachineOutOfOrder,
        format!("expected the machine to be at {wanted:?}, found {found:?}"),
    )
}
