//! The report for a terminal of 80 columns.

use std::fmt::{self, Display, Formatter};

use super::{Delays, Estimate, Figures, ModelReport, Money, Part, Parts, Period, Report};

/// Places of a bar.
const BAR: f64 = 14.0;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { from, to, horizon_days, uncounted, models } = self;
        writeln!(
            f,
            "Leads scored {from} to {to} and what became of them within {} days",
            days(*horizon_days)
        )?;
        if *uncounted > 0 {
            writeln!(f, "{} scores are in the lead log and not counted yet.", whole(*uncounted))?;
        }
        if models.is_empty() {
            writeln!(f, "No lead has been counted.")?;
        }
        models.iter().try_for_each(|model| write!(f, "\n{model}"))
    }
}

impl Display for ModelReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Model {}", self.model)?;
        for notice in &self.notices {
            wrapped(f, &format!("! {notice}"))?;
        }
        for (name, figures) in [("matured", &self.matured), ("provisional", &self.provisional)] {
            if let Some(figures) = figures {
                writeln!(f, "  {name:<12} {}", standing(figures))?;
            }
        }
        self.estimate.iter().try_for_each(|of| wrapped(f, &format!("estimate     {}", estimated(of))))?;
        self.revenue.iter().try_for_each(|of| wrapped(f, &format!("revenue      {}", earned(of))))?;
        self.delays.iter().try_for_each(|of| wrapped(f, &format!("time to win  {}", delayed(of))))?;
        periods(f, &self.periods)?;
        self.parts.iter().try_for_each(|parts| by_score(f, parts))?;
        self.versions(f)?;
        self.said(f)
    }
}

impl ModelReport {
    fn versions(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  version     of            leads    AUC  +-       Brier   ECE     O/E")?;
        for version in &self.versions {
            for (name, figures) in [("matured", &version.matured), ("provisional", &version.provisional)] {
                let Some(Figures { known, auc, auc_error, brier, ece, observed_over_expected, .. }) = figures
                else {
                    continue;
                };
                writeln!(
                    f,
                    "  {:<11.11} {name:<11} {:>7}  {:<5}  {:<7}  {:<6}  {:<6}  {}",
                    version.version,
                    whole(*known),
                    number(auc.unwrap_or(f64::NAN), 3),
                    number(auc_error.unwrap_or(f64::NAN), 5),
                    number(*brier, 4),
                    number(*ece, 4),
                    number(*observed_over_expected, 2),
                )?;
            }
        }
        Ok(())
    }

    fn said(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.feedback.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n  feedback on grade      up    down")?;
        self.feedback.iter().try_for_each(|said| {
            writeln!(f, "  {:<11.11} {:<5} {:>7} {:>7}", said.version, said.grade, said.up, said.down)
        })
    }
}

fn periods(f: &mut Formatter<'_>, periods: &[Period]) -> fmt::Result {
    writeln!(f, "\n  period        leads  matured  converted    rate  95% interval    so far")?;
    periods.iter().try_for_each(|period| {
        let Period { period, leads, matured, conversions, rate, wilson95, so_far, .. } = period;
        writeln!(
            f,
            "  {period:<10.10} {:>8} {:>8}  {:>9}  {:>6}  {:<14}  {:>6}",
            whole(*leads),
            whole(*matured),
            whole(*conversions),
            percent(*rate),
            interval(*wilson95),
            whole(*so_far),
        )
    })
}

fn by_score(f: &mut Formatter<'_>, parts: &Parts) -> fmt::Result {
    let of = if parts.matured { "matured leads" } else { "leads with a known outcome" };
    for (title, rows) in [("decile", &parts.deciles), ("grade", &parts.grades)] {
        writeln!(f, "\n  {title:<7} from  leads  share  converted    rate  95% interval")?;
        let most = rows.iter().map(|part| part.rate).fold(0.0, f64::max);
        rows.iter().try_for_each(|row| writeln!(f, "  {}", part(row, most).trim_end()))?;
    }
    let Parts { lift, top_leads, top_conversions, trend_z, .. } = parts;
    let (lift, top) = (number(*lift, 1), percent(*top_leads));
    writeln!(f)?;
    wrapped(f, &format!("Of {of} the top decile converts {lift} times as often as all."))?;
    wrapped(
        f,
        &format!("The best {top} of the leads bring {} of the conversions.", percent(*top_conversions)),
    )?;
    let order: Vec<String> = parts
        .inversions
        .iter()
        .map(|pair| {
            format!("{} over {}{}", pair.lower, pair.higher, if pair.clear { "" } else { " (may be chance)" })
        })
        .collect();
    let order = match order.is_empty() {
        true => "from each decile to the next".to_owned(),
        false => format!("but decile {}", order.join(", ")),
    };
    wrapped(f, &format!("Conversion falls with the score (z {}), {order}.", number(*trend_z, 1)))
}

