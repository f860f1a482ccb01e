//! A map of bounded size that forgets what was not used for longest, roughly: in two generations.

use std::collections::HashMap;
use std::hash::Hash;

/// At most `2 * half` entries. When the young half is full, the old half is forgotten and the young
/// one grows old; what is used moves to the young half.
#[derive(Debug)]
pub(super) struct Aging<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Copy + Eq + Hash, V: Default> Aging<K, V> {
    pub(super) fn new(half: usize) -> Aging<K, V> {
        Aging { young: HashMap::new(), old: HashMap::new(), half }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self.young.contains_key(key) {
            true => self.young.get_mut(key),
            false => self.old.get_mut(key),
        }
    }

    /// The entry of `key`, made if there is none, and young from now on.
    pub(super) fn touch(&mut self, key: K) -> &mut V {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_default();
            if self.young.len() >= self.half {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, value);
        }
        self.young.entry(key).or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.young.keys().chain(self.old.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut map: Aging<u32, u32> = Aging::new(10);
        *map.touch(7) = 77;
        for i in 100..1000 {
            *map.touch(i) = i;
            map.touch(7);
            assert!(map.len() <= 20, "{}", map.len());
        }
        assert_eq!(map.get(&7), Some(&77));
        assert_eq!(map.get(&100), None);
    }
}
