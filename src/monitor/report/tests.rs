//! From the lead log to the report.

use super::*;
