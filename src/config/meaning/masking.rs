//! What `secrets.mask` hides from features, ids and rules, and what is hidden without being named there.

use crate::config::{
    at::{Base, Lookup, Place, Pointer, Step},
    settings::Mask,
};

/// What is told of a place that is hidden.
pub(super) const MASKED: &str = "is masked, by secrets.mask or as a secret of any CRM";

/// Whether a mask hides what the pointer, from the body's root, points at. `{i}` may be any index.
pub(super) fn hides(mask: &Mask, pointer: &Pointer) -> bool {
    let same = |(mask, step): (&Step, &Step)| match (mask, step) {
        (Step::Key(mask), Step::Item) => mask.bytes().all(|digit| digit.is_ascii_digit()),
        (mask, step) => mask == step,
    };
    let Mask::Body(mask) = mask else { return false };
    mask.steps.len() <= pointer.steps.len() && mask.steps.iter().zip(&pointer.steps).all(same)
}

/// Whether the pointer, followed from a lead somewhere inside the body, could lead to what the mask hides: it begins as
/// the mask ends.
pub(super) fn hides_relative(mask: &Mask, pointer: &Pointer) -> bool {
    let Mask::Body(Pointer { steps }) = mask else { return false };
    (0..steps.len()).any(|from| steps.get(from..).is_some_and(|end| pointer.steps.starts_with(end)))
}

/// Whether a mask hides a place. What a query leads to is known only with the body, so that is left to its reader.
pub(super) fn hides_place(mask: &Mask, at: &Lookup) -> bool {
    match (&at.place, mask) {
        (Place::Body(pointer), mask) if at.base == Base::Root => hides(mask, pointer),
        (Place::Body(pointer), mask) => hides_relative(mask, pointer),
        (Place::Header(name), Mask::Header(mask)) => name == mask,
        (Place::Query(key), Mask::Query(mask)) => key == mask,
        _ => false,
    }
}
