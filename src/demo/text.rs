//! Numbers for people.

use indicatif::HumanCount;

/// `12,345`
pub(super) fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// `4.1 µs`, `120 µs`, `1.5 ms`
pub(super) fn micros(micros: f64) -> String {
    let (number, unit) = match micros {
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let decimals = usize::from(number < 10.0);
    format!("{number:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_number() {
        let texts = [4.12, 99.6, 1_500.0, 31_000.0, 2e6].map(micros);
        assert_eq!(texts, ["4.1 µs", "100 µs", "1.5 ms", "31 ms", "2.0 s"]);
        assert_eq!(count(12_345), "12,345");
    }
}
