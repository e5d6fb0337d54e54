//! Reports as HTML: one file without script, font or picture of others, that can be mailed and kept.

use std::fmt::Write;

/// A page under construction.
#[derive(Debug)]
pub(super) struct Page {
    html: String,
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #d0d7de}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}\
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #eaeef2;vertical-align:top}\
th{font-weight:600;color:#57606a}svg{max-width:100%;height:auto}";

impl Page {
    pub(super) fn new(title: &str) -> Self {
        let title = escape(title);
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        Self { html }
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.element("h2", text);
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.element("p", text);
    }

    /// A table; cells are plain text.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.html.push_str("<table>\n<tr>");
        head.iter().for_each(|cell| self.element("th", cell));
        self.html.push_str("</tr>\n");
        for row in rows {
            self.html.push_str("<tr>");
            row.iter().for_each(|cell| self.element("td", cell));
            self.html.push_str("</tr>\n");
        }
        self.html.push_str("</table>\n");
    }

    /// Adds a drawing; whoever made it has escaped its texts.
    pub(super) fn svg(&mut self, svg: &str) {
        self.html.push_str(svg);
        self.html.push('\n');
    }

    pub(super) fn finish(mut self) -> String {
        self.html.push_str("</body>\n</html>\n");
        self.html
    }

    fn element(&mut self, tag: &str, text: &str) {
        // Writing to a string does not fail.
        _ = writeln!(self.html, "<{tag}>{}</{tag}>", escape(text));
    }
}

/// Text that stays text between tags and inside quotes, whatever is in it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_stays_text() {
        let mut page = Page::new("A & B");
        page.heading("<script>alert(1)</script>");
        page.table(&["\"name\""], &[vec!["' onload='x".into()]]);
        let html = page.finish();
        assert!(html.contains("<title>A &amp; B</title>"));
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
        assert!(html.contains("<th>&quot;name&quot;</th>") && html.contains("<td>&#39; onload=&#39;x</td>"));
    }
}
