//! Admin: health, metrics and latency, on a listener of their own. On the CRM's port every path belongs to the CRM.

mod routes; // the endpoints
mod rollouts; // how versions stand, and orders to move them
mod report; // what became of the leads
mod leads; // why a lead got its score
mod told; // verdicts and outcomes from people and other programs
mod token; // who may call them

pub use self::{
    rollouts::Look,
    routes::{Admin, serve},
    token::{Token, TokenError},
};
