//! A house of models, simulated: the real `ModelHouse`, in which every model has a real `InstancePool`, without a thread
//! and in virtual time.
//!
//! Visitors take a lease of a model and a permit of its pool, use an instance, and go; meanwhile models are loaded,
//! evicted, swapped and unloaded. Loads and drops are carried out when their time has come, the pools' timers are turned
//! by hand, instances and loaders are played. A seed decides everything:
//!
//! ```text
//! BALLAST_SEED=7 cargo test -p ballast-runtime --lib simulation::house::tests::replays_a_seed -- --nocapture
//! ```

mod checks;
mod ledger;
mod played;
mod scenario;
mod tests;
mod visit;
mod world;
