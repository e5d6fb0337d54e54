//! Plain text in aligned columns.

use std::fmt;

/// Rows under a head. A column whose cells all read as numbers stands on the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    fn column(&self, at: usize) -> impl Iterator<Item = &String> {
        self.rows.iter().filter_map(move |row| row.get(at))
    }

    fn is_number(&self, at: usize) -> bool {
        self.column(at).skip(1).all(|cell| cell == "-" || cell.replace(',', "").parse::<f64>().is_ok())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at| self.column(at).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let shape: Vec<(usize, bool)> = (0..columns).map(|at| (width(at), self.is_number(at))).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, (width, number)) in row.iter().zip(&shape) {
                let cell = if *number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
                line.push_str(&cell);
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `10,984`
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Four digits behind the point at most, none that are not needed.
pub(super) fn short(number: f64) -> String {
    let text = format!("{number:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", "rows", "state"]);
        table.push(["lead/1", "10,984", "ok"].map(String::from).into());
        table.push(["lead/10", "-", "refused"].map(String::from).into());
        assert_eq!(
            table.to_string(),
            "name       rows  state\nlead/1   10,984  ok\nlead/10       -  refused\n"
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 38.0, 0.12345, -0.00001].map(short), ["0", "38", "0.1235", "0"]);
    }
}
