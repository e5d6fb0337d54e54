//! Leadwire scores leads on the wire. It sits beside a CRM as a transparent HTTP proxy; where a request carries a lead,
//! the lead is scored in-process and the score is written into what the CRM and its users already exchange.
//!
//! # The life of a request
//!
//! accept -> recognise -> assign -> score -> enrich -> forward -> record
//!
//! # Layout
//!
//! The rooms below stand in reading order, and each imports only from rooms above it (`tests/it/tidy.rs` holds the
//! table). `lead`, `stats`, `recognise`, `score` and `enrich` do no I/O and are told the time.

pub mod lead;
pub mod stats;
pub mod config;
pub mod recognise;
pub mod score;
pub mod enrich;
pub mod registry;
pub mod ledger;
pub mod rollout;
pub mod telemetry;
pub mod leadlog;
pub mod proxy;
pub mod monitor;
pub mod train;
pub mod batch;
pub mod admin;
pub mod demo;
pub mod app;
pub mod cli;

#[cfg(test)]
#[path = "../tests/it/goldens.rs"]
mod goldens; // reference data, for unit and integration tests alike
