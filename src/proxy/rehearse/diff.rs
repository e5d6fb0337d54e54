//! What changed of a message, line by line.

use http::HeaderMap;

use crate::recognise::{Masked, View, decode};

/// A message to compare.
pub(super) struct Message<'m> {
    pub(super) start: String,
    pub(super) headers: &'m HeaderMap,
    pub(super) body: &'m [u8],
}

/// Both messages as a unified diff, without their secrets; empty where they are the same. A body that changed is shown
/// with one member a line; one that did not is only counted.
pub(super) fn unified(
    masked: Masked<'_>,
    before: (&Message<'_>, &str),
    after: (&Message<'_>, &str),
) -> String {
    let with_body = before.0.body != after.0.body;
    let (old, new) = (lines(masked, before.0, with_body), lines(masked, after.0, with_body));
    similar::TextDiff::from_lines(&old, &new).unified_diff().header(before.1, after.1).to_string()
}

fn lines(masked: Masked<'_>, message: &Message<'_>, with_body: bool) -> String {
    let mut text = format!("{}\n", message.start);
    // By name, since removing one reorders the others.
    let mut headers: Vec<_> = message.headers.iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {}\n", masked.header(name, value)));
    }
    text.push('\n');
    if with_body {
        text.push_str(&body(masked, message));
    } else if !message.body.is_empty() {
        text.push_str(&format!("({} bytes)", message.body.len()));
    }
    text.push('\n');
    text
}

/// Only JSON is ever written to, so a changed body is JSON under its codings.
fn body(masked: Masked<'_>, message: &Message<'_>) -> String {
    const MOST: usize = 64 << 20;
    let (mut decoded, mut made) = (Vec::new(), String::new());
    let plain = decode(message.headers, message.body, MOST, &mut decoded).ok();
    let view = plain.and_then(|plain| View::of(Some("application/json"), plain, &mut made));
    view.map_or_else(|| format!("({} bytes)", message.body.len()), |view| laid_out(&masked.json(view.text())))
}

/// One member or element a line. Every character but the white space between is as it was.
fn laid_out(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let break_line = |text: &mut String, depth: usize| {
        text.push('\n');
        // Deeper than this says nothing more.
        text.extend(std::iter::repeat_n("  ", depth.min(20)));
    };
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if quoted {
            text.push(c);
            (quoted, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '{' | '[' if matches!(chars.peek(), Some('}' | ']')) => {
                text.push(c);
                text.extend(chars.next());
            }
            '{' | '[' => {
                text.push(c);
                depth += 1;
                break_line(&mut text, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                break_line(&mut text, depth);
            }
            ' ' | '\t' | '\r' | '\n' => {}
            c => {
                quoted = c == '"';
                text.push(c);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Mask;

    #[test]
    fn json_is_laid_out_and_its_values_stay() {
        assert_eq!(
            laid_out(r#"{"a": 1.10,"b":["x,\"{",{}]}"#),
            "{\n  \"a\":1.10,\n  \"b\":[\n    \"x,\\\"{\",\n    {}\n  ]\n}"
        );
    }

    #[test]
    fn a_diff_shows_what_changed_and_no_secret() {
        let masks = Mask::always();
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_static("sid=SECRET"));
        let message =
            |body: &'static str, headers| Message { start: "POST /".into(), headers, body: body.as_bytes() };
        let before = message(r#"{"google_key":"SECRET","a":1.10}"#, &headers);
        let after = message(r#"{"google_key":"SECRET","a":1.10,"s":73}"#, &headers);
        let told = unified(Masked(&masks), (&before, "received"), (&after, "sent"));
        assert!(told.contains("--- received\n+++ sent\n"), "{told}");
        assert!(told.contains("-  \"a\":1.10\n+  \"a\":1.10,\n+  \"s\":73\n"), "{told}");
        assert!(!told.contains("SECRET"), "{told}");
        assert_eq!(unified(Masked(&masks), (&before, "a"), (&before, "b")), "");
    }
}
