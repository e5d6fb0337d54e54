//! Paths: which templates a request's path fits, the most specific first.
//!
//! A tree of segments. Several templates may fit one path (`/{db}/rpc` and `/main/{service}`), and which route takes the
//! request is known only once its predicates have been asked, so all of them are found. Each branch is visited once at
//! most, so the work is bounded by the configuration.

use super::keys::KeyTable;

/// A path template, by its segments.
#[derive(Debug, Default)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// Its names, in the order they stand.
    pub(super) names: Vec<Box<str>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Literal(Box<str>),
    /// A name between two literals, either of which may be empty: `leads({id})`.
    Named(Box<str>, Box<str>),
}

impl Template {
    /// Reads a template that the configuration has checked.
    pub(super) fn new(path: &str) -> Self {
        let mut template = Template::default();
        for part in parts(path).into_iter().flatten() {
            let named = part.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
            template.segments.push(match named {
                Some((before, (name, after))) => {
                    template.names.push(name.into());
                    Segment::Named(before.into(), after.into())
                }
                None => Segment::Literal(part.into()),
            });
        }
        template
    }

    /// What the names stand for in a path that fits.
    pub(super) fn values<'p>(&'p self, path: &'p str) -> impl Iterator<Item = &'p str> {
        let pairs = self.segments.iter().zip(parts(path).into_iter().flatten());
        pairs.filter_map(|(segment, part)| match segment {
            Segment::Named(before, after) => named(part, before, after),
            Segment::Literal(_) => None,
        })
    }

    fn literals(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count()
    }
}

/// The segments of a path, without a final slash; `None` for what is no path, such as `*`.
fn parts(path: &str) -> Option<Parts<'_>> {
    let inside = path.strip_prefix('/')?;
    Some(Parts {
        rest: if inside.is_empty() { None } else { Some(inside.strip_suffix('/').unwrap_or(inside)) },
    })
}

/// Segments between slashes. They are short: a look at each byte is over before a search for the next slash has begun.
#[derive(Clone)]
struct Parts<'p> {
    rest: Option<&'p str>,
}

impl<'p> Iterator for Parts<'p> {
    type Item = &'p str;

    fn next(&mut self) -> Option<&'p str> {
        let rest = self.rest.take()?;
        let slash = rest.bytes().position(|byte| byte == b'/');
        let Some((part, after)) = slash.and_then(|slash| rest.split_at_checked(slash)) else {
            return Some(rest);
        };
        self.rest = after.get(1..);
        Some(part)
    }
}

/// What stands between two literals. A name stands for something.
fn named<'p>(part: &'p str, before: &str, after: &str) -> Option<&'p str> {
    // Both are mostly a letter or nothing, which is over before a comparison of memory has begun.
    let is_same = |(one, other): (u8, u8)| one == other;
    let begins = part.len() >= before.len() && part.bytes().zip(before.bytes()).all(is_same);
    let rest = part.get(before.len()..).filter(|_| begins)?;
    let value = rest.len().checked_sub(after.len()).filter(|length| *length > 0)?;
    let ends = rest.bytes().rev().zip(after.bytes().rev()).all(is_same);
    rest.get(..value).filter(|_| ends)
}

/// What stands under every template.
#[derive(Debug)]
pub(super) struct Paths<T> {
    root: Branch<T>,
}

#[derive(Debug)]
struct Branch<T> {
    literals: KeyTable,
    /// What stands under each literal.
    below: Vec<Branch<T>>,
    /// Those with longer literals first.
    named: Vec<(Box<str>, Box<str>, Branch<T>)>,
    found: Vec<T>,
    /// Literal segments from the root to here.
    depth: usize,
}

impl<T> Default for Branch<T> {
    fn default() -> Self {
        Self {
            literals: KeyTable::default(),
            below: Vec::new(),
            named: Vec::new(),
            found: Vec::new(),
            depth: 0,
        }
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { root: Branch::default() }
    }
}

impl<T> Paths<T> {
    /// Puts `value` under a template, behind what is there.
    pub(super) fn insert(&mut self, template: &Template, value: T) {
        let mut branch = &mut self.root;
        for segment in &template.segments {
            branch = branch.step(segment);
        }
        branch.depth = template.literals();
        branch.found.push(value);
    }

    /// Makes what was put in so far ready to be found.
    pub(super) fn seal(&mut self) {
        self.root.seal();
    }

