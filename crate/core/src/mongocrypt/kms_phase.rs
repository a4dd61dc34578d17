//! The requests of a context to KMS, under numbers that the host's handles keep.

use alloc::vec::Vec;

use super::Call;
use crate::{
    error::Result,
    kms::wire::{SignatureWanted, WireContext, WireReply, WireRequest, WireRound},
};

/// Requests that are under way together. Numbers go on from one round to the next, and from one phase of a context to the
/// next: a handle that is kept too long names nothing, least of all the next message of its own request.
pub(super) struct KmsPhase {
    first: u32,
    waiting: Vec<WireRequest>,
    round: Option<WireRound>,
}

impl KmsPhase {
    pub(super) const fn new(first: u32) -> Self {
        Self {
            first,
            waiting: Vec::new(),
            round: None,
        }
    }

    pub(super) fn add(&mut self, request: WireRequest) {
        self.waiting.push(request);
    }

    /// As [`Self::add`], with the message built at once, so that mistakes show where the request comes from. One that needs a
    /// token first is built when that is there.
    ///
    /// Errors: `KMS_*`, `MASTER_KEY_INVALID`, `CRYPTO_*`.
    pub(super) fn add_begun(
        &mut self,
        call: &mut Call<'_>,
        mut request: WireRequest,
    ) -> Result<()> {
        request.begin_without_token(&mut wire_context(call))?;
        self.waiting.push(request);
        Ok(())
    }

    /// The last one first from now on.
    pub(super) fn reverse(&mut self) {
        self.waiting.reverse();
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Builds the messages of all requests, so that mistakes show at once.
    ///
    /// Errors: `KMS_*`, `MASTER_KEY_INVALID`, `CRYPTO_*`.
    pub(super) fn begin(&mut self, call: &mut Call<'_>) -> Result<()> {
        let requests = core::mem::take(&mut self.waiting);
        self.round = Some(WireRound::new(requests, &mut wire_context(call))?);
        Ok(())
    }

    /// The next request that has something to send: a new message, or one that has to be sent again.
    pub(super) fn next(&mut self) -> Option<u32> {
        let index = self.round.as_mut()?.next_request()?;
        Some(self.first + index as u32)
    }

    pub(super) fn request(&mut self, number: u32) -> Option<&mut WireRequest> {
        let index = number.checked_sub(self.first)?;
        self.round.as_mut()?.request(index as usize)
    }

    pub(super) fn signature_wanted(&self) -> Option<SignatureWanted<'_>> {
        self.round
            .as_ref()?
            .requests()
            .find_map(|request| request.signature_wanted().ok())
    }

    /// A refusal stays in the request, and shows when the round is finished.
    pub(super) fn provide_signature(&mut self, signature: &[u8]) {
        let Some(round) = &mut self.round else { return };
        let waiting = round
            .requests()
            .position(|request| request.signature_wanted().is_ok());
        if let Some(request) = waiting.and_then(|index| round.request(index)) {
            let _ = request.provide_signature(signature);
        }
    }

    /// Takes what was answered. Says whether all requests are done; if not, some have another message to send.
    ///
    /// Errors: those of the first request that failed; `KMS_RESPONSE_UNFINISHED`.
    pub(super) fn finish_round(&mut self, call: &mut Call<'_>) -> Result<bool> {
        let Some(round) = &mut self.round else {
            return Ok(true);
        };
        let are_done = round.finish(&mut wire_context(call))?;
        self.first += round.requests().count() as u32;
        Ok(are_done)
    }

    /// The replies in the order of the requests, after the last round.
    ///
    /// Errors: `MACHINE_OUT_OF_ORDER`.
    pub(super) fn take_replies(&mut self) -> Result<Vec<WireReply>> {
        let mut replies = Vec::new();
        if let Some(mut round) = self.round.take() {
            while let Some(request) = round.request(replies.len()) {
                replies.push(request.take_reply()?);
            }
        }
        Ok(replies)
    }

    /// Whether a token is missing still.
    pub(super) fn is_fetching(&self) -> bool {
        (self.round.as_ref()).is_some_and(|round| round.requests().any(WireRequest::is_fetching))
    }

    /// The replies up to the first request without one, after a round that failed.
    pub(super) fn take_first_replies(&mut self) -> Vec<WireReply> {
        let mut replies = Vec::new();
        if let Some(round) = &mut self.round {
            while let Some(Ok(reply)) = round.request(replies.len()).map(WireRequest::take_reply) {
                replies.push(reply);
            }
        }
        replies
    }

    /// The number that the next phase begins with.
    pub(super) fn end(&self) -> u32 {
        self.first
    }
}

fn wire_context<'a>(call: &'a mut Call<'_>) -> WireContext<'a> {
    WireContext {
        now_ms: call.now_ms as i64,
        entropy: &mut *call.entropy,
        tokens: &mut call.library.tokens,
    }
}
