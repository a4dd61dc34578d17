//! Several calls side by side, which share the tokens they fetch.

use alloc::{sync::Arc, vec::Vec};

use super::{
    oauth::TokenKey,
    request::WireRequest,
    step::{WireContext, WireStep},
};
use crate::{error::Result, secret::SecretBytes};

/// The calls that one operation makes, message by message: all that can be under way at once are.
///
/// Of several calls that need the same bearer token, one fetches it. The others begin when it is there, however short
/// its life is.
///
/// The protocol is that of the reference's drivers: take requests with [`WireRound::next_request`] until there is none,
/// exchange messages, and call [`WireRound::finish`]; repeat until that says that all is done.
pub struct WireRound {
    requests: Vec<Slot>,
}

struct Slot {
    request: WireRequest,
    /// Whether the message under way was handed out.
    is_offered: bool,
}

impl Slot {
    /// Whether there is a message to send that nobody has been told of; they have now.
    fn offer(&mut self) -> bool {
        let is_next = match self.request.is_retry_wanted() {
            true => self.request.resend().is_ok(),
            false => !self.is_offered && self.request.message().is_ok(),
        };
        self.is_offered |= is_next;
        is_next
    }
}

impl WireRound {
    /// Begins with `requests`.
    ///
    /// Errors: those of [`WireRequest::step`].
    pub fn new(requests: Vec<WireRequest>, context: &mut WireContext<'_>) -> Result<Self> {
        let mut round = Self {
            requests: requests
                .into_iter()
                .map(|request| Slot {
                    request,
                    is_offered: false,
                })
                .collect(),
        };
        round.begin(context)?;
        Ok(round)
    }

    /// Steps the calls that have not begun, except those whose token another one is fetching.
    fn begin(&mut self, context: &mut WireContext<'_>) -> Result<()> {
        let mut being_fetched = Vec::new();
        // COMPAT: tokens are fetched for the last request first; libmongocrypt has these two in opposite orders.
        for slot in self.requests.iter_mut().rev() {
            if let Some(key) = slot.request.token_to_fetch(context) {
                if being_fetched.contains(&key) {
                    continue;
                }
                being_fetched.push(key);
            }
            slot.request.step(context)?;
        }
        Ok(())
    }

    /// The requests, in the order they were given.
    pub fn requests(&self) -> impl Iterator<Item = &WireRequest> {
        self.requests.iter().map(|slot| &slot.request)
    }

    /// One of the requests.
    pub fn request(&mut self, index: usize) -> Option<&mut WireRequest> {
        self.requests.get_mut(index).map(|slot| &mut slot.request)
    }

    /// The next request that has a message to send: for the first time, or again after a failure that may pass. In the
    /// second case its answer starts over.
    ///
    /// Its signature, if it wants one, is to be provided before.
    pub fn next_request(&mut self) -> Option<usize> {
        // In the order of `order`, which a vault with very many keys should not cause to be made for each of them.
        let all = 0..self.requests.len();
        let mut offered = |index: usize, is_fetching: bool| {
            let slot = &mut self.requests[index];
            slot.request.is_fetching() == is_fetching && slot.offer()
        };
        (all.clone().rev().find(|index| offered(*index, true))).or_else(|| {
            let mut others = all;
            others.find(|index| offered(*index, false))
        })
    }

    /// Requests for tokens from the last to the first, then the others from the first to the last.
    fn order(&self) -> Vec<usize> {
        let (mut order, others): (Vec<usize>, Vec<usize>) =
            (0..self.requests.len()).partition(|index| self.requests[*index].request.is_fetching());
        order.reverse();
        order.extend(others);
        order
    }

    /// Takes the answers, and says whether every request is [`WireStep::Done`]; otherwise there are messages again, from
    /// requests that go on and from those that wait to be sent again.
    ///
    /// DIFFERS: libmongocrypt takes a request that waits to be sent again for one that was answered, with nothing. A host
    /// that asks for requests once a round, as the official driver for Node does, then fails for want of key material,
    /// however soon the KMS would have answered. Here the request is one of the next round.
    ///
    /// Errors: that of the first request that failed: `KMS_RESPONSE_UNFINISHED` where an answer is incomplete, those of
    /// [`WireRequest::step`]. Requests that waited for the token of a failed one fail with `KMS_TOKEN_MISSING`.
    pub fn finish(&mut self, context: &mut WireContext<'_>) -> Result<bool> {
        let mut failure = None;
        let mut are_done = true;
        let mut fetched: Vec<(TokenKey, Arc<SecretBytes>)> = Vec::new();
        let mut being_fetched: Vec<TokenKey> = Vec::new();
        for index in self.order() {
            let slot = &mut self.requests[index];
            let request = &mut slot.request;
            let outcome = if request.is_retry_wanted() {
                being_fetched.extend(request.token_under_way().cloned());
                Ok(WireStep::Retry)
            } else {
                match request.token_to_fetch(context) {
                    Some(key) if being_fetched.contains(&key) => Ok(WireStep::Exchange),
                    // It waits for a request that fetches, which has been finished by now.
                    Some(key) => match fetched.iter().find(|(known, _)| *known == key) {
                        Some((_, token)) => request
                            .begin_with_token(token, context.now_ms)
                            .map(|()| WireStep::Exchange),
                        None => Err(request.give_up_token()),
                    },
                    None => request.finish(context),
                }
            };
            slot.is_offered = false;
            fetched.extend(request.fetched_token().cloned());
            match outcome {
                Ok(step) => are_done &= step == WireStep::Done,
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(are_done), Err)
    }
}
