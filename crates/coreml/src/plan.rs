//! Which unit Core ML plans to run which operation on. It is a plan: where the work ran is not measured by anybody.

use crate::DeviceKind;
use ballast_backend::Dispatch;
use serde::Serialize;

/// One operation of a model's program. Constants are none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedOperation {
    /// Its name in the model's language, such as `ios17.conv`.
    pub operator: String,
    /// The unit that Core ML prefers for it; `None`: it does not say, as for constants.
    pub preferred: Option<DeviceKind>,
    /// Units that could run it.
    pub supported: Vec<DeviceKind>,
    /// Core ML's estimate of its share of the whole cost, 0 to 1; `None`: it does not say.
    pub cost: Option<f64>,
}

/// Shares by unit, in percent, together 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Neural engine.
    pub ane_pct: f32,
    /// GPU.
    pub gpu_pct: f32,
    /// CPU.
    pub cpu_pct: f32,
}

impl Shares {
    /// As the engines' vocabulary has them.
    #[must_use]
    pub fn dispatch(self) -> Dispatch {
        Dispatch { ane: self.ane_pct / 100.0, gpu: self.gpu_pct / 100.0, cpu: self.cpu_pct / 100.0 }
    }
}

/// What Core ML plans for a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PlanReport {
    /// Always "planned".
    pub basis: &'static str,
    /// Every operation that Core ML names a unit for.
    pub n_operations: usize,
    /// Operations without a unit: constants, mostly.
    pub n_unplaced: usize,
    /// Shares by number of operations; `None` where there is none with a unit.
    pub by_count: Option<Shares>,
    /// Shares by estimated cost; `None` where Core ML estimates none.
    pub by_cost: Option<Shares>,
    /// Share of operations that the neural engine could run, in percent.
    pub ane_supported_pct: Option<f32>,
    /// Operators that do not go to the neural engine, and how many of each, the most first.
    pub off_ane: Vec<(String, usize)>,
}

impl PlanReport {
    /// Sums up a plan.
    #[must_use]
    pub fn new(operations: &[PlannedOperation]) -> Self {
        let placed: Vec<_> = operations.iter().filter(|op| op.preferred.is_some()).collect();
        let off = placed.iter().filter(|op| op.preferred != Some(DeviceKind::NeuralEngine));
        let mut off_ane: Vec<(String, usize)> = Vec::new();
        for op in off {
            match off_ane.iter_mut().find(|(name, _)| *name == op.operator) {
                Some((_, n)) => *n += 1,
                None => off_ane.push((op.operator.clone(), 1)),
            }
        }
        off_ane.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let supported: Vec<_> = placed
            .iter()
            .map(|op| if op.supported.contains(&DeviceKind::NeuralEngine) { (1.0, true) } else { (1.0, false) })
            .collect();
        Self {
            basis: "planned",
            n_operations: placed.len(),
            n_unplaced: operations.len() - placed.len(),
            by_count: shares(placed.iter().map(|op| (op.preferred, 1.0))),
            by_cost: shares(placed.iter().map(|op| (op.preferred, op.cost.unwrap_or(0.0)))),
            ane_supported_pct: percent(supported.iter().copied()),
            off_ane,
        }
    }

    /// Shares by cost, or where Core ML estimates none, by count.
    #[must_use]
    pub fn dispatch(&self) -> Option<Dispatch> {
        self.by_cost.or(self.by_count).map(Shares::dispatch)
    }
}

fn shares(weights: impl Iterator<Item = (Option<DeviceKind>, f64)> + Clone) -> Option<Shares> {
    let of = |kind: DeviceKind| percent(weights.clone().map(|(unit, weight)| (weight, unit == Some(kind))));
    Some(Shares {
        ane_pct: of(DeviceKind::NeuralEngine)?,
        gpu_pct: of(DeviceKind::Gpu)?,
        cpu_pct: of(DeviceKind::Cpu)?,
    })
}

/// The share of the weights that count, in percent; `None` where all are zero.
fn percent(weights: impl Iterator<Item = (f64, bool)>) -> Option<f32> {
    let (all, counted) = weights.fold((0.0, 0.0), |(all, counted), (weight, counts)| {
        (all + weight, if counts { counted + weight } else { counted })
    });
    #[expect(clippy::cast_possible_truncation, reason = "a percentage needs no more digits")]
    (all > 0.0).then(|| (counted / all * 100.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(operator: &str, preferred: Option<DeviceKind>, cost: Option<f64>) -> PlannedOperation {
        PlannedOperation { operator: operator.to_owned(), preferred, supported: vec![DeviceKind::Cpu], cost }
    }

    #[test]
    fn shares_count_operations_and_cost_and_leave_constants_out() {
        let ane = Some(DeviceKind::NeuralEngine);
        let mut conv = op("conv", ane, Some(0.9));
        conv.supported.push(DeviceKind::NeuralEngine);
        let operations = [
            op("const", None, None),
            conv,
            op("gather", Some(DeviceKind::Cpu), Some(0.05)),
            op("gather", Some(DeviceKind::Cpu), Some(0.05)),
            op("relu", Some(DeviceKind::Gpu), None),
        ];
        let plan = PlanReport::new(&operations);
        assert_eq!((plan.n_operations, plan.n_unplaced, plan.basis), (4, 1, "planned"));
        assert_eq!(plan.by_count, Some(Shares { ane_pct: 25.0, gpu_pct: 25.0, cpu_pct: 50.0 }));
        let cost = plan.by_cost.unwrap();
        assert!((cost.ane_pct - 90.0).abs() < 1e-3 && (cost.cpu_pct - 10.0).abs() < 1e-3, "{cost:?}");
        assert_eq!(plan.ane_supported_pct, Some(25.0));
        assert_eq!(plan.off_ane, [("gather".to_owned(), 2), ("relu".to_owned(), 1)]);
        assert!((plan.dispatch().unwrap().ane - 0.9).abs() < 1e-5);
    }

    #[test]
    fn what_core_ml_does_not_say_is_none() {
        let plan = PlanReport::new(&[op("const", None, None)]);
        assert_eq!((plan.by_count, plan.by_cost, plan.ane_supported_pct), (None, None, None));
        assert_eq!(plan.dispatch(), None);
        assert_eq!(PlanReport::new(&[op("relu", Some(DeviceKind::Cpu), None)]).by_cost, None);
    }
}
