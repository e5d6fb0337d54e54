//! Parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;

// As fast as the system's allocator here, with less memory per connection.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    one_thread_per_product();
    leadwire::cli::Cli::parse().run()
}

/// Without this setting candle counts the processor's cores before every matrix product, by reading a file: 100 µs each.
/// More threads would not help either; its products here are small, and the result would depend on their number.
#[expect(
    unsafe_code,
    reason = "the only way to set it; no other thread exists yet that could read the environment"
)]
fn one_thread_per_product() {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    }
}
