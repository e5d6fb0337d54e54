//! RFC 6962's tree over the records: one hash that stands for all of them, and short proofs that a record is among them.

use sha2::{Digest, Sha256};

use super::{Hash, Record};

/// The hash that stands for all of these records, in their order.
pub fn root(records: &[Record]) -> Hash {
    of(&leaves(records))
}

/// The hashes that lead from record `seq` to the root, the nearest first; `None` if there is no such record.
pub(super) fn path(seq: u64, records: &[Record]) -> Option<Vec<Hash>> {
    let (mut seq, leaves) = (usize::try_from(seq).ok()?, leaves(records));
    let mut rest = leaves.as_slice();
    if seq >= rest.len() {
        return None;
    }
    let mut path = Vec::new();
    while rest.len() > 1 {
        let (left, right) = halves(rest);
        if seq < left.len() {
            path.push(of(right));
            rest = left;
        } else {
            path.push(of(left));
            seq -= left.len();
            rest = right;
        }
    }
    path.reverse();
    Some(path)
}

/// The root of `size` records that a path leads to from record `seq` (RFC 9162, 2.1.3.2); `None` if it leads nowhere.
pub(super) fn climb(leaf: Hash, (seq, size): (u64, u64), path: &[Hash]) -> Option<Hash> {
    let (mut at, mut last) = (seq, size.checked_sub(1)?);
    if at > last {
        return None;
    }
    let mut hash = leaf;
    for other in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(other, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, other);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

fn leaves(records: &[Record]) -> Vec<Hash> {
    records.iter().map(|record| record.hash).collect()
}

fn of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = halves(leaves);
            node(&of(left), &of(right))
        }
    }
}

/// The greatest power of two below the count, and the rest. Of two leaves at least.
fn halves(leaves: &[Hash]) -> (&[Hash], &[Hash]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Event, Kind};

    #[test]
    fn every_path_of_every_size_leads_to_the_root_and_no_other_does() {
        let mut records: Vec<Record> = Vec::new();
        for seq in 0..33 {
            let prev = records.last().map_or([0; 32], |record| record.hash);
            records.push(Record::seal(Event::new(Kind::Paused, "jo"), (seq, &prev), 0).unwrap());
        }
        for size in 1..=records.len() {
            let records = &records[..size];
            let root = root(records);
            for record in records {
                let mut path = path(record.seq, records).unwrap();
                let place = (record.seq, size as u64);
                assert_eq!(climb(record.hash, place, &path), Some(root), "{place:?}");
                assert_ne!(climb([9; 32], place, &path), Some(root), "{place:?}");
                path.push([9; 32]);
                assert_eq!(climb(record.hash, place, &path), None, "{place:?}");
                if size > 1 {
                    assert_eq!(climb(record.hash, place, &path[..path.len() - 2]), None, "{place:?}");
                }
            }
            assert_eq!(path(size as u64, records), None);
        }
        for place in [(0, 0), (1, 1), (u64::MAX, u64::MAX)] {
            assert_eq!(climb([0; 32], place, &[]), None, "{place:?}");
        }
    }
}
