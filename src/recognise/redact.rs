//! What may be said of a request where people read it.

use std::fmt;

use super::routes::Route;

/// A request, by its route alone: `lead.update /services/data/{version}/sobjects/Lead/{id}`. The path itself may hold an
/// id or an address, its query a token and its body a password, so none of them is shown.
#[derive(Clone, Copy, Debug)]
pub struct Redact<'a>(pub Option<&'a Route>);

impl fmt::Display for Redact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(route) => write!(f, "{} {}", route.name, route.path),
            None => f.write_str("unmatched"),
        }
    }
}
