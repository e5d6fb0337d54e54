//! A message's headers, wherever they stand: in a map, or still in the head as it came. To look a few of them up there
//! takes less than to make a map of all.

use std::fmt;

use http::{HeaderMap, HeaderName, header};

/// Headers by their names.
pub trait Headers: fmt::Debug {
    /// Hands out the values of all headers of a name, in the order in which they stand.
    fn each<'h>(&'h self, name: &HeaderName, found: &mut dyn FnMut(&'h [u8]));

    /// The first value of a name.
    fn first<'h>(&'h self, name: &HeaderName) -> Option<&'h [u8]> {
        let mut first = None;
        self.each(name, &mut |value| _ = first.get_or_insert(value));
        first
    }

    /// Whether there is a header of a name.
    fn has(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }
}

impl Headers for HeaderMap {
    fn each<'h>(&'h self, name: &HeaderName, found: &mut dyn FnMut(&'h [u8])) {
        self.get_all(name).iter().for_each(|value| found(value.as_bytes()));
    }

    fn first<'h>(&'h self, name: &HeaderName) -> Option<&'h [u8]> {
        self.get(name).map(http::HeaderValue::as_bytes)
    }
}

/// A header's value as text; `None` where a byte of it is not ASCII that can be seen.
pub fn ascii(value: &[u8]) -> Option<&str> {
    // What a Content-Type says nearly always, and no look at all its bytes.
    if value == b"application/json" {
        return Some("application/json");
    }
    let is_seen = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    std::str::from_utf8(value).ok().filter(|_| value.iter().all(is_seen))
}

/// What a message says of the form of its body. What is not ASCII names no form that is known here.
pub fn content_type(headers: &dyn Headers) -> Option<&str> {
    Some(ascii(headers.first(&header::CONTENT_TYPE)?).unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_value_is_text_where_a_header_value_is() {
        for byte in (0..=u8::MAX).filter(|byte| *byte == b'\t' || !(*byte < b' ' || *byte == 127)) {
            let value = HeaderValue::from_bytes(&[b'a', byte]).unwrap();
            assert_eq!(ascii(value.as_bytes()), value.to_str().ok(), "{byte}");
        }
    }

    #[test]
    fn all_values_of_a_name_are_found_in_their_order() {
        let mut map = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (mut found, a) = (Vec::new(), HeaderName::from_static("a"));
        map.each(&a, &mut |value| found.push(value));
        assert_eq!((found, map.first(&a)), (vec![&b"1"[..], b"3"], Some(&b"1"[..])));
        assert!(map.has(&a) && !map.has(&HeaderName::from_static("c")));
    }
}
