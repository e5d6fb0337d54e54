//! Assignment: which leads a challenger answers.
//!
//! GrowthBook's hash, version 2, which is also what their libraries compute:
//! `fnv1a32(decimal(fnv1a32(seed + key))) mod 10000`, over UTF-16 code units. A challenger has the buckets below its share,
//! so a larger share never takes a lead back, and the seed is of one challenger, so that not always the same leads come
//! first. Nothing is stored: the same key under the same seed is in the same bucket on every machine and after every start.

use std::{borrow::Cow, fmt::Write, sync::Arc};

use crate::lead::{Arm, KeyKind};

/// Buckets of an experiment: hundredths of a percent.
pub const BUCKETS: u16 = 10_000;

/// What a lead is assigned by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key<'k> {
    /// What it is.
    pub kind: KeyKind,
    text: Cow<'k, str>,
}

impl<'k> Key<'k> {
    /// A record's id, in the one form that stands for all it is written in: a GUID in lower case without braces, and
    /// Salesforce's 15 characters, whose case counts, with the 3 that make up for a loss of case.
    pub fn id(id: &'k str) -> Self {
        let bare = id.strip_prefix('{').and_then(|id| id.strip_suffix('}')).unwrap_or(id);
        let text = match bare {
            guid if is_guid(guid) => Cow::Owned(guid.to_ascii_lowercase()),
            short if is_short(short) => Cow::Owned(long(short)),
            _ => Cow::Borrowed(id),
        };
        Self { kind: KeyKind::Id, text }
    }

    /// An address, bare or as `Maria <maria@example.com>`, in lower case; `None` where it is none.
    pub fn email(text: &'k str) -> Option<Self> {
        let text = Some(text.trim()).filter(|text| text.len() <= MAX_ADDRESS)?;
        let inner = text.strip_suffix('>').and_then(|text| text.rsplit_once('<'));
        let address = inner.map_or(text, |(_, address)| address).trim();
        let (name, domain) = address.rsplit_once('@')?;
        let is_address = !name.is_empty() && !domain.is_empty() && !address.contains(char::is_whitespace);
        is_address.then(|| Self { kind: KeyKind::Email, text: address.to_lowercase().into() })
    }

    /// A number's digits; `None` where they are too few for one.
    pub fn phone(text: &'k str) -> Option<Self> {
        let text = Some(text.trim()).filter(|text| text.len() <= MAX_ADDRESS)?;
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        (digits.len() >= MIN_DIGITS).then(|| Self { kind: KeyKind::Phone, text: digits.into() })
    }

    /// What tells a request from others, where a lead has nothing that tells it.
    pub fn request(text: impl Into<Cow<'k, str>>) -> Self {
        Self { kind: KeyKind::Request, text: text.into() }
    }
}

/// Longest address in bytes, with a name before it: what is longer is some other text.
const MAX_ADDRESS: usize = 512;

/// Fewer are an extension, or what people write where they must write something.
const MIN_DIGITS: usize = 6;

fn is_guid(text: &str) -> bool {
    let dash = |place| matches!(place, 8 | 13 | 18 | 23);
    let mut bytes = text.bytes().enumerate();
    text.len() == 36
        && bytes.all(|(place, byte)| if dash(place) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

fn is_short(text: &str) -> bool {
    text.len() == 15 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Each of three groups of five characters gets one that tells which of them are capitals, the first in the lowest bit.
fn long(short: &str) -> String {
    let mut long = short.to_owned();
    for group in short.as_bytes().chunks(5) {
        let capital = |(place, byte): (usize, &u8)| u8::from(byte.is_ascii_uppercase()) << place;
        let capitals: u8 = group.iter().enumerate().map(capital).sum();
        // 0..32, and so a letter or one of 0 to 5.
        long.push(char::from(if capitals < 26 { b'A' + capitals } else { b'0' + capitals - 26 }));
    }
    long
}

/// The bucket of a key under a seed, 0..10,000.
pub fn bucket(seed: &str, key: &str) -> u16 {
    let inner = fnv1a(fnv1a(OFFSET, seed), key);
    let mut digits = Digits(OFFSET);
    // Hashing fails for no text.
    _ = write!(digits, "{inner}");
    // Below 10,000.
    (digits.0 % u32::from(BUCKETS)) as u16
}

const OFFSET: u32 = 0x811C_9DC5;
const PRIME: u32 = 0x0100_0193;

/// FNV-1a with 32 bits, over UTF-16 code units instead of bytes, as JavaScript has them.
fn fnv1a(hash: u32, text: &str) -> u32 {
    text.encode_utf16().fold(hash, |hash, unit| (hash ^ u32::from(unit)).wrapping_mul(PRIME))
}

/// Hashes what is written to it.
struct Digits(u32);

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 = fnv1a(self.0, text);
        Ok(())
    }
}

/// A seed and a share of its buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    seed: Arc<str>,
    /// The first bucket that is not in the share.
    end: u16,
}

impl Split {
    /// `percent` of a challenger's leads, 0..=100 and down to hundredths.
    pub fn of_challenger(model: &str, version: &str, percent: f64) -> Self {
        Self::new(&format!("{model}:{version}"), percent)
    }

    /// `percent` of the leads that shadows of a model score along.
    pub fn of_shadows(model: &str, percent: f64) -> Self {
        Self::new(&format!("{model}:shadow"), percent)
    }

    fn new(seed: &str, percent: f64) -> Self {
        // In range after the clamp; what is not a number is nothing.
        Self { seed: seed.into(), end: (percent.clamp(0.0, 100.0) * 100.0).round() as u16 }
    }

