//! Investigations of a real lead log, scored by real versions.
