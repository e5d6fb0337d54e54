//! What a person asks for, on the command line or over the API, as an order.

use serde::Deserialize;

use super::{
    orders::{Action, LEADWIRE, Leave, Order, Refused},
    slots::FILE,
};
use crate::config::Stage;

/// Longest name and longest reason, in bytes. A record holds 64 KiB.
const LONGEST: (usize, usize) = (256, 4096);

/// An order as it is asked for. What an action does not need must not be given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// Which version.
    pub version: Option<String>,
    /// Of a canary: its share of the leads.
    pub percent: Option<u32>,
    /// Of an approval: `canary`, `ramp` or `production`.
    pub step: Option<String>,
    /// Of an approval: it stands in for evidence that is not there.
    #[serde(rename = "override")]
    pub is_override: bool,
    /// Of a rollback: which version leaves, where that is not the challenger, or without one the champion.
    pub from: Option<String>,
    /// Of a rollback: who serves then.
    pub to: Option<String>,
    /// Why.
    pub why: String,
    /// Who asks.
    pub actor: String,
}

impl Asked {
    /// The order to do `verb` to a model.
    pub fn order(mut self, model: &str, verb: &str) -> Result<Order, Refused> {
        let (why, actor) = (std::mem::take(&mut self.why), std::mem::take(&mut self.actor));
        if actor.is_empty() || actor.len() > LONGEST.0 || [LEADWIRE, FILE].contains(&&*actor) {
            return Err(Refused(format!("{actor:?} cannot give orders: name who asks as the actor")));
        }
        if why.len() > LONGEST.1 {
            return Err(Refused(format!("a reason has at most {} bytes", LONGEST.1)));
        }
        let action = self.action(verb)?;
        match self == Self::default() {
            true => Ok(Order { model: model.to_owned(), action, actor, why }),
            false => Err(Refused(format!("{verb} was given more than it needs: {}", self.left()))),
        }
    }

    /// The action, of which everything it needs is taken out.
    fn action(&mut self, verb: &str) -> Result<Action, Refused> {
        Ok(match verb {
            "shadow" => Action::Shadow(self.version(verb)?),
            "unshadow" => Action::Unshadow(self.version(verb)?),
            "canary" => Action::Canary(self.version(verb)?, self.percent.take()),
            "approve" => Action::Approve(self.version(verb)?, self.step(verb)?, self.leave()),
            "deny" => Action::Deny(self.version(verb)?, self.step(verb)?),
            "promote" => Action::Promote(self.version(verb)?),
            "pause" => Action::Pause,
            "resume" => Action::Resume,
            "rollback" => Action::Rollback { from: self.from.take(), to: self.to.take() },
            "clear" => Action::Clear(self.version(verb)?),
            "archive" => Action::Archive(self.version(verb)?),
            _ => return Err(Refused(format!("nothing is called {verb:?}"))),
        })
    }

    fn version(&mut self, verb: &str) -> Result<String, Refused> {
        self.version.take().ok_or_else(|| Refused(format!("{verb} needs a version")))
    }

    fn step(&mut self, verb: &str) -> Result<Stage, Refused> {
        let step = self.step.take().unwrap_or_default();
        Stage::parse(&step).ok_or_else(|| Refused(format!("{verb} needs a step: canary, ramp or production")))
    }

    fn leave(&mut self) -> Leave {
        if std::mem::take(&mut self.is_override) { Leave::Override } else { Leave::Approval }
    }

    /// The names of what is left.
    fn left(&self) -> String {
        let given = [
            ("version", self.version.is_some()),
            ("percent", self.percent.is_some()),
            ("step", self.step.is_some()),
            ("override", self.is_override),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
        ];
        let names: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_becomes_an_order_or_says_what_is_missing() {
        let read = |verb: &str, json: &str| {
            let asked: Asked = serde_json::from_str(json).map_err(|error| error.to_string())?;
            let asked = Asked {
                actor: if asked.actor.is_empty() { "jo".into() } else { asked.actor.clone() },
                ..asked
            };
            asked.order("lead", verb).map(|order| format!("{:?}", order.action)).map_err(|refused| refused.0)
        };
        for (verb, json, expected) in [
            ("shadow", r#"{"version":"4"}"#, r#"Shadow("4")"#),
            ("canary", r#"{"version":"4","percent":10}"#, r#"Canary("4", Some(10))"#),
            ("canary", r#"{"version":"4"}"#, r#"Canary("4", None)"#),
            ("approve", r#"{"version":"4","step":"canary"}"#, r#"Approve("4", Canary, Approval)"#),
            (
                "approve",
                r#"{"version":"4","step":"production","override":true}"#,
                r#"Approve("4", Production, Override)"#,
            ),
            ("deny", r#"{"version":"4","step":"ramp"}"#, r#"Deny("4", Ramp)"#),
            ("rollback", "{}", "Rollback { from: None, to: None }"),
            ("rollback", r#"{"to":"2"}"#, r#"Rollback { from: None, to: Some("2") }"#),
            ("pause", "{}", "Pause"),
        ] {
            assert_eq!(read(verb, json).as_deref(), Ok(expected), "{verb} {json}");
        }
        let long = format!(r#"{{"why":"{}"}}"#, "x".repeat(5000));
        for (verb, json, expected) in [
            ("shadow", "{}", "shadow needs a version"),
            ("approve", r#"{"version":"4"}"#, "approve needs a step: canary, ramp or production"),
            (
                "approve",
                r#"{"version":"4","step":"moon"}"#,
                "approve needs a step: canary, ramp or production",
            ),
            ("pause", r#"{"version":"4","to":"3"}"#, "pause was given more than it needs: version, to"),
            (
                "promote",
                r#"{"version":"4","override":true}"#,
                "promote was given more than it needs: override",
            ),
            ("freeze", "{}", r#"nothing is called "freeze""#),
            (
                "pause",
                r#"{"actor":"leadwire"}"#,
                r#""leadwire" cannot give orders: name who asks as the actor"#,
            ),
            ("pause", r#"{"actor":"file"}"#, r#""file" cannot give orders: name who asks as the actor"#),
            ("pause", &long, "a reason has at most 4096 bytes"),
        ] {
            assert_eq!(read(verb, json), Err(expected.to_owned()), "{verb} {json}");
        }
        assert!(read("pause", r#"{"whom":"x"}"#).unwrap_err().contains("unknown field `whom`"));
        let nobody = Asked::default().order("lead", "pause").unwrap_err();
        assert_eq!(nobody.0, r#""" cannot give orders: name who asks as the actor"#);
    }
}