    /// Hands out what stands under each template that the path fits, with the template's number of literal segments.
    /// Where two templates first differ, the literal goes before the name.
    pub(super) fn each<'t>(&'t self, path: &str, found: &mut dyn FnMut(&'t [T], usize)) {
        if let Some(parts) = parts(path) {
            self.root.each(parts, found);
        }
    }
}

impl<T> Branch<T> {
    fn step(&mut self, segment: &Segment) -> &mut Self {
        match segment {
            Segment::Literal(text) => {
                let index = self.literals.position(text.as_bytes()).unwrap_or_else(|| {
                    self.below.push(Branch::default());
                    self.literals.push(text.as_bytes())
                });
                #[expect(clippy::indexing_slicing, reason = "found or pushed there")]
                &mut self.below[index]
            }
            Segment::Named(before, after) => {
                let known = self.named.iter().position(|(b, a, _)| (b, a) == (before, after));
                let index = known.unwrap_or_else(|| {
                    let literal = before.len() + after.len();
                    let index = self.named.partition_point(|(b, a, _)| b.len() + a.len() >= literal);
                    self.named.insert(index, (before.clone(), after.clone(), Branch::default()));
                    index
                });
                #[expect(clippy::indexing_slicing, reason = "found or inserted there")]
                let (_, _, branch) = &mut self.named[index];
                branch
            }
        }
    }

    fn seal(&mut self) {
        self.literals.seal();
        self.below.iter_mut().for_each(Branch::seal);
        self.named.iter_mut().for_each(|(_, _, branch)| branch.seal());
    }

    fn each<'t, 'p>(
        &'t self,
        mut parts: impl Iterator<Item = &'p str> + Clone,
        found: &mut dyn FnMut(&'t [T], usize),
    ) {
        let Some(part) = parts.next() else {
            if !self.found.is_empty() {
                found(&self.found, self.depth);
            }
            return;
        };
        let literal = self.literals.find(part.as_bytes());
        if let Some(branch) = literal.and_then(|literal| self.below.get(literal)) {
            branch.each(parts.clone(), found);
        }
        for (before, after, branch) in &self.named {
            if named(part, before, after).is_some() {
                branch.each(parts.clone(), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The templates that a path fits, in order, with what their names stand for.
    fn check(templates: &[&str], path: &str, expected: &[&str]) {
        let mut paths = Paths::default();
        for text in templates {
            paths.insert(&Template::new(text), *text);
        }
        paths.seal();
        let mut found = Vec::new();
        paths.each(path, &mut |under, _| found.extend(under));
        let shown = |text: &&str| {
            let values: Vec<_> = Template::new(text).values(path).map(str::to_owned).collect();
            if values.is_empty() { (*text).to_owned() } else { format!("{text} {}", values.join(",")) }
        };
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected, "{path}");
    }

    #[test]
    fn every_template_that_fits_is_found() {
        let all = ["/{db}/rpc/", "/main/{service}", "/main/rpc", "/{a}/{b}", "/x/{a}", "/"];
        check(
            &all,
            "/main/rpc",
            &["/main/rpc", "/main/{service} rpc", "/{db}/rpc/ main", "/{a}/{b} main,rpc"],
        );
        check(&all, "/other/rpc/", &["/{db}/rpc/ other", "/{a}/{b} other,rpc"]);
        check(&all, "/", &["/"]);
        for path in ["", "*", "main/rpc", "/main", "/main/rpc/x", "/main//", "//"] {
            check(&all, path, &[]);
        }
        let segments = ["/v/leads({id})", "/v/{any}", "/v/leads"];
        check(&segments, "/v/leads(7)", &["/v/leads({id}) 7", "/v/{any} leads(7)"]);
        check(&segments, "/v/leads()", &["/v/{any} leads()"]);
        check(&segments, "/v/leads(", &["/v/{any} leads("]);
        check(&segments, "/v/leads", &["/v/leads", "/v/{any} leads"]);
    }

    #[test]
    fn a_path_of_many_segments_costs_no_more_than_the_tree_has_branches() {
        let templates: Vec<String> = (0..200).map(|n| format!("{}/x{n}", "/{a}".repeat(n % 12))).collect();
        let mut paths = Paths::default();
        for text in &templates {
            paths.insert(&Template::new(text), ());
        }
        paths.seal();
        let mut count = 0;
        paths.each(&"/a".repeat(100_000), &mut |_, _| count += 1);
        assert_eq!(count, 0);
    }
}
