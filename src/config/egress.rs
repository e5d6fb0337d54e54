//! Clients that insist on https: for which hosts Leadwire stands in, and with which CA.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::{PairFiles, TlsVersion};

/// How `CONNECT host:port` is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Whose https is read. Never empty.
    pub hosts: Vec<EgressHost>,
    /// The own CA, which signs a certificate for each of them. Made at the start where there is none.
    pub ca: PairFiles,
    /// What becomes of all others.
    pub others: Others,
    /// CAs in PEM that hosts are checked against; the system's without it.
    pub roots: Option<PathBuf>,
    /// The oldest TLS that is spoken with hosts.
    pub min_version: TlsVersion,
}

/// A host, or all hosts one label below a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressHost {
    /// In lower case, without the `*.`; an IPv6 address without brackets.
    pub name: Box<str>,
    /// Any one label may stand before the name, and one must.
    pub wildcard: bool,
    /// The port; 443 where none is written.
    pub port: u16,
}

/// What becomes of `CONNECT` to a host whose https is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Others {
    /// Bytes go both ways unread.
    Tunnel,
    /// 403.
    Refuse,
}

impl Egress {
    /// Whether a host's https is read. `host` is in lower case.
    pub fn reads(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|known| known.port == port && known.is(host))
    }

    /// The files it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [self.ca.cert.as_path(), self.ca.key.as_path()].into_iter().chain(self.roots.as_deref())
    }
}

impl EgressHost {
    fn is(&self, host: &str) -> bool {
        match self.wildcard {
            false => *self.name == *host,
            true => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == &*self.name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wildcard: bool, name: &str, host: &str, expected: bool) {
        let known = EgressHost { name: name.into(), wildcard, port: 443 };
        assert_eq!(known.is(host), expected, "{host} is {name}");
    }

    #[test]
    fn a_wildcard_is_one_label() {
        check(false, "api.hubapi.com", "api.hubapi.com", true);
        check(false, "api.hubapi.com", "x.api.hubapi.com", false);
        check(true, "my.salesforce.com", "acme.my.salesforce.com", true);
        check(true, "my.salesforce.com", "a.b.my.salesforce.com", false);
        check(true, "my.salesforce.com", "my.salesforce.com", false);
        check(true, "my.salesforce.com", ".my.salesforce.com", false);
        check(true, "my.salesforce.com", "evilmy.salesforce.com", false);
    }
}
