//! What the benches measure, each with its own clock: time, allocations, instructions.
//!
//! `served` is the path a lead takes, with the version this repository ships and an 800-byte body. `spec` is the network
//! that other runtimes were measured with: 20 numbers and 10 categories into 64-32-1.

mod served; // bytes to score to bytes
pub mod forest; // a model of boosted trees, and leads for it
mod trees; // that model
mod spec; // one network, three batch sizes, candle-nn beside the kernel
mod reasons; // what reasons cost, for each kind of model

/// One thing to measure.
pub struct Case {
    /// What it is, with its batch size where that is not one lead.
    pub name: String,
    /// Leads in one run.
    pub leads: u64,
    setup: Box<dyn FnOnce() -> Run>,
}

/// One run, repeatable.
pub type Run = Box<dyn FnMut()>;

impl Case {
    fn new<R: FnMut() + 'static>(
        name: impl Into<String>,
        leads: u64,
        setup: impl FnOnce() -> R + 'static,
    ) -> Self {
        Self { name: name.into(), leads, setup: Box::new(|| Box::new(setup())) }
    }

    /// Sets it up. Only then does it cost anything, so that no case disturbs another.
    pub fn ready(self) -> Run {
        (self.setup)()
    }
}

/// All cases, in the order of the reports.
pub fn all() -> Vec<Case> {
    one_thread_per_product();
    let mut cases = served::cases();
    cases.extend(trees::cases());
    cases.extend(spec::cases());
    cases.extend(reasons::cases());
    cases
}

/// As `main` does: without it candle reads /proc/cpuinfo before every product.
#[expect(unsafe_code, reason = "the only way to set it; no other thread exists yet")]
fn one_thread_per_product() {
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
}
