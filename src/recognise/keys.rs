//! Keys: a small set of names, and the place of each.

/// A small fixed set of keys with a look-up of a few nanoseconds: open addressing over the first and last eight bytes,
/// a quarter full. The keys come from the configuration, so nobody can choose them to collide.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    keys: Vec<Box<[u8]>>,
    /// A power of two long.
    slots: Vec<Slot>,
}

/// A key by its ends.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    ends: (u64, u64),
    length: usize,
    /// Index of the key plus one, 0 for a free slot.
    number: usize,
}

impl KeyTable {
    /// The place of a key, also before the table is sealed.
    pub(super) fn position(&self, key: &[u8]) -> Option<usize> {
        self.keys.iter().position(|known| **known == *key)
    }

    /// All keys, by their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &**key)
    }

    /// Adds a key; its place.
    pub(super) fn push(&mut self, key: &[u8]) -> usize {
        self.keys.push(key.into());
        self.keys.len() - 1
    }

    /// Makes what was added so far ready to be found.
    pub(super) fn seal(&mut self) {
        self.slots = vec![Slot::default(); (self.keys.len() * 4).next_power_of_two()];
        for (key, number) in self.keys.iter().zip(1..) {
            let ends = ends(key);
            let mut at = hash(ends, key.len()) & (self.slots.len() - 1);
            while self.slots.get(at).is_some_and(|slot| slot.number != 0) {
                at = (at + 1) & (self.slots.len() - 1);
            }
            let slot = Slot { ends, length: key.len(), number };
            self.slots.get_mut(at).into_iter().for_each(|free| *free = slot);
        }
    }

    /// The place of a key.
    #[inline(always)]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let ends = ends(key);
        let mut at = hash(ends, key.len()) & mask;
        loop {
            let slot = self.slots.get(at)?;
            let index = slot.number.checked_sub(1)?;
            if slot.ends == ends && slot.length == key.len() {
                // Up to sixteen bytes the ends are all of the key.
                let same = key.len() <= 16 || self.keys.get(index).is_some_and(|known| **known == *key);
                if same {
                    return Some(index);
                }
            }
            at = (at + 1) & mask;
        }
    }
}

/// The first and last eight bytes of a key, which may overlap; of a shorter one all of it.
#[inline(always)]
fn ends(key: &[u8]) -> (u64, u64) {
    let four = |part: &[u8; 4]| u64::from(u32::from_le_bytes(*part));
    match (key.first_chunk::<8>(), key.last_chunk::<8>(), key.first_chunk::<4>(), key.last_chunk::<4>()) {
        (Some(first), Some(last), ..) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        (_, _, Some(first), Some(last)) => (four(first), four(last)),
        _ => (key.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    }
}

#[inline(always)]
fn hash((first, last): (u64, u64), length: usize) -> usize {
    let mixed = (first ^ last.rotate_left(29) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_told_apart() {
        let text = "abcdefghijklmnopqrstuvwxyz";
        let mut table = KeyTable::default();
        let index = |key: &str| (1..24).position(|length| text[..length] == *key);
        (1..24).for_each(|length| _ = table.push(&text.as_bytes()[..length]));
        table.seal();
        for (length, place) in (1..24).flat_map(|length| (0..length).map(move |place| (length, place))) {
            let key = &text[..length];
            let other = key.replace(&text[place..place + 1], "_");
            assert_eq!(
                (table.find(key.as_bytes()), table.find(other.as_bytes())),
                (index(key), None),
                "{other}"
            );
        }
        assert_eq!(table.find(b""), None);
    }

    #[test]
    fn every_key_of_a_large_map_is_found_and_no_other() {
        let mut table = KeyTable::default();
        let keys: Vec<String> = (0..300).map(|i| format!("custom_field_{i}__c")).collect();
        for key in &keys {
            table.push(key.as_bytes());
        }
        table.seal();
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(table.find(key.as_bytes()), Some(index));
        }
        assert_eq!(table.find(b"custom_field_300__c"), None);
        assert_eq!(KeyTable::default().find(b"a"), None);
    }
}
