//! The worker: Core ML, simulated, in a process of its own.

fn main() {
    assert!(ballast_worker::is_worker(std::env::args_os()), "this is a worker, which a test starts");
    let _turn = coreml_simulator::start();
    if let Err(error) = ballast_worker::serve(coreml_chain::open) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
