//! What is known about collections, for a minute.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

/// Not configurable, as in libmongocrypt.
const TTL_MS: f64 = 60_000.0;

/// Answers of `listCollections` by namespace; an empty document says that there is no such collection.
#[derive(Default)]
pub(super) struct CollectionCache(BTreeMap<String, (Vec<u8>, f64)>);

impl CollectionCache {
    pub(super) fn find(&mut self, namespace: &str, now_ms: f64) -> Option<&[u8]> {
        self.purge(now_ms);
        self.0.get(namespace).map(|(document, _)| &document[..])
    }

    pub(super) fn insert(&mut self, namespace: String, document: &[u8], now_ms: f64) {
        self.purge(now_ms);
        self.0.insert(namespace, (document.to_vec(), now_ms));
    }

    /// A clock that was set back would keep answers for too long: negative ages count as expired.
    fn purge(&mut self, now_ms: f64) {
        self.0
            .retain(|_, (_, inserted_ms)| (0.0..=TTL_MS).contains(&(now_ms - *inserted_ms)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_a_minute() {
        let mut cache = CollectionCache::default();
        cache.insert("db.c".into(), b"one", 1000.0);
        assert_eq!(cache.find("db.c", 61_000.0), Some(&b"one"[..]));
        assert_eq!(cache.find("db.d", 61_000.0), None);
        assert_eq!(cache.find("db.c", 61_000.5), None);
        cache.insert("db.c".into(), b"two", 1000.0);
        assert_eq!(cache.find("db.c", 999.0), None);
    }
}
