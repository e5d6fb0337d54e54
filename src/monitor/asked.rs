//! What a person may ask about a running trial: the evidence for an order, and all that is known at this moment. The lead
//! log is read and nothing is written. Where it cannot be read, nothing speaks for the order, and the answer says so.

use super::evidence::gather;
use crate::{
    lead::Evidence,
    leadlog::{Seen, Store, StoreError},
    ledger::{self, LedgerError},
    registry::Version,
    rollout::{Action, Desk, Grounds, Life, Memory, ModelLife, Order, OrderError, Review, Situation, review},
};

/// What the evidence says for a person's order. Only to serve all takes any.
pub fn grounds(desk: &Desk, order: &Order, now_ms: i64) -> Grounds {
    let Action::Promote(version) = &order.action else { return Grounds::default() };
    let counted = life(desk, &order.model).map_err(anyhow::Error::from).and_then(|life| {
        let evidence = evidence(desk, (&order.model, &life), now_ms)?;
        Ok(Grounds::to_promote(version, &life, &evidence, &desk.policy))
    });
    counted.unwrap_or_else(|error| {
        let found = Some(format!("nothing could be counted: {error:#}"));
        Grounds { found, ..Grounds::default() }
    })
}

/// All that is known of a model's trials, and what would follow.
pub fn verdict(desk: &Desk, model: &str, now_ms: i64) -> Result<Review, OrderError> {
    let folder = desk.model(model)?;
    let life = life(desk, model)?;
    let (evidence, uncounted) = match evidence(desk, (model, &life), now_ms) {
        Ok(evidence) => (Some(evidence), None),
        Err(error) => (None, Some(format!("{:#}", anyhow::Error::from(error)))),
    };
    let champion = life.champion.as_deref();
    let champion =
        champion.and_then(|version| Version::load_trusted(&folder.join(version), &desk.trust).ok());
    let cutoffs = champion.map(|version| version.manifest.cutoffs);
    let evidence = evidence.as_ref();
    let now = Situation { life: &life, evidence, faults: &[], policy: &desk.policy, now_ms };
    Ok(review(model, &now, cutoffs, uncounted))
}

fn life(desk: &Desk, model: &str) -> Result<ModelLife, LedgerError> {
    Ok(Life::fold(&ledger::read(&desk.state)?).model(model).cloned().unwrap_or_default())
}

/// Without a trial the lead log need not even be there.
fn evidence(desk: &Desk, (model, life): (&str, &ModelLife), now_ms: i64) -> Result<Evidence, StoreError> {
    if life.experiment.is_none() && life.shadows.is_empty() {
        return Ok(Evidence::default());
    }
    let store = Store::open_read_only(&desk.state)?;
    gather((&store, &mut Seen::default()), (model, life), &desk.policy, &Memory::default(), now_ms)
}

#[cfg(test)]
mod tests;
