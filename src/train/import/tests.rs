//! Imported models against their libraries.
