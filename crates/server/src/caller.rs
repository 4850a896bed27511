//! Who asks, what it may do, and what it may use up.

use crate::api_error::{ApiError, Refusal};
use crate::key_store::KeyTerms;
use crate::limits::{Account, CallerLimits, Refused, Reservation, Seat, Standings};
use crate::scope::Scope;
use crate::trail::Trail;
use ballast_runtime::{Event, TenantId};
use std::net::IpAddr;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The identifier of its key, or a token's subject; `None` where no key is asked for.
    pub(crate) id: Option<Arc<str>>,
    /// Whose requests they are.
    pub(crate) tenant: TenantId,
    /// What it may do; `None`: everything, within the server's limits.
    pub(crate) terms: Option<Arc<KeyTerms>>,
    pub(crate) address: Option<IpAddr>,
}

impl Caller {
    /// # Errors
    /// If it may not.
    pub(crate) fn check_scope(&self, scope: Scope) -> Result<(), Refusal> {
        let is_allowed = self.terms.as_ref().is_none_or(|terms| terms.scopes.contains(&scope));
        if is_allowed { Ok(()) } else { Err(Refusal::Scope { needed: scope }) }
    }

    /// # Errors
    /// If it may not use `model`.
    pub(crate) fn check_model(&self, model: &str) -> Result<(), Refusal> {
        let models = self.terms.as_ref().and_then(|terms| terms.models.as_ref());
        let is_allowed = models.is_none_or(|models| models.iter().any(|allowed| allowed == model));
        if is_allowed { Ok(()) } else { Err(Refusal::Model) }
    }

    /// Whose account its requests are put on.
    pub(crate) fn account(&self) -> Account {
        match (&self.id, self.address) {
            (Some(id), _) => Account::Key(Arc::clone(id)),
            (None, Some(address)) => Account::of_address(address),
            (None, None) => Account::Others,
        }
    }

    /// Its own limits, and where it has none, the server's.
    pub(crate) fn limits(&self, server: CallerLimits) -> CallerLimits {
        self.terms.as_ref().map(|terms| terms.limits).unwrap_or_default().or(server)
    }
}

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) caller: Caller,
    seat: Arc<Seat>,
    /// `None` where nobody keeps one.
    trail: Option<Arc<Trail>>,
}

/// Answers that a caller is given, and what they use up.
#[derive(Debug)]
pub(crate) struct Work {
    reservation: Reservation,
    trail: Option<Arc<Trail>>,
}

impl Work {
    /// Prompts were taken by `model`: they are work, whatever becomes of the answers.
    pub(crate) fn note_prompt(&mut self, model: &str, n_tokens: u64) {
        self.reservation.note(n_tokens);
        if let Some(trail) = &self.trail {
            trail.note_prompt(model, n_tokens);
        }
    }

    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Token(_) => {
                self.reservation.note(1);
                self.trail.iter().for_each(|trail| trail.note_token());
            }
            Event::Progress(_) => {}
            Event::Done(summary) => self.trail.iter().for_each(|trail| trail.note_end(summary)),
        }
    }
}

impl Visit {
    pub(crate) fn new(caller: Caller, seat: Seat, trail: Option<Arc<Trail>>) -> Self {
        Self { caller, seat: Arc::new(seat), trail }
    }

    /// Sets tokens aside for prompts, and for the answers they may have.
    ///
    /// # Errors
    /// If the caller has not as many.
    pub(crate) fn reserve(&self, prompt: u64, answer: u64) -> Result<Work, ApiError> {
        let reservation = Arc::clone(&self.seat).reserve(prompt, answer);
        let reservation = reservation.map_err(|refused| ApiError::of_tokens(refused, prompt))?;
        Ok(Work { reservation, trail: self.trail.clone() })
    }

    /// A model was asked that reads no tokens.
    pub(crate) fn note_model(&self, model: &str) {
        self.trail.iter().for_each(|trail| trail.note_prompt(model, 0));
    }

    pub(crate) fn standings(&self) -> Standings {
        self.seat.standings()
    }
}

impl ApiError {
    fn of_tokens(refused: Refused, got: u64) -> Self {
        use crate::api_error::Limited;
        match refused {
            Refused::Until(retry_after) => Limited::Tokens { retry_after }.into(),
            Refused::Never { limit } => Limited::TokensNever { limit, got }.into(),
            Refused::AtOnce { limit } => Limited::AtOnce { limit }.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn caller(scopes: &[Scope], models: Option<&[&str]>) -> Caller {
        let terms = KeyTerms {
            name: String::new(),
            tenant: TenantId::default(),
            scopes: scopes.iter().copied().collect::<BTreeSet<_>>(),
            models: models.map(|models| models.iter().map(|&model| model.to_owned()).collect()),
            expires: None,
            limits: CallerLimits::default(),
        };
        Caller { id: Some("k".into()), tenant: TenantId::default(), terms: Some(Arc::new(terms)), address: None }
    }

    #[test]
    fn a_caller_may_do_what_its_terms_say_and_nothing_else() {
        let one = caller(&[Scope::Read], Some(&["small"]));
        for scope in Scope::ALL {
            assert_eq!(one.check_scope(scope).is_ok(), scope == Scope::Read, "{scope}");
        }
        assert!(one.check_model("small").is_ok());
        assert_eq!(one.check_model("smal"), Err(Refusal::Model));
        assert!(caller(&[], None).check_model("any").is_ok());
        let anybody = Caller { id: None, tenant: TenantId::default(), terms: None, address: None };
        assert!(Scope::ALL.iter().all(|scope| anybody.check_scope(*scope).is_ok()));
    }
}
