//! How much each tenant was served: the virtual token counter of arXiv:2401.00588.

use crate::TenantId;
use std::collections::BTreeMap;

/// Most tenants without requests whose counters are kept.
const ABSENT_MAX: usize = 4096;
/// What a generated token counts; a prompt token counts one.
const SAMPLED_WEIGHT: u64 = 2;

#[derive(Debug, Default)]
struct Account {
    n_served: u64,
    n_requests: usize,
}

/// Served tokens by tenant. A tenant that comes back does not catch up on what it did not ask for: its counter starts
/// no lower than the lowest of those present.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    accounts: BTreeMap<TenantId, Account>,
    n_absent: usize,
}

impl Tenants {
    /// A request of the tenant has come.
    pub(crate) fn enter(&mut self, tenant: &TenantId) {
        let lowest = self.accounts.values().filter(|a| a.n_requests > 0).map(|a| a.n_served).min().unwrap_or(0);
        if !self.accounts.contains_key(tenant) {
            self.accounts.insert(tenant.clone(), Account::default());
            self.n_absent += 1;
        }
        let Some(account) = self.accounts.get_mut(tenant) else { return };
        if account.n_requests == 0 {
            account.n_served = account.n_served.max(lowest);
            self.n_absent -= 1;
        }
        account.n_requests += 1;
    }

    /// A request of the tenant has ended.
    pub(crate) fn leave(&mut self, tenant: &TenantId) {
        if let Some(account) = self.accounts.get_mut(tenant) {
            account.n_requests -= 1;
            self.n_absent += usize::from(account.n_requests == 0);
        }
        while self.n_absent > ABSENT_MAX {
            self.forget_one();
        }
    }

    /// `n_tokens` were run for the tenant, and one was sampled if `samples`.
    pub(crate) fn charge(&mut self, tenant: &TenantId, n_tokens: usize, samples: bool) {
        if let Some(account) = self.accounts.get_mut(tenant) {
            account.n_served += n_tokens as u64 + u64::from(samples) * SAMPLED_WEIGHT;
        }
    }

    pub(crate) fn served(&self, tenant: &TenantId) -> u64 {
        self.accounts.get(tenant).map_or(0, |account| account.n_served)
    }

    /// Forgets who is absent and was served least: who returns starts no lower than that anyway.
    fn forget_one(&mut self) {
        let absent = self.accounts.iter().filter(|(_, account)| account.n_requests == 0);
        if let Some(tenant) = absent.min_by_key(|(_, account)| account.n_served).map(|(tenant, _)| tenant.clone()) {
            self.accounts.remove(&tenant);
            self.n_absent -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ABSENT_MAX, Tenants};
    use crate::TenantId;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn who_comes_back_does_not_catch_up() {
        let mut tenants = Tenants::default();
        let (busy, rare) = (tenant("busy"), tenant("rare"));
        tenants.enter(&busy);
        tenants.charge(&busy, 100, true);
        tenants.enter(&rare);
        assert_eq!((tenants.served(&busy), tenants.served(&rare)), (102, 102));
        tenants.leave(&rare);
        tenants.charge(&busy, 50, false);
        tenants.enter(&rare);
        assert_eq!(tenants.served(&rare), 152);
    }

    #[test]
    fn tenants_that_are_gone_are_forgotten_in_the_end() {
        let mut tenants = Tenants::default();
        for idx in 0..ABSENT_MAX + 50 {
            let tenant = tenant(&idx.to_string());
            tenants.enter(&tenant);
            tenants.charge(&tenant, idx, false);
            tenants.leave(&tenant);
        }
        assert_eq!((tenants.accounts.len(), tenants.n_absent), (ABSENT_MAX, ABSENT_MAX));
    }
}
