//! A text as a feature: the one reading that the wire, tables and training share.

use std::borrow::Cow;

use super::{FeatureType, SIGNS, Value};

/// What separates cells. Of those that stand equally often in a header the first.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// What says, in any case, that there is no value.
const MARKERS: [&str; 5] = ["na", "n/a", "null", "nan", "none"];

/// Reads a text as `kind`. What fits no form of it is missing, never an error.
///
/// Numbers may have groups of thousands, white space around, and a currency's or a percent sign beside them; true and
/// false are `true yes on 1` and `false no off 0` in any case; a category is the text as it stands.
pub fn read_text(cell: Cow<'_, str>, kind: FeatureType) -> Value<'_> {
    match kind {
        FeatureType::Number => number(&cell),
        FeatureType::Category if cell.is_empty() => Value::Missing,
        FeatureType::Category => Value::Text(cell),
        FeatureType::Boolean => boolean(&cell),
    }
}

/// What separates the cells of a CSV: of a comma, a semicolon, a tab and `|` that which stands most often between the names of
/// the header that `text` begins with.
pub fn separator(text: &[u8]) -> u8 {
    let mut counts = [0_usize; SEPARATORS.len()];
    // Quotes mean something around a cell only, and doubled within.
    let (mut quoted, mut may_open) = (false, true);
    let is_break = |byte: &&u8| matches!(byte, b'\n' | b'\r');
    for byte in text.iter().skip_while(is_break) {
        match byte {
            b'"' if quoted || may_open => (quoted, may_open) = (!quoted, true),
            _ if quoted => {}
            b'\n' | b'\r' => break,
            _ => {
                let place = SEPARATORS.iter().position(|separator| separator == byte);
                place.and_then(|place| counts.get_mut(place)).into_iter().for_each(|count| *count += 1);
                may_open = place.is_some();
            }
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    let found = counts.iter().zip(SEPARATORS).find(|(count, _)| **count == most);
    found.map_or(b',', |(_, separator)| separator)
}

/// Whether a cell of a table says that there is no value: `NA`, `N/A`, `null`, `NaN` or `none`, in any case.
pub fn is_no_value(cell: &str) -> bool {
    MARKERS.iter().any(|marker| cell.eq_ignore_ascii_case(marker))
}

/// A number as JSON writes it; missing where it is beyond the largest float.
pub fn finite(text: &str) -> Value<'static> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).map_or(Value::Missing, Value::Number)
}

/// `12000`, `12000.00`, `12,000.00`, with white space around, and with a currency's or a percent sign beside it. Words such as
/// `nan` and `inf` are no numbers here.
fn number(text: &str) -> Value<'static> {
    let text = text.trim();
    match bare(text) {
        Value::Missing => unsigned(text).map_or(Value::Missing, |(rest, minus)| match bare(rest) {
            Value::Number(number) if minus => Value::Number(-number),
            other => other,
        }),
        number => number,
    }
}

/// `-$5` as `5` and that it is less than nothing; `None` where no sign stands beside it.
fn unsigned(text: &str) -> Option<(&str, bool)> {
    let behind_minus = text.strip_prefix('-');
    let rest = behind_minus.unwrap_or(text);
    let strip = |sign: &&str| rest.strip_prefix(sign).or_else(|| rest.strip_suffix(sign));
    let bare = SIGNS.iter().find_map(strip)?.trim();
    Some((bare, behind_minus.is_some())).filter(|(bare, _)| !bare.starts_with(['-', '+']))
}

fn bare(text: &str) -> Value<'static> {
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b',' | b'-' | b'+' | b'e' | b'E')) {
        return Value::Missing;
    }
    match text.split_once(',') {
        None => finite(text),
        Some((first, rest)) => grouped(first, rest).map_or(Value::Missing, |digits| finite(&digits)),
    }
}

/// `12` and `000,000.5` become `12000000.5`; anything but groups of three digits is refused, because `1,5` may be a
/// decimal comma.
fn grouped(first: &str, rest: &str) -> Option<String> {
    let (whole, fraction) =
        rest.split_once('.').map_or((rest, None), |(whole, fraction)| (whole, Some(fraction)));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let lead = first.trim_start_matches(['-', '+']);
    let well_formed = (1..=3).contains(&lead.len())
        && is_digits(lead)
        && whole.split(',').all(|group| group.len() == 3 && is_digits(group))
        && fraction.is_none_or(is_digits);
    well_formed.then(|| {
        let digits = whole.replace(',', "");
        fraction.map_or(format!("{first}{digits}"), |fraction| format!("{first}{digits}.{fraction}"))
    })
}

fn boolean(text: &str) -> Value<'static> {
    let is = |words: [&str; 5]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    // pandas writes booleans with gaps as floats.
    if is(["true", "yes", "on", "1", "1.0"]) {
        Value::Boolean(true)
    } else if is(["false", "no", "off", "0", "0.0"]) {
        Value::Boolean(false)
    } else {
        Value::Missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_by_the_type() {
        use FeatureType::{Boolean, Category, Number};
        for (text, kind, expected) in [
            (" 12,000.50 ", Number, Value::Number(12_000.5)),
            ("-€ 7", Number, Value::Number(-7.0)),
            ("$-7", Number, Value::Missing),
            ("1,5", Number, Value::Missing),
            ("inf", Number, Value::Missing),
            ("1e999", Number, Value::Missing),
            (" web", Category, Value::Text(" web".into())),
            ("", Category, Value::Missing),
            (" Off ", Boolean, Value::Boolean(false)),
            ("1.0", Boolean, Value::Boolean(true)),
            ("2", Boolean, Value::Missing),
        ] {
            assert_eq!(read_text(text.into(), kind), expected, "{text:?}");
        }
        assert_eq!((finite("-1.5e3"), finite("1e999")), (Value::Number(-1500.0), Value::Missing));
    }
}
