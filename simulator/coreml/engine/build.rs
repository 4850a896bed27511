//! Tells the source that the simulator's classes stand in for Apple's.

fn main() {
    println!("cargo:rustc-cfg=coreml_simulator");
}
