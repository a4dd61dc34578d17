//! The frame of every operation on values: look the keys up, then run once.

use alloc::vec::Vec;

use super::{
    Context, Machine, Step, Work,
    key_lookup::{KeyLookup, KeyReference, KeyRing},
    kms_round::KmsRound,
    out_of_order,
};
use crate::{crypto::Entropy, error::Result, secret::SecretBytes};

/// What is done when the keys are there.
pub(crate) trait KeyedOperation {
    fn run(&self, keys: &KeyRing, entropy: &mut dyn Entropy) -> Result<SecretBytes>;
}

struct Keyed<O> {
    references: Vec<KeyReference>,
    missing_is_fine: bool,
    /// Begun by the first step, which is when the cache is asked.
    lookup: Option<KeyLookup>,
    operation: O,
    output: Option<SecretBytes>,
    ran: bool,
}

/// A machine that needs `references` to run `operation`.
pub(crate) fn keyed(
    references: Vec<KeyReference>,
    missing_is_fine: bool,
    operation: impl KeyedOperation + 'static,
) -> Machine {
    Machine::new(Keyed {
        references,
        missing_is_fine,
        lookup: None,
        operation,
        output: None,
        ran: false,
    })
}

impl<O: KeyedOperation> Work for Keyed<O> {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Step> {
        let lookup = self.lookup.get_or_insert_with(|| {
            KeyLookup::new(
                context,
                core::mem::take(&mut self.references),
                self.missing_is_fine,
            )
        });
        let step = lookup.step(context);
        if step == Step::Done && !self.ran {
            self.output = Some(self.operation.run(lookup.ring(), context.entropy)?);
            self.ran = true;
        }
        Ok(step)
    }

    fn filter(&self) -> &[u8] {
        self.lookup.as_ref().map_or(&[], KeyLookup::filter)
    }

    fn provide_keys(&mut self, context: &mut Context<'_>, documents: &[u8]) -> Result<()> {
        match &mut self.lookup {
            Some(lookup) => lookup.provide_keys(context, documents),
            None => Err(out_of_order("keys were provided before the first step")),
        }
    }

    fn round(&mut self) -> Option<&mut KmsRound> {
        self.lookup.as_mut().map(KeyLookup::round)
    }

    fn output(&mut self) -> Option<SecretBytes> {
        self.output.take()
    }
}
