//! What the host lends: randomness and time.

use csfle_core::{Code, Entropy, Error, Result, secret::wipe};

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
