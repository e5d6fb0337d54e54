//! Charts as SVG, drawn here: no script, no font, and words for those who cannot see them.

use std::fmt::Write;

use crate::monitor::page::escape;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 52.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 12.0;

/// Bars that are drawn; more would be lines.
const MOST: usize = 120;

/// One bar, with the interval around its height.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub name: String,
    pub height: f64,
    pub interval: [f64; 2],
}

/// A chart's name, what it shows in a sentence, and a number that its parts are told apart by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caption<'c> {
    pub id: &'c str,
    pub title: &'c str,
    pub says: &'c str,
}

/// Shares as bars.
pub(super) fn bars(caption: Caption<'_>, bars: &[Bar]) -> String {
    let mut bars: Vec<&Bar> = bars.iter().filter(|bar| bar.height.is_finite()).collect();
    // The last ones.
    bars.drain(..bars.len().saturating_sub(MOST));
    let most = bars.iter().map(|bar| bar.interval[1]).fold(0.0, f64::max).clamp(1e-6, 1.0);
    let mut svg = opened(caption, most);
    let step = (WIDTH - LEFT - 8.0) / bars.len().max(1) as f64;
    // As many names as there is room for.
    let every = (bars.len() as f64 * 58.0 / (WIDTH - LEFT)).ceil().max(1.0) as usize;
    for (index, Bar { name, height, interval: [low, high] }) in bars.iter().enumerate() {
        let x = LEFT + step * (index as f64 + 0.5);
        let (top, low, high, base) = (y(*height, most), y(*low, most), y(*high, most), y(0.0, most));
        let (left, wide, tall) = (x - step * 0.35, step * 0.7, base - top);
        // Writing to a string does not fail, here and below.
        _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\" fill=\"#7fb0e0\"/>\
             <line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{high:.1}\" y2=\"{low:.1}\" stroke=\"#1b1f24\"/>"
        );
        if index % every == 0 {
            label(&mut svg, (x, HEIGHT - 14.0), "middle", name);
        }
    }
    svg.push_str("</svg>");
    svg
}

/// What was promised against what came, both 0..=`most`, with the line on which they agree.
pub(super) fn calibration(caption: Caption<'_>, points: &[(f64, Bar)]) -> String {
    let ends = points.iter().flat_map(|(promised, bar)| [*promised, bar.interval[1]]);
    let most = ends.filter(|end| end.is_finite()).fold(0.0, f64::max).clamp(1e-6, 1.0);
    let mut svg = opened(caption, most);
    let x = |share: f64| LEFT + (WIDTH - LEFT - 8.0) * share / most;
    let line = [(x(0.0), y(0.0, most)), (x(most), y(most, most))];
    let [(x1, y1), (x2, y2)] = line;
    _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#8c959f\" stroke-dasharray=\"4 4\"/>"
    );
    for (promised, Bar { height, interval: [low, high], .. }) in points {
        let (x, low, high, at) = (x(*promised), y(*low, most), y(*high, most), y(*height, most));
        _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{high:.1}\" y2=\"{low:.1}\" stroke=\"#1b1f24\"/>\
             <circle cx=\"{x:.1}\" cy=\"{at:.1}\" r=\"5\" fill=\"#1f6fb2\"/>"
        );
    }
    for share in [0.0, 0.5, 1.0].map(|part| part * most) {
        label(&mut svg, (x(share), HEIGHT - 14.0), "middle", &format!("{:.1}%", share * 100.0));
    }
    svg.push_str("</svg>");
    svg
}

/// The frame, with shares up to `most` on the left.
fn opened(Caption { id, title, says }: Caption<'_>, most: f64) -> String {
    let (id, title, says) = (escape(id), escape(title), escape(says));
    let mut svg = format!(
        "<svg role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"system-ui,sans-serif\" font-size=\"11\">\
         <title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{says}</desc>\n"
    );
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (right, at) = (WIDTH - 8.0, y(part * most, most));
        _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#d0d7de\"/>"
        );
        label(&mut svg, (LEFT - 6.0, at + 4.0), "end", &format!("{:.1}%", part * most * 100.0));
    }
    svg
}

fn y(share: f64, most: f64) -> f64 {
    TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share / most)
}

fn label(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escape(text);
    _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#57606a\">{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTION: Caption<'_> = Caption { id: "c1", title: "A & B", says: "<b>falls</b>" };

    fn bar(name: &str, height: f64) -> Bar {
        Bar { name: name.into(), height, interval: [height / 2.0, height * 2.0] }
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows_and_stays_in_its_frame() {
        let drawn = [
            bars(CAPTION, &[bar("<1>", 0.2), bar("2", 0.1), bar("3", f64::NAN)]),
            bars(CAPTION, &vec![bar("x", 0.1); 5_000]),
            bars(CAPTION, &[]),
            calibration(CAPTION, &[(0.1, bar("", 0.2)), (0.3, bar("", 0.25))]),
            calibration(CAPTION, &[]),
        ];
        for svg in drawn {
            assert!(svg.contains("<title id=\"c1-title\">A &amp; B</title>"), "{svg}");
            assert!(svg.contains("&lt;b&gt;falls&lt;/b&gt;") && !svg.contains("<b>") && !svg.contains("NaN"));
            assert!(svg.matches("<rect").count() <= MOST && svg.ends_with("</svg>"));
            for key in [" y=\"", " y1=\"", " y2=\"", " cy=\"", " x=\"", " x1=\"", " x2=\"", " cx=\""] {
                for value in svg.split(key).skip(1).map(|rest| rest.split('"').next().unwrap_or_default()) {
                    let value: f64 = value.parse().unwrap();
                    assert!((0.0..=WIDTH).contains(&value), "{key}{value}");
                }
            }
        }
    }
}
