//! Tells the linker which functions a sidecar runs (`.cargo/order.ld`), so that they lie side by side and the rest of the
//! program is not resident with them.

use std::{env, path::Path};

fn main() {
    let script = ".cargo/order.ld";
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|is| is == value);
    println!("cargo::rerun-if-env-changed=LEADWIRE_ORDER");
    // Whoever links in another way has perhaps a linker that knows no such scripts.
    let is_usual = env::var_os("RUSTC_LINKER").is_none()
        && !env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    let is_wanted = is_usual && !is("LEADWIRE_ORDER", "0");
    let script = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(script);
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") && is_wanted && script.is_file() {
        println!("cargo::rustc-link-arg-bin=leadwire=-T{}", script.display());
    }
}
