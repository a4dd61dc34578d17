//! Bearer tokens: what they are good for, and for how long they are kept.

use alloc::{string::String, sync::Arc, vec::Vec};

use super::answer::Token;
use crate::{kms::KmsProvider, secret::SecretBytes};

/// A token is given up so many seconds before its server would refuse it.
const MARGIN_S: u64 = 5;
/// No token is kept longer, whatever its server says.
const MAX_LIFETIME_S: u64 = 24 * 60 * 60;
/// The scopes come from key documents, so that their number has no bound of its own.
const MAX_TOKENS: usize = 64;

/// Which requests a token is good for.
///
/// DIFFERS: libmongocrypt goes by the provider alone, so that two clouds, or two accounts, under one name would get
/// each other's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenKey {
    pub(super) provider: KmsProvider,
    /// Where it came from: `host:port/path`.
    pub(super) endpoint: String,
    pub(super) scope: String,
    /// For whom.
    pub(super) subject: String,
}

/// Tokens that are still good. Dropping the cache wipes them.
#[derive(Default)]
pub struct TokenCache(Vec<Entry>);

struct Entry {
    key: TokenKey,
    token: Arc<SecretBytes>,
    stored_ms: i64,
    expires_ms: i64,
}

impl TokenCache {
    /// An empty cache.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many tokens it holds, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, key: &TokenKey, now_ms: i64) -> Option<Arc<SecretBytes>> {
        self.0
            .iter()
            .find(|entry| entry.key == *key && entry.is_fresh(now_ms))
            .map(|entry| Arc::clone(&entry.token))
    }

    /// Keeps a token for as long as it is good, and hands it out for the calls that wait for it, however short that is.
    pub(super) fn store(&mut self, key: &TokenKey, token: Token, now_ms: i64) -> Arc<SecretBytes> {
        self.0
            .retain(|entry| entry.key != *key && entry.is_fresh(now_ms));
        if self.0.len() == MAX_TOKENS {
            self.0.remove(0);
        }
        let value = Arc::new(token.value);
        let lifetime_s = token.lifetime_s.min(MAX_LIFETIME_S);
        if let Some(kept_s) = lifetime_s.checked_sub(MARGIN_S).filter(|kept| *kept > 0) {
            self.0.push(Entry {
                key: key.clone(),
                token: Arc::clone(&value),
                stored_ms: now_ms,
                expires_ms: now_ms.saturating_add((kept_s * 1000) as i64),
            });
        }
        value
    }
}

impl Entry {
    /// A clock that was set back makes a token old too: nobody knows how old then.
    const fn is_fresh(&self, now_ms: i64) -> bool {
        self.stored_ms <= now_ms && now_ms < self.expires_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn key(scope: &str) -> TokenKey {
        TokenKey {
            provider: KmsProvider::parse("azure:a").unwrap(),
            endpoint: "login.x:443/t".into(),
            scope: scope.into(),
            subject: "me".into(),
        }
    }

    fn token(value: &str, lifetime_s: u64) -> Token {
        let value = SecretBytes::copy_from(value.as_bytes());
        Token { value, lifetime_s }
    }

    fn found(cache: &TokenCache, key: &TokenKey, now_ms: i64) -> Option<String> {
        let token = cache.find(key, now_ms)?;
        Some(String::from_utf8(token.expose().to_vec()).unwrap())
    }

    #[test]
    fn a_token_is_kept_until_five_seconds_before_its_end() {
        let mut cache = TokenCache::new();
        cache.store(&key("s"), token("a", 60), 1000);
        for (now_ms, is_there) in [(999, false), (1000, true), (55_999, true), (56_000, false)] {
            assert_eq!(
                found(&cache, &key("s"), now_ms).is_some(),
                is_there,
                "{now_ms}"
            );
        }
    }

    #[test]
    fn hostile_lifetimes_do_no_harm() {
        for (lifetime_s, kept_ms) in [
            (0, 0),
            (5, 0),
            (6, 1000),
            (u64::MAX, 86_395_000),
            (i64::MAX as u64, 86_395_000),
        ] {
            let mut cache = TokenCache::new();
            assert_eq!(
                cache.store(&key("s"), token("a", lifetime_s), 0).expose(),
                b"a"
            );
            assert_eq!(found(&cache, &key("s"), kept_ms), None);
            assert_eq!(found(&cache, &key("s"), kept_ms - 1).is_some(), kept_ms > 0);
        }
        let mut cache = TokenCache::new();
        cache.store(&key("s"), token("a", 60), i64::MAX - 1);
        assert_eq!(found(&cache, &key("s"), i64::MAX - 1).as_deref(), Some("a"));
    }

    #[test]
    fn tokens_are_good_for_one_provider_endpoint_scope_and_subject() {
        let mut cache = TokenCache::new();
        let own = key("s");
        cache.store(&own, token("a", 60), 0);
        for other in [
            TokenKey {
                provider: KmsProvider::parse("azure").unwrap(),
                ..own.clone()
            },
            TokenKey {
                endpoint: "login.x:443/u".into(),
                ..own.clone()
            },
            TokenKey {
                scope: "t".into(),
                ..own.clone()
            },
            TokenKey {
                subject: "you".into(),
                ..own.clone()
            },
        ] {
            assert_eq!(found(&cache, &other, 1), None);
        }
        assert_eq!(found(&cache, &own, 1).as_deref(), Some("a"));
        cache.store(&own, token("b", 60), 1);
        assert_eq!(
            (found(&cache, &own, 1).as_deref(), cache.len()),
            (Some("b"), 1)
        );
        cache.clear();
        assert!(cache.is_empty());
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = TokenCache::new();
        for scope in 0..200 {
            cache.store(&key(&format!("{scope}")), token("a", 60), scope);
        }
        assert_eq!(cache.len(), MAX_TOKENS);
        assert!(found(&cache, &key("199"), 200).is_some());
        assert!(found(&cache, &key("0"), 200).is_none());
        cache.store(&key("s"), token("a", 60), 1_000_000);
        assert_eq!(cache.len(), 1, "expired tokens make room");
    }
}