/// `1         62    100  10.0%         31   31.0%  22.8 to 40.6%   ##########`
fn part(part: &Part, most: f64) -> String {
    let Part { name, from_score, leads, share, conversions, rate, wilson95, .. } = part;
    let from = from_score.map_or_else(String::new, |score| format!("{:.0}", score * 100.0));
    // The cast saturates, and NaN is none.
    let bar = "#".repeat((rate / most * BAR).round() as usize);
    format!(
        "{name:<7} {from:>4} {:>6}  {:>5}  {:>9}  {:>6}  {:<14}  {bar}",
        whole(*leads),
        percent(*share),
        whole(*conversions),
        percent(*rate),
        interval(*wilson95),
    )
}

pub(super) fn standing(figures: &Figures) -> String {
    let Figures { leads, known, conversions, rate, wilson95, .. } = figures;
    let (leads, known, conversions) = (whole(*leads), whole(*known), whole(*conversions));
    let interval = interval(*wilson95);
    if leads == known {
        return format!("{leads} leads, {conversions} converted: {} ({interval})", percent(*rate));
    }
    format!("{leads} leads, {known} with a known outcome, {conversions} converted so far")
}

pub(super) fn estimated(estimate: &Estimate) -> String {
    let Estimate { leads, left_out, rate, .. } = estimate;
    let left_out =
        if *left_out > 0 { format!(", {} younger ones left out", whole(*left_out)) } else { String::new() };
    format!("{} in the end, of {} provisional leads{left_out}", percent(*rate), whole(*leads))
}

pub(super) fn earned(money: &Money) -> String {
    let Money { total, per_lead, interval95, untold, .. } = money;
    let sure = interval95.map_or_else(
        || " (no interval: rows have expired)".to_owned(),
        |[low, high]| format!(" ({} to {})", number(low, 2), number(high, 2)),
    );
    let untold = untold.filter(|untold| *untold > 0);
    let untold = untold.map_or_else(String::new, |untold| format!("; {} wins told none", whole(untold)));
    format!("{} in all, {} per matured lead{sure}{untold}", number(*total, 2), number(*per_lead, 2))
}

pub(super) fn delayed(delays: &Delays) -> String {
    let Delays { median_days, p75_days, p90_days, late, .. } = delays;
    let [median, p75, p90] = [median_days, p75_days, p90_days].map(|of| number(*of, 1));
    format!("median {median} days, p75 {p75}, p90 {p90}; {} after the horizon", percent(*late))
}

/// Lines of 78 places behind two.
fn wrapped(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let mut line = String::from(" ");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > 80 {
            writeln!(f, "{line}")?;
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(f, "{line}")
}

/// `10,984`
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `3.8%`, and `-` where there is none.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1}%", share * 100.0) } else { "-".into() }
}

/// `3.5 to 4.2%`
pub(super) fn interval([low, high]: [f64; 2]) -> String {
    if low.is_finite() { format!("{:.1} to {:.1}%", low * 100.0, high * 100.0) } else { "-".into() }
}

pub(super) fn number(number: f64, places: usize) -> String {
    if number.is_finite() { format!("{number:.places$}") } else { "-".into() }
}

pub(super) fn days(days: f64) -> String {
    if days.fract() == 0.0 { format!("{days:.0}") } else { format!("{days:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        let told = [0, 999, 1_000, 10_984, 1_234_567].map(whole);
        assert_eq!(told, ["0", "999", "1,000", "10,984", "1,234,567"]);
        assert_eq!([percent(0.0384), percent(f64::NAN)], ["3.8%", "-"]);
        assert_eq!([interval([0.035, 0.042]), interval([f64::NAN; 2])], ["3.5 to 4.2%", "-"]);
        assert_eq!([days(30.0), days(0.04166)], ["30", "0.0"]);
    }
}
