//! What reasons cost: the effects of every feature, in logits, and the words for them.
#![expect(clippy::indexing_slicing, reason = "indices are made here")]

