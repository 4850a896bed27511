//! Where the libraries of GNUstep lie: in the folder that scripts/coreml-simulator.sh fills.

fn main() {
    println!("cargo:rerun-if-env-changed=COREML_SIMULATOR_LIBRARIES");
    if let Ok(folder) = std::env::var("COREML_SIMULATOR_LIBRARIES") {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
        // GNUstep's library has a stand-in for the blocks runtime that does nothing, so the real one comes first.
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed,-lBlocksRuntime,--as-needed");
    }
}