    /// The bucket of a key.
    pub fn bucket(&self, key: &Key<'_>) -> u16 {
        bucket(&self.seed, &key.text)
    }

    /// Whether a bucket is in the share.
    pub fn holds(&self, bucket: u16) -> bool {
        bucket < self.end
    }

    /// Whether every bucket is in the share.
    pub fn is_all(&self) -> bool {
        self.end == BUCKETS
    }

    /// The arm of a bucket.
    pub fn arm(&self, bucket: u16) -> Arm {
        if self.holds(bucket) { Arm::Challenger } else { Arm::Champion }
    }

    /// How likely a lead is to be assigned to an arm, 0..=1.
    pub fn propensity(&self, arm: Arm) -> f64 {
        let share = f64::from(self.end) / f64::from(BUCKETS);
        match arm {
            Arm::Challenger => share,
            Arm::Champion => 1.0 - share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goldens;

    #[test]
    fn agrees_with_growthbook() {
        let Some(golden) = goldens::json("goldens/assignment.json") else { return };
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 54);
        for case in cases {
            let (seed, key) = (case["seed"].as_str().unwrap(), case["key"].as_str().unwrap());
            let expected = (case["inner"].as_u64(), case["bucket"].as_u64());
            let got = (fnv1a(fnv1a(OFFSET, seed), key).into(), bucket(seed, key).into());
            assert_eq!((Some(got.0), Some(got.1)), expected, "{seed} {key}");
        }
        let counts = &golden["counts"];
        let buckets = |seed: &'static str| (0..20_000).map(move |n| bucket(seed, &format!("00Q8d{n:013}")));
        let below = |end: u16| buckets("exp-1").filter(|bucket| *bucket < end).count() as u64;
        assert_eq!(Some(below(1_000)), counts["below_1000"].as_u64());
        assert_eq!(Some(below(5_000)), counts["below_5000"].as_u64());
        let both = buckets("exp-1").zip(buckets("exp-2")).filter(|(a, b)| *a < 1_000 && *b < 1_000);
        assert_eq!(Some(both.count() as u64), counts["also_below_1000_under_seed_exp_2"].as_u64());
    }

    #[test]
    fn a_larger_share_takes_no_lead_back() {
        let split = |percent| Split::of_challenger("lead", "4", percent);
        let (ten, fifty) = (split(10.0), split(50.0));
        let mut counts = [0; 2];
        for n in 0..10_000 {
            let bucket = ten.bucket(&Key::id(&n.to_string()));
            assert_eq!(bucket, fifty.bucket(&Key::id(&n.to_string())));
            assert!(!ten.holds(bucket) || fifty.holds(bucket));
            counts[0] += u32::from(ten.holds(bucket));
            counts[1] += u32::from(fifty.holds(bucket));
        }
        assert!((900..1_100).contains(&counts[0]) && (4_850..5_150).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn shares_have_ends() {
        let check = |percent: f64, end: u16, propensity: f64| {
            let split = Split::of_challenger("lead", "4", percent);
            assert_eq!((split.end, split.propensity(Arm::Challenger)), (end, propensity), "{percent}");
            assert_eq!(split.propensity(Arm::Champion), 1.0 - propensity);
        };
        check(0.0, 0, 0.0);
        check(0.01, 1, 0.0001);
        check(10.0, 1_000, 0.1);
        check(100.0, 10_000, 1.0);
        check(-1.0, 0, 0.0);
        check(1e9, 10_000, 1.0);
        check(f64::NAN, 0, 0.0);
    }

    #[test]
    fn ids_have_one_form() {
        let check = |id: &str, expected: &str| assert_eq!(Key::id(id).text, expected, "{id}");
        check("{3F2504E0-4F89-11D3-9A0C-0305E82C3301}", "3f2504e0-4f89-11d3-9a0c-0305e82c3301");
        check("3f2504e0-4f89-11d3-9a0c-0305e82c3301", "3f2504e0-4f89-11d3-9a0c-0305e82c3301");
        check("3F2504E0-4F89-11D3-9A0C-0305E82C330", "3F2504E0-4F89-11D3-9A0C-0305E82C330");
        check("3F2504E004F89-11D3-9A0C-0305E82C3301", "3F2504E004F89-11D3-9A0C-0305E82C3301");
        check("0015000000Gv7qJ", "0015000000Gv7qJAAR");
        check("0015000000Gv7qJAAR", "0015000000Gv7qJAAR");
        check("AAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAA555");
        check("{7}", "{7}");
        check("", "");
        check("Größe-123456789", "Größe-123456789");
    }

    #[test]
    fn addresses_have_one_form() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Key::email(text).as_ref().map(|key| &*key.text), expected, "{text}");
        };
        check(" Maria@Example.COM\n", Some("maria@example.com"));
        check("MÜLLER@Example.de", Some("müller@example.de"));
        check("\"Maria, M.\" <Maria@example.com>", Some("maria@example.com"));
        check("😀@example.com", Some("😀@example.com"));
        check(&format!("{}@b", "a".repeat(MAX_ADDRESS)), None);
        for none in ["", "@", "a@", "@b", "n/a", "a b@c", "<>", "a@b <", "x <a@b> y"] {
            check(none, None);
        }
    }

    #[test]
    fn numbers_are_their_digits() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Key::phone(text).as_ref().map(|key| &*key.text), expected, "{text}");
        };
        check("+49 (151) 1234-5678", Some("4915112345678"));
        check("123456", Some("123456"));
        check("12345", None);
        check(&"7".repeat(MAX_ADDRESS + 1), None);
        check("n/a", None);
        check("", None);
    }
}
