//! Nothing is left after thousands of predictions, and every call is made in a pool.

use crate::house::{House, inputs, shared};
use ballast_backend::{Predictor, Pulse};
use ballast_coreml::{Canary, CoreMlOptions, PredictApi};
use coreml_simulator::{calls, deallocator_calls, late_work_is_done, live, set_pools, start};
use std::sync::Arc;

/// Fewer where every call is slow: under valgrind.
fn n_predictions() -> usize {
    std::env::var("COREML_SIMULATOR_PREDICTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

#[test]
fn predictions_leave_nothing_behind() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let at_first = live();
    let mut model = house.open();
    let (inputs, mut outputs, pulse) = (inputs(&[1.0, 2.0, 3.0, 4.0]), Default::default(), Pulse::new());
    model.predict(&inputs, &mut outputs, &pulse).unwrap();
    late_work_is_done();
    let (opened, freed) = (live(), deallocator_calls());
    let n = n_predictions();
    for _ in 0..n {
        model.predict(&inputs, &mut outputs, &pulse).unwrap();
    }
    late_work_is_done();
    assert_eq!(live(), opened, "objects are left after {n} predictions");
    assert_eq!(deallocator_calls() - freed, n as u64, "each input is let go exactly once");
    drop(model);
    assert_eq!(live(), at_first, "the model is left");
    let (calls, bare) = calls();
    assert!(calls > 10 * n as u64, "{calls}");
    assert_eq!(bare, 0, "{bare} of {calls} calls were made outside of a pool");
}

#[test]
fn the_blocking_interface_and_batches_leave_nothing_behind() {
    let _turn = start();
    let house = House::new(CoreMlOptions { api: PredictApi::Blocking, ..CoreMlOptions::default() });
    let mut model = house.open();
    let (inputs, pulse) = (shared(&[1.0, 2.0, 3.0, 4.0]), Pulse::new());
    model.predict_shared(&inputs, &pulse).unwrap();
    late_work_is_done();
    let opened = live();
    for _ in 0..n_predictions() / 20 {
        model.predict_shared(&inputs, &pulse).unwrap();
        assert_eq!(model.predict_batch(&[inputs.clone(), inputs.clone()], &pulse).unwrap().len(), 2);
    }
    assert_eq!(live(), opened);
    assert_eq!(calls().1, 0);
    assert!(inputs.values().all(|tensor| Arc::strong_count(tensor) == 1), "a tensor is still lent");
}

#[test]
fn opening_planning_and_looking_around_leave_nothing_behind() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    drop(house.open());
    late_work_is_done();
    let at_first = live();
    for _ in 0..20 {
        drop(house.open());
        house.engine.compute_plan(&house.prepared()).unwrap();
        assert_eq!(ballast_coreml::devices().len(), 3);
        assert_eq!(ballast_coreml::machine_facts().devices.len(), 3);
    }
    late_work_is_done();
    assert_eq!(live(), at_first);
    assert_eq!(calls().1, 0);
}

#[test]
fn without_pools_every_call_leaves_objects_behind() {
    let _turn = start();
    let house = House::new(CoreMlOptions { canary: Canary::Skip, ..CoreMlOptions::default() });
    let mut model = house.open();
    let (inputs, pulse) = (shared(&[1.0, 2.0, 3.0, 4.0]), Pulse::new());
    model.predict_shared(&inputs, &pulse).unwrap();
    late_work_is_done();
    let (opened, bare) = (live(), calls().1);
    set_pools(false);
    for _ in 0..20 {
        model.predict_shared(&inputs, &pulse).unwrap();
    }
    late_work_is_done();
    set_pools(true);
    let left = live() - opened;
    assert!(left >= 20 * 3, "only {left} objects were left: the other tests prove nothing");
    assert!(calls().1 > bare);
}
