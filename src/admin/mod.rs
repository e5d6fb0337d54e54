//! Admin: health, metrics and latency, on a listener of their own. On the CRM's port every path belongs to the CRM.

mod routes; // the endpoints
mod token; // who may call them

pub use self::{
    routes::{Admin, serve},
    token::{Token, TokenError},
};
