//! The report as a page: the same numbers, with charts.

use super::{
    Figures, ModelReport, Part, Parts, Report,
    chart::{self, Bar, Caption},
    text::{days, delayed, earned, estimated, interval, number, percent, standing, whole},
};
use crate::monitor::page::Page;

impl Report {
    /// One file of HTML, without script.
    pub fn to_html(&self) -> String {
        let Self { from, to, horizon_days, uncounted, models } = self;
        let mut page = Page::new(&format!("What became of the leads, {from} to {to}"));
        page.paragraph(&format!(
            "Leads by the day they were scored. A lead converted if it was won within {} days of its score. Days whose leads have \
             all had that time are matured; the others are provisional.",
            days(*horizon_days)
        ));
        if *uncounted > 0 {
            page.paragraph(&format!("{} scores are in the lead log and not counted yet.", whole(*uncounted)));
        }
        if models.is_empty() {
            page.paragraph("No lead has been counted.");
        }
        models.iter().enumerate().for_each(|(index, model)| model.write(&mut page, &format!("m{index}")));
        page.finish()
    }
}

impl ModelReport {
    fn write(&self, page: &mut Page, id: &str) {
        page.heading(&format!("Model {}", self.model));
        self.notices.iter().for_each(|notice| page.paragraph(&format!("Note: {notice}")));
        let told = [("matured", &self.matured), ("provisional", &self.provisional)];
        let told =
            told.into_iter().filter_map(|(name, of)| Some(format!("{name}: {}", standing(of.as_ref()?))));
        let estimate = self.estimate.iter().map(|of| format!("estimate: {}", estimated(of)));
        let revenue = self.revenue.iter().map(|of| format!("revenue: {}", earned(of)));
        let delays = self.delays.iter().map(|of| format!("time from the score to the win: {}", delayed(of)));
        let lines: Vec<String> = told.chain(estimate).chain(revenue).chain(delays).collect();
        lines.iter().for_each(|line| page.paragraph(line));
        self.write_periods(page, id);
        if let Some(parts) = &self.parts {
            write_parts(page, id, parts);
        }
        if let Some(figures) = self.matured.as_ref().or(self.provisional.as_ref()) {
            write_calibration(page, id, figures);
        }
        self.write_versions(page);
        self.write_feedback(page);
    }

    fn write_periods(&self, page: &mut Page, id: &str) {
        page.heading(&format!("{}: conversion over time", self.model));
        let bar = |period: &super::Period| Bar {
            name: period.period.clone(),
            height: period.rate,
            interval: period.wilson95,
        };
        let bars: Vec<Bar> = self.periods.iter().map(bar).collect();
        let says = "Conversions per matured lead for each period, with 95% intervals; the table below has the numbers.";
        page.svg(&chart::bars(
            Caption { id: &format!("{id}-periods"), title: "Conversion over time", says },
            &bars,
        ));
        let row = |of: &super::Period| {
            vec![
                of.period.clone(),
                whole(of.leads),
                whole(of.matured),
                whole(of.conversions),
                percent(of.rate),
                interval(of.wilson95),
                number(of.revenue, 2),
                whole(of.so_far),
            ]
        };
        let head = [
            "period",
            "leads",
            "matured",
            "converted",
            "rate",
            "95% interval",
            "revenue",
            "provisional wins so far",
        ];
        page.table(&head, &self.periods.iter().map(row).collect::<Vec<_>>());
    }

    fn write_versions(&self, page: &mut Page) {
        page.heading(&format!("{}: versions", self.model));
        let mut rows = Vec::new();
        for version in &self.versions {
            for (name, figures) in [("matured", &version.matured), ("provisional", &version.provisional)] {
                rows.extend(figures.as_ref().map(|of| {
                    let auc = number(of.auc.unwrap_or(f64::NAN), 3);
                    let (brier, ece, ratio) =
                        (number(of.brier, 4), number(of.ece, 4), number(of.observed_over_expected, 2));
                    vec![version.version.clone(), name.into(), whole(of.known), auc, brier, ece, ratio]
                }));
            }
        }
        page.table(&["version", "of", "leads", "AUC", "Brier", "ECE", "observed / expected"], &rows);
    }

    fn write_feedback(&self, page: &mut Page) {
        if self.feedback.is_empty() {
            return;
        }
        page.heading(&format!("{}: what people said", self.model));
        let row =
            |of: &super::Feedback| vec![of.version.clone(), of.grade.clone(), whole(of.up), whole(of.down)];
        page.table(&["version", "grade", "up", "down"], &self.feedback.iter().map(row).collect::<Vec<_>>());
    }
}

fn write_parts(page: &mut Page, id: &str, parts: &Parts) {
    let bar = |part: &Part| Bar { name: part.name.clone(), height: part.rate, interval: part.wilson95 };
    for (title, rows) in
        [("Conversion by decile of the score", &parts.deciles), ("Conversion by grade", &parts.grades)]
    {
        page.heading(title);
        let bars: Vec<Bar> = rows.iter().map(bar).collect();
        let says =
            "Conversions per lead from the highest scores on the left to the lowest, with 95% intervals.";
        let id = format!("{id}-{}", if title.ends_with("grade") { "grades" } else { "deciles" });
        page.svg(&chart::bars(Caption { id: &id, title, says }, &bars));
        let row = |of: &Part| {
            let (share, rate) = (percent(of.share), percent(of.rate));
            let from = of.from_score.map_or_else(String::new, |score| number(score, 3));
            let (sure, revenue) = (interval(of.wilson95), number(of.revenue, 2));
            vec![of.name.clone(), from, whole(of.leads), share, whole(of.conversions), rate, sure, revenue]
        };
        let head = ["", "from score", "leads", "share", "converted", "rate", "95% interval", "revenue"];
        page.table(&head, &rows.iter().map(row).collect::<Vec<_>>());
    }
    page.paragraph(&format!(
        "The top decile converts {} times as often as all; the best {} of the leads bring {} of the conversions.",
        number(parts.lift, 1),
        percent(parts.top_leads),
        percent(parts.top_conversions)
    ));
}

fn write_calibration(page: &mut Page, id: &str, figures: &Figures) {
    page.heading("Promise and outcome");
    let point = |of: &super::figures::Tenth| {
        (of.mean_score, Bar { name: String::new(), height: of.rate, interval: of.wilson95 })
    };
    let points: Vec<_> = figures.calibration.iter().map(point).collect();
    let says = "For each tenth of the score, the mean score across and the share that converted upwards, with 95% intervals; on the \
        dashed line the scores keep what they promise.";
    let id = format!("{id}-calibration");
    page.svg(&chart::calibration(Caption { id: &id, title: "Mean score and conversion", says }, &points));
    let row = |of: &super::figures::Tenth| {
        vec![whole(of.leads), percent(of.mean_score), percent(of.rate), interval(of.wilson95)]
    };
    let rows: Vec<_> = figures.calibration.iter().map(row).collect();
    page.table(&["leads", "mean score", "converted", "95% interval"], &rows);
}
