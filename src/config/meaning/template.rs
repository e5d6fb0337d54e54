//! Path templates: `/services/data/{version}/sobjects/Lead/{id}`, `/leads({id})`.

/// A well-formed template.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Template {
    /// The names in braces, in order.
    pub(super) names: Vec<String>,
    /// The template without names and final slash. Two templates of one shape take the same paths.
    pub(super) shape: String,
}

/// Checks a template over the percent-encoded path.
pub(super) fn template(text: &str) -> Result<Template, String> {
    if !text.starts_with('/') {
        return Err(format!("a path starts with `/`, {text:?} does not"));
    }
    let mut read = Template::default();
    for part in text.split('/').skip(1) {
        read.shape.push('/');
        segment(part, &mut read)?;
    }
    if read.shape.len() > 1 && read.shape.ends_with('/') {
        read.shape.pop();
    }
    Ok(read)
}

fn segment(part: &str, read: &mut Template) -> Result<(), String> {
    let Some((before, rest)) = part.split_once('{') else {
        literal(part)?;
        read.shape.push_str(part);
        return Ok(());
    };
    let Some((name, after)) = rest.split_once('}') else {
        return Err(format!("`{{` without `}}` in {part:?}"));
    };
    if after.contains('{') {
        return Err(format!("more than one {{name}} between two slashes in {part:?}"));
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("{{{name}}} is not a name: letters, digits and underscores"));
    }
    if read.names.iter().any(|known| known == name) {
        return Err(format!("{{{name}}} stands twice in the path"));
    }
    literal(before)?;
    literal(after)?;
    read.names.push(name.to_owned());
    for piece in [before, "{}", after] {
        read.shape.push_str(piece);
    }
    Ok(())
}

/// What can stand in a percent-encoded path.
fn literal(text: &str) -> Result<(), String> {
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '%' => {
                let hex = |c: Option<char>| c.is_some_and(|c| c.is_ascii_hexdigit());
                if !(hex(rest.next()) && hex(rest.next())) {
                    return Err(format!("`%` without two hex digits in {text:?}"));
                }
            }
            '{' | '}' => return Err(format!("`{c}` out of place in {text:?}")),
            '?' | '#' => {
                return Err(format!("`{c}` ends the path; a query is asked for with when: query:NAME"));
            }
            c if c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '|') => {}
            c => return Err(format!("{c:?} in a path must be percent-encoded")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_have_names_and_a_shape() {
        let read = |text: &str| template(text).map(|read| (read.names.join(","), read.shape));
        let ok = |names: &str, shape: &str| Ok((names.to_owned(), shape.to_owned()));
        assert_eq!(read("/"), ok("", "/"));
        assert_eq!(read("/{db}/rpc/"), ok("db", "/{}/rpc"));
        assert_eq!(read("/api/data/{v}/leads({id})"), ok("v,id", "/api/data/{}/leads({})"));
        assert_eq!(read("/api/resource/CRM%20Lead"), ok("", "/api/resource/CRM%20Lead"));
        for bad in
            ["", "a", "/{", "/}", "/{}", "/{a}/{a}", "/{a}{b}", "/a b", "/a?b", "/%2", "/ä", "/{*rest}"]
        {
            assert!(template(bad).is_err(), "{bad}");
        }
    }
}
