//! Allocations and bytes per lead of each case, counted: `cargo bench --bench allocations`. Fails where scoring allocates.

mod cases;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The system's allocator, counting what is asked of it.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one hands every call on as it came"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    /// Growing counts as one allocation of the new size.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(size as u64, Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Enough for reused memory to have grown to its size.
const WARM_UP: u64 = 16;
const RUNS: u64 = 256;

fn main() -> ExitCode {
    println!("{:>12} {:>12}  case", "allocations", "bytes");
    let mut scoring_allocates = false;
    for case in cases::all() {
        let (name, leads, mut run) = (case.name.clone(), case.leads, case.ready());
        (0..WARM_UP).for_each(|_| run());
        let before = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
        (0..RUNS).for_each(|_| run());
        let after = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
        let per_lead = |before: u64, after: u64| (after - before) as f64 / (RUNS * leads) as f64;
        let (allocations, bytes) = (per_lead(before.0, after.0), per_lead(before.1, after.1));
        println!("{allocations:>12.2} {bytes:>12.1}  {name}");
        scoring_allocates |= name.starts_with("score: ") && allocations > 0.0;
    }
    if scoring_allocates {
        eprintln!("scoring must not allocate");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
