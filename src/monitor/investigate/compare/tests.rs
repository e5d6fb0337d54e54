//! Parts that add up.
