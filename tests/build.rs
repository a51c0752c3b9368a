//! Tells the tests what is at hand. What is tested with something that is missing is ignored, and the test runner says so.

use std::path::Path;

/// What some tests need: its name as a `cfg`, and where it is.
const NEEDS: [(&str, &str); 2] = [("captures", "../../shared/data/pcap"), ("fuse", "/dev/fuse")];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for (name, path) in NEEDS {
        println!("cargo:rerun-if-changed={path}");
        println!("cargo:rustc-check-cfg=cfg({name})");
        if Path::new(path).exists() {
            println!("cargo:rustc-cfg={name}");
        }
    }
}
