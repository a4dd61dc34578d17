//! Unwrapped data keys, kept for a while so that a KMS is not asked for each value.

use alloc::{rc::Rc, string::String, vec::Vec};

use crate::{key_vault::KeyId, value_cipher::DataKey};

/// A cached key with the names it answered to when it was read.
struct Entry {
    key: Rc<DataKey>,
    key_alt_names: Vec<String>,
    inserted_ms: f64,
    used: u64,
}

/// Bounded cache with a time to live. Evicted keys are wiped as soon as no machine uses them any more.
pub struct KeyCache {
    entries: Vec<Entry>,
    ttl_ms: f64,
    capacity: usize,
    clock: u64,
}

impl KeyCache {
    /// Units: `ttl_ms` in milliseconds, 0 = entries never expire; `capacity` in keys, 0 = nothing is kept.
    #[must_use]
    pub fn new(ttl_ms: f64, capacity: usize) -> Self {
        Self {
            entries: Vec::new(),
            ttl_ms,
            capacity,
            clock: 0,
        }
    }

    /// The key of this id, unless it expired.
    pub fn by_id(&mut self, id: &KeyId, now_ms: f64) -> Option<Rc<DataKey>> {
        self.find(now_ms, |entry| entry.key.id() == id)
    }

    /// The key that answered to this name when it was read, unless it expired.
    pub fn by_name(&mut self, name: &str, now_ms: f64) -> Option<Rc<DataKey>> {
        self.find(now_ms, |entry| {
            entry.key_alt_names.iter().any(|known| known == name)
        })
    }

    fn find(&mut self, now_ms: f64, matches: impl Fn(&Entry) -> bool) -> Option<Rc<DataKey>> {
        self.purge(now_ms);
        self.clock += 1;
        let entry = self.entries.iter_mut().find(|entry| matches(entry))?;
        entry.used = self.clock;
        Some(Rc::clone(&entry.key))
    }

    /// Adds a key and removes every entry that shares its id or a name. The least recently used key makes room.
    pub fn insert(&mut self, key: Rc<DataKey>, key_alt_names: Vec<String>, now_ms: f64) {
        self.purge(now_ms);
        self.entries.retain(|entry| {
            entry.key.id() != key.id()
                && !entry
                    .key_alt_names
                    .iter()
                    .any(|name| key_alt_names.contains(name))
        });
        if self.capacity == 0 {
            return;
        }
        while self.entries.len() >= self.capacity {
            let oldest = self
                .entries
                .iter()
                .enumerate()
                .min_by_key(|(_, entry)| entry.used);
            let Some((index, _)) = oldest else { break };
            self.entries.swap_remove(index);
        }
        self.clock += 1;
        self.entries.push(Entry {
            key,
            key_alt_names,
            inserted_ms: now_ms,
            used: self.clock,
        });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    fn purge(&mut self, now_ms: f64) {
        if self.ttl_ms > 0.0 {
            let ttl_ms = self.ttl_ms;
            // A clock that was set back would keep keys for too long: negative ages count as expired.
            self.entries
                .retain(|entry| (0.0..=ttl_ms).contains(&(now_ms - entry.inserted_ms)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::KeyMaterial;

    fn key(byte: u8) -> Rc<DataKey> {
        let material = KeyMaterial::copy_from(&[byte; 96]).unwrap();
        Rc::new(DataKey::new(KeyId::new([byte; 16]), &material))
    }

    fn id(byte: u8) -> KeyId {
        KeyId::new([byte; 16])
    }

    #[test]
    fn an_entry_expires_after_its_time_to_live() {
        let mut cache = KeyCache::new(1000.0, 8);
        cache.insert(key(1), alloc::vec!["one".into()], 0.0);
        assert!(cache.by_id(&id(1), 1000.0).is_some());
        assert!(cache.by_name("one", 1000.0).is_some());
        assert!(cache.by_id(&id(1), 1000.5).is_none());
    }

    #[test]
    fn a_time_to_live_of_zero_never_expires_and_a_clock_set_back_does() {
        let mut forever = KeyCache::new(0.0, 8);
        forever.insert(key(1), Vec::new(), 0.0);
        assert!(forever.by_id(&id(1), 1e15).is_some());
        let mut cache = KeyCache::new(1000.0, 8);
        cache.insert(key(1), Vec::new(), 5000.0);
        assert!(cache.by_id(&id(1), 4000.0).is_none());
    }

    #[test]
    fn the_least_recently_used_key_makes_room() {
        let mut cache = KeyCache::new(0.0, 2);
        cache.insert(key(1), Vec::new(), 0.0);
        cache.insert(key(2), Vec::new(), 0.0);
        assert!(cache.by_id(&id(1), 0.0).is_some());
        cache.insert(key(3), Vec::new(), 0.0);
        assert!(cache.by_id(&id(2), 0.0).is_none());
        assert!(cache.by_id(&id(1), 0.0).is_some() && cache.by_id(&id(3), 0.0).is_some());
    }

    #[test]
    fn a_key_replaces_entries_that_share_a_name() {
        let mut cache = KeyCache::new(0.0, 8);
        cache.insert(key(1), alloc::vec!["shared".into()], 0.0);
        cache.insert(key(2), alloc::vec!["shared".into()], 0.0);
        assert!(cache.by_id(&id(1), 0.0).is_none());
        assert!(cache.by_name("shared", 0.0).unwrap().id() == &id(2));
    }

    #[test]
    fn a_key_that_is_read_again_replaces_itself_and_its_names() {
        let mut cache = KeyCache::new(0.0, 2);
        cache.insert(key(1), alloc::vec!["before".into()], 0.0);
        cache.insert(key(1), alloc::vec!["after".into()], 0.0);
        assert!(cache.by_name("before", 0.0).is_none());
        assert!(cache.by_name("after", 0.0).is_some());
        cache.insert(key(2), Vec::new(), 0.0);
        assert!(cache.by_id(&id(1), 0.0).is_some(), "it takes one place");
    }

    #[test]
    fn a_capacity_of_zero_keeps_nothing() {
        let mut cache = KeyCache::new(0.0, 0);
        cache.insert(key(1), Vec::new(), 0.0);
        assert!(cache.by_id(&id(1), 0.0).is_none());
    }
}
