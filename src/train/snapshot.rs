//! A snapshot's digest, which says of two tables whether they hold the same leads.
//!
//! Each row becomes a hash over the names and texts of its columns, in the order of the names; the digest is a hash over
//! the sorted hashes of the rows. So it stays the same when rows are reordered, or files are split, merged or rewritten,
//! and nothing shorter than a collision of SHA-256 makes two tables look alike. A sum of the hashes would take no sorting,
//! but rows that cancel one another out in a sum can be found (Wagner 2002), and a lineage is evidence.

use sha2::{Digest, Sha256};

use super::{kinds, table::Table};
use crate::registry;

/// The hash of a row.
pub(super) type RowHash = [u8; 32];

/// Says what is hashed, and how.
const ROWS: &[u8] = b"leadwire rows 1\n";

/// More digits than these do not all fit into a float, and numbers that differ must not become one.
const MOST_DIGITS: usize = 15;

/// The hash of every row. `more` adds what is known of a row beside its columns.
pub(super) fn row_hashes(table: &Table, more: impl Fn(usize, &mut Sha256)) -> Vec<RowHash> {
    let columns = table.columns();
    let cells: Vec<Vec<Vec<u8>>> = columns
        .iter()
        .map(|column| column.words.iter().map(|word| cell(&column.name, word)).collect())
        .collect();
    let hash = |row| {
        let mut hash = Sha256::new();
        for (column, cells) in columns.iter().zip(&cells) {
            cells.get(column.code(row) as usize).into_iter().for_each(|cell| hash.update(cell));
        }
        more(row, &mut hash);
        hash.finalize().into()
    };
    (0..table.rows()).map(hash).collect()
}

/// SHA-256 in hex over rows in whatever order.
pub(super) fn digest(hashes: &[RowHash]) -> String {
    let mut sorted = hashes.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(ROWS);
    sorted.iter().for_each(|row| hash.update(row));
    registry::hex(&hash.finalize())
}

/// A column's name and a row's text in it, with their lengths, so that no text can pass for another column. Numbers are
/// taken by their value: `3.0` is `3` once a table has gone through another tool.
fn cell(name: &str, word: &str) -> Vec<u8> {
    let short = word.bytes().filter(u8::is_ascii_digit).count() <= MOST_DIGITS;
    let text = kinds::number(word).filter(|_| short).map(|number| number.to_string());
    let text = text.as_deref().unwrap_or(word);
    let mut bytes = Vec::with_capacity(name.len() + text.len() + 16);
    for part in [name, text] {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn digest_of(files: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = |i: usize| -> PathBuf { folder.path().join(i.to_string()) };
        files.iter().enumerate().for_each(|(i, text)| std::fs::write(path(i), text).unwrap());
        let table = Table::read(&(0..files.len()).map(path).collect::<Vec<_>>()).unwrap();
        digest(&row_hashes(&table, |_, _| {}))
    }

    #[test]
    fn rows_are_the_same_in_whatever_order_and_files() {
        let one = digest_of(&["a,b\n1,x\n2,y\n2,y\n,z\n"]);
        for same in [
            &["a,b\n2,y\n,z\n1,x\n2,y\n"][..],
            &["b,a\nx,1\ny,2\ny,2\nz,\n"],
            &["a,b\n2,y\n,z\n", "a,b\n1,x\n2,y\n"],
            &["a,b\n2,y\n1,x\n", "b,a\nz,NA\ny,2\n"],
            &["a,b\n2.0,y\n,z\n1e0,x\n2,y\n"],
            &["a,b,c\n1,x,\n2,y,\n2,y,null\n,z,\n"],
            &["{\"a\":1,\"b\":\"x\"}\n{\"b\":\"z\"}\n{\"a\":2,\"b\":\"y\"}\n{\"b\":\"y\",\"a\":\"2\"}"],
        ] {
            assert_eq!(digest_of(same), one, "{same:?}");
        }
    }

    #[test]
    fn other_rows_are_another_digest() {
        let digests = [
            &["a,b\n1,x\n2,y\n"][..],
            &["a,b\n1,x\n"],
            &["a,b\n1,x\n2,y\n2,y\n"],
            &["a,b\n1,y\n2,x\n"],
            &["b,a\n1,x\n2,y\n"],
            &["a,c\n1,x\n2,y\n"],
            &["ab,\n1,x\n2,y\n"],
            &["a,b\n1,X\n2,y\n"],
            &["a,b\n90071992547409931,x\n2,y\n"],
            &["a,b\n90071992547409932,x\n2,y\n"],
        ]
        .map(digest_of);
        let different: std::collections::BTreeSet<&String> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
    }
}
