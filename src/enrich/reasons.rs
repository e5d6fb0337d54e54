//! Reasons become one line of text: `job: services +; campaign: high -`.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::lead::Reason;

/// Longest text in bytes. CRMs' plain text fields hold 255 characters.
const LIMIT: usize = 255;

/// What a header's text escapes, besides everything that is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b';');

/// For a body.
pub(super) fn text(reasons: &[Reason]) -> String {
    join(reasons, |reason, out| out.push_str(&reason.text))
}

/// For a header: ASCII, with percent escapes for anything else that a label or a word holds.
pub(super) fn header(reasons: &[Reason]) -> String {
    join(reasons, |reason, out| out.extend(utf8_percent_encode(&reason.text, ESCAPED)))
}

/// In order; one that would make the text too long is left out.
fn join(reasons: &[Reason], write: impl Fn(&Reason, &mut String)) -> String {
    let mut out = String::new();
    for reason in reasons {
        let start = out.len();
        if start > 0 {
            out.push_str("; ");
        }
        write(reason, &mut out);
        out.push(' ');
        out.push_str(reason.direction.as_str());
        if out.len() > LIMIT {
            out.truncate(start);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::Direction;

    fn reason(text: &str, direction: Direction) -> Reason {
        Reason { feature: "f".into(), label: "f".into(), direction, strength: 0.5, text: text.into() }
    }

    #[test]
    fn reasons_are_one_line() {
        let two = [reason("job: services", Direction::Up), reason("campaign: high", Direction::Down)];
        assert_eq!(text(&two), "job: services +; campaign: high -");
        assert_eq!(header(&two), text(&two));
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn a_header_is_plain_ascii() {
        let odd = [reason("größe: a;b\r\nX: 1%", Direction::Up)];
        assert_eq!(header(&odd), "gr%C3%B6%C3%9Fe: a%3Bb%0D%0AX: 1%25 +");
        assert_eq!(text(&odd), "größe: a;b\r\nX: 1% +");
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let (long, short) = ("x".repeat(200), "y".repeat(100));
        let some = [&long, &short, "z"].map(|text| reason(text, Direction::Up));
        assert_eq!(text(&some), format!("{long} +; z +"));
        assert_eq!(header(&[reason(&"ö".repeat(60), Direction::Up)]), "");
    }
}
