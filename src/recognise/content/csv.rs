//! CSV: a header and rows are an array of objects, every value a text.
//!
//! Salesforce's Bulk API takes six delimiters and both line ends; which one it is, the header tells.

use csv::{ReaderBuilder, StringRecord};

use super::Out;
use crate::lead::Skip;

/// All rows. A row with more or fewer cells than the header, or a quote that does not end, is refused: readers disagree
/// on what such rows hold.
pub(super) fn write(body: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    if body.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
        return Err(Skip::Parse);
    }
    let mut reader = ReaderBuilder::new().delimiter(delimiter(body)).from_reader(body.as_bytes());
    let header = reader.headers().map_err(|_| Skip::Parse)?.clone();
    let mut row = StringRecord::new();
    out.open('[');
    while reader.read_record(&mut row).map_err(|_| Skip::Parse)? && !out.is_full() {
        out.open('{');
        for (name, value) in header.iter().zip(&row) {
            out.member(name, value);
        }
        out.close('}');
    }
    out.close(']');
    Ok(())
}

/// The one that stands most often in the header, outside quotes; a comma where there is none.
fn delimiter(body: &str) -> u8 {
    const ALL: [u8; 6] = [b',', b';', b'\t', b'|', b'^', b'`'];
    let mut counts = [0_usize; ALL.len()];
    let mut quoted = false;
    for byte in body.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\r' | b'\n' if !quoted => break,
            _ if quoted => {}
            byte => {
                let known = ALL.iter().zip(&mut counts).find(|(delimiter, _)| **delimiter == byte);
                if let Some((_, count)) = known {
                    *count += 1;
                }
            }
        }
    }
    // Of two that stand equally often, the one listed first.
    let most = ALL.iter().zip(counts).rev().max_by_key(|(_, count)| *count);
    most.map_or(b',', |(delimiter, _)| *delimiter)
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, made};
    use super::*;

    #[test]
    fn rows_are_objects_by_the_header() {
        for (body, expected) in [
            ("", Ok("[]")),
            ("a,b\n", Ok("[]")),
            ("a,b\n1,2", Ok(r#"[{"a":"1","b":"2"}]"#)),
            ("a,b\r\n1,\r\n,2\r\n", Ok(r#"[{"a":"1","b":""},{"a":"","b":"2"}]"#)),
            ("\"a\",\"b\"\n\"x,\n\"\"y\"\"\",2\n", Ok(r#"[{"a":"x,\u000a\"y\"","b":"2"}]"#)),
            ("a;b\n1,5;2\n", Ok(r#"[{"a":"1,5","b":"2"}]"#)),
            ("a\tb\n1\t2\n", Ok(r#"[{"a":"1","b":"2"}]"#)),
            ("a|b\n1|2\n", Ok(r#"[{"a":"1","b":"2"}]"#)),
            ("a^b\n1^2\n", Ok(r#"[{"a":"1","b":"2"}]"#)),
            ("a`b\n1`2\n", Ok(r#"[{"a":"1","b":"2"}]"#)),
            ("\"a,c,d\";b\n1;2\n", Ok(r#"[{"a,c,d":"1","b":"2"}]"#)),
            ("a\n1\n\n2\n", Ok(r#"[{"a":"1"},{"a":"2"}]"#)),
            ("a,a\n1,2\n", Ok(r#"[{"a":"1","a":"2"}]"#)),
            ("\u{feff}a,b\n1,\0", Ok(r#"[{"a":"1","b":"\u0000"}]"#)),
            ("a,b\n1\n", Err(Skip::Parse)),
            ("a,b\n1,2,3\n", Err(Skip::Parse)),
            ("a,b\n1,\"2\n", Err(Skip::Parse)),
        ] {
            let made = made(Mode::Csv, None, body);
            assert_eq!(made.as_deref().map_err(|skip| *skip), expected, "{body:?}");
        }
    }

    #[test]
    fn a_long_header_over_many_rows_is_given_up() {
        let body = format!("{}\n{}", "h".repeat(100_000), "1\n".repeat(100_000));
        assert_eq!(made(Mode::Csv, None, &body), Err(Skip::Body));
        assert!(made(Mode::Csv, None, &format!("{}\n{}\n", ",".repeat(50_000), ",".repeat(50_000))).is_ok());
    }
}
