//! Tells the tests whether the captures of others are at hand beside the project: without them, what is tested with them is ignored, and
//! the test runner says so.

fn main() {
    let folder = "../../shared/data/pcap";
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={folder}");
    println!("cargo:rustc-check-cfg=cfg(captures)");
    if std::path::Path::new(folder).is_dir() {
        println!("cargo:rustc-cfg=captures");
    }
}
