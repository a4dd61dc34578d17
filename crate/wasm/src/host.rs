//! What the host lends: randomness, and primitives for long values.

use std::cell::RefCell;

use csfle_core::{Code, Entropy, Error, Result, crypto::HostPrimitives, secret::wipe};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// `HostPrimitives` of js/wasm.ts. The arguments are views of this instance's memory, so that no copy of a key is left
    /// behind; whoever throws has written nothing.
    pub type JsPrimitives;

    #[wasm_bindgen(method, catch)]
    fn encrypt(
        this: &JsPrimitives,
        key: &[u8],
        iv: &[u8],
        blocks: &mut [u8],
    ) -> std::result::Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn decrypt(
        this: &JsPrimitives,
        key: &[u8],
        iv: &[u8],
        blocks: &mut [u8],
    ) -> std::result::Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn hmac(
        this: &JsPrimitives,
        key: &[u8],
        first: &[u8],
        second: &[u8],
        third: &[u8],
        out: &mut [u8],
    ) -> std::result::Result<(), JsValue>;
}

type Lending = std::result::Result<(), JsValue>;

thread_local! {
    static LENT: RefCell<Option<JsPrimitives>> = const { RefCell::new(None) };
}

/// Takes what the host lends to everything that is made from now on.
#[wasm_bindgen(js_name = setHostPrimitives)]
pub fn set_host_primitives(primitives: JsPrimitives) {
    LENT.set(Some(primitives));
}

/// What the host lent.
pub(crate) fn host_primitives() -> Option<&'static dyn HostPrimitives> {
    let is_there = LENT.with_borrow(Option::is_some);
    is_there.then_some(&Borrowed)
}

struct Borrowed;

impl HostPrimitives for Borrowed {
    fn encrypt(&self, key: &[u8], iv: &[u8], blocks: &mut [u8]) -> bool {
        borrow(|host| host.encrypt(key, iv, blocks))
    }

    fn decrypt(&self, key: &[u8], iv: &[u8], blocks: &mut [u8]) -> bool {
        borrow(|host| host.decrypt(key, iv, blocks))
    }

    fn hmac(&self, key: &[u8], [first, second, third]: [&[u8]; 3], out: &mut [u8]) -> bool {
        borrow(|host| host.hmac(key, first, second, third, out))
    }
}

fn borrow(call: impl FnOnce(&JsPrimitives) -> Lending) -> bool {
    LENT.with_borrow(|host| host.as_ref().is_some_and(|host| call(host).is_ok()))
}

/// Random bytes of the host, fetched ahead for the small requests of initialisation vectors: a call into the host costs
/// more than encrypting a field. What has been handed out is wiped.
pub(crate) struct HostEntropy {
    ahead: [u8; Self::AHEAD],
    used: usize,
}

impl HostEntropy {
    const AHEAD: usize = 1024;

    pub(crate) fn new() -> Self {
        Self {
            ahead: [0; Self::AHEAD],
            used: Self::AHEAD,
        }
    }
}

impl Entropy for HostEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        // Key material is fetched on its own and never waits in a buffer.
        if out.len() > 16 {
            return host_random(out);
        }
        if self.used + out.len() > Self::AHEAD {
            host_random(&mut self.ahead)?;
            self.used = 0;
        }
        let taken = &mut self.ahead[self.used..self.used + out.len()];
        out.copy_from_slice(taken);
        wipe(taken);
        self.used += out.len();
        Ok(())
    }
}

fn host_random(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|_| {
        Error::new(
            Code::CryptoRandomUnavailable,
            "the host's source of randomness failed",
        )
    })
}
