//! Forms: `first_name=Amina&company=Acme+%26+Sons` is `{"first_name":"Amina","company":"Acme & Sons"}`.
//!
//! A key that stands twice does so in the JSON too, where asking for it is an error.

use std::borrow::Cow;

use super::Out;
use crate::lead::Skip;

/// All fields, as an object of texts.
pub(super) fn write(body: &str, out: &mut Out<'_>) {
    out.open('{');
    for (name, value) in pairs(body) {
        if out.is_full() {
            break;
        }
        out.member(&name, &value);
    }
    out.close('}');
}

/// The JSON inside one field.
pub(super) fn write_field(body: &str, field: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    let mut found = pairs(body).filter(|(name, _)| name == field).map(|(_, value)| value);
    let json = found.next().ok_or(Skip::Content)?;
    if found.next().is_some() {
        return Err(Skip::Duplicate);
    }
    out.raw(&json);
    Ok(())
}

fn pairs(body: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = body.trim_end_matches(['\r', '\n']).split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// Bytes that are no text become U+FFFD, as the URL Standard has it.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, made};
    use super::*;

    #[test]
    fn forms_are_objects_of_texts() {
        for (body, expected) in [
            ("", "{}"),
            ("a=1", r#"{"a":"1"}"#),
            ("a=1&b=&c&=d", r#"{"a":"1","b":"","c":"","":"d"}"#),
            ("&&a=1&&\r\n", r#"{"a":"1"}"#),
            ("company=Acme+%26+Sons&x=a=b", r#"{"company":"Acme & Sons","x":"a=b"}"#),
            ("a=1&%61=2", r#"{"a":"1","a":"2"}"#),
            ("a=%00%22%5c%0a", r#"{"a":"\u0000\"\\\u000a"}"#),
            ("a=%C3%A9%f0%9f%98%80", r#"{"a":"é😀"}"#),
            ("a=%ff%zz%", "{\"a\":\"\u{fffd}%zz%\"}"),
            ("\u{feff}a=\0", r#"{"a":"\u0000"}"#),
        ] {
            assert_eq!(made(Mode::Form, None, body).as_deref(), Ok(expected), "{body:?}");
        }
        assert!(made(Mode::Form, None, &"a&".repeat(300_000)).is_ok());
        assert!(made(Mode::Form, None, &"\0".repeat(300_000)).is_ok());
    }

    #[test]
    fn json_in_a_field_is_taken_out_of_it() {
        for (body, expected) in [
            ("data=%7B%22a%22%3A+1%7D&x=2", Ok(r#"{"a": 1}"#)),
            ("d%61ta=[]", Ok("[]")),
            ("x=1", Err(Skip::Content)),
            ("", Err(Skip::Content)),
            ("data={}&data={}", Err(Skip::Duplicate)),
        ] {
            let made = made(Mode::FormJson("data"), None, body);
            assert_eq!(made.as_deref().map_err(|skip| *skip), expected, "{body:?}");
        }
    }
}
