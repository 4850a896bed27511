//! Whether a model fits before it is loaded.

use crate::{Error, Finding};
use ballast_backend::ReasonCode;
use ballast_llm::MemoryPlan;

/// A plan above this share of the budget is told as close to it, in percent.
const SOFT_LIMIT_PERCENT: u64 = 90;

/// What happens when the plan is larger than the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetMode {
    /// Nothing is checked.
    None,
    /// The KV cache is made smaller until the plan fits; if it cannot, loading goes on. Both are reported with
    /// `MEMORY_BUDGET_SOFT_LIMIT`.
    #[default]
    BestEffort,
    /// Loading is refused with `MEMORY_BUDGET_EXCEEDED`.
    Strict,
}

/// A bound on what a model may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBudget {
    /// What happens above it.
    pub mode: BudgetMode,
    /// Bytes; `None`: what the machine and the process's cgroup leave.
    pub bytes: Option<u64>,
}

impl MemoryBudget {
    /// Decides whether `plan` may be loaded under a budget of `limit` bytes.
    ///
    /// # Errors
    /// In strict mode, if it is larger.
    pub(crate) fn check(self, plan: &MemoryPlan, limit: u64) -> Result<Option<Finding>, Error> {
        let needed_bytes = plan.total_bytes();
        let near = u128::from(needed_bytes) * 100 > u128::from(limit) * u128::from(SOFT_LIMIT_PERCENT);
        match self.mode {
            BudgetMode::None => Ok(None),
            BudgetMode::Strict if needed_bytes > limit => {
                Err(Error::MemoryBudgetExceeded { needed_bytes, budget_bytes: limit })
            }
            BudgetMode::Strict | BudgetMode::BestEffort => Ok(near.then(|| {
                let detail = format!("the plan takes {needed_bytes} of {limit} bytes");
                Finding { code: ReasonCode::MemoryBudgetSoftLimit, detail }
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BudgetMode, MemoryBudget};
    use ballast_backend::ReasonCode;
    use ballast_llm::MemoryPlan;

    #[test]
    fn modes_decide_as_documented() {
        let plan = MemoryPlan { weights_bytes: 60, mapped_bytes: 0, kv_bytes: 30, scratch_bytes: 10 };
        let outcome = |mode, limit| {
            let checked = MemoryBudget { mode, bytes: None }.check(&plan, limit);
            checked.map(|finding| finding.map(|f| f.code)).map_err(|error| error.reason())
        };
        let soft = Ok(Some(ReasonCode::MemoryBudgetSoftLimit));
        assert_eq!(outcome(BudgetMode::None, 1), Ok(None));
        assert_eq!(outcome(BudgetMode::BestEffort, 99), soft);
        assert_eq!(outcome(BudgetMode::BestEffort, 105), soft);
        assert_eq!(outcome(BudgetMode::BestEffort, 200), Ok(None));
        assert_eq!(outcome(BudgetMode::Strict, 99), Err(Some(ReasonCode::MemoryBudgetExceeded)));
        assert_eq!(outcome(BudgetMode::Strict, 100), soft);
        assert_eq!(outcome(BudgetMode::Strict, 200), Ok(None));
    }
}
