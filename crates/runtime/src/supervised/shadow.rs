//! Comparison while serving: some answers of a link are computed again by the next one, which counts as right.
//!
//! Drawn answers are compared on a thread of their own, after the caller has its answer. An answer that decides whether
//! a breaker closes again which had opened over parity is compared first: until then the engine is known to be wrong.

use super::Shared;
use super::block_on::block_on;
use super::error::PredictFault;
use super::link::{Answer, Ask, Ready};
use super::options::{LiveParity, SHADOW_RANK};
use crate::breaker::Parity;
use crate::events::ParityMeasured;
use crate::parity::{LiveVerdict, ParityError, ParityTally, Shadow, ShadowOutcome, Tolerances, compare_tensors};
use ballast_backend::TensorMap;
use std::sync::{Arc, Weak};
use std::thread::Builder;
use std::time::Duration;

impl Shared {
    /// Compares an answer of link `idx` later, if it is drawn.
    pub(super) fn shadow(&self, idx: usize, ask: &Ask, answer: &Answer) {
        let Some(parity) = self.options.parity else { return };
        let Ok(ready) = self.links[idx].ready() else { return };
        if self.reference(idx).is_none() {
            return;
        }
        let now = self.parts.clock.now();
        let drawn = ready.sampler().map(|mut sampler| sampler.decide(ask.number, now));
        if drawn != Some(Shadow::Run) {
            return;
        }
        let task = Comparison {
            shared: Weak::clone(&self.me),
            idx,
            ask: Ask { rank: SHADOW_RANK, ..ask.clone() },
            outputs: answer.outputs.copied(),
            tolerances: parity.tolerances,
            limit: now.saturating_add(parity.live.running_max),
        };
        let number = ask.number;
        if let Err(error) = Builder::new().name("ballast-shadow".to_owned()).spawn(move || task.run()) {
            tracing::warn!(%error, "the system refused a comparison its thread");
            ready.sampler().map(|mut sampler| sampler.finish(number, ShadowOutcome::Failed));
        }
    }

    /// The link that answers of link `idx` are compared with: the next one that can be asked.
    pub(super) fn reference(&self, idx: usize) -> Option<&Ready> {
        let usable = self.links[idx + 1..].iter().find(|link| link.is_usable())?;
        usable.ready().ok()
    }

    /// An answer that must be compared before it is given.
    ///
    /// # Errors
    /// If it differs too much, or the reference does not answer.
    pub(super) async fn verified(
        &self,
        idx: usize,
        ask: &Ask,
        answer: Answer,
        deadline: Duration,
    ) -> Result<Answer, PredictFault> {
        let ready = self.links[idx].ready()?;
        let reference = self.reference(idx).ok_or_else(|| PredictFault::Unverified(Box::new(PredictFault::AllLost)))?;
        let compared = reference.attempt(ask, deadline).await.end;
        let expected = compared.map_err(|fault| PredictFault::Unverified(Box::new(fault)))?;
        let Some(LiveParity { tolerances, .. }) = self.options.parity else { return Ok(answer) };
        let is_within = self.compare(ready, &expected.outputs.copied(), &answer.outputs.copied(), tolerances);
        let parity = if is_within { Parity::Within } else { Parity::Exceeded };
        ready.breaker.observe_parity(parity, self.parts.clock.now());
        if is_within { Ok(answer) } else { Err(PredictFault::Parity) }
    }

    /// Whether `candidate` keeps the tolerances. Outputs that cannot be compared do not.
    pub(super) fn compare(
        &self,
        ready: &Ready,
        reference: &TensorMap,
        candidate: &TensorMap,
        tolerances: Tolerances,
    ) -> bool {
        let judged = ParityTally::new(tolerances).and_then(|mut tally| tally.add_outputs(reference, candidate));
        let is_within = judged.unwrap_or_else(|error| {
            tracing::error!(%error, "two engines' answers cannot be compared");
            false
        });
        let linf = largest_difference(reference, candidate).unwrap_or(f64::INFINITY);
        #[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is what is wanted")]
        let linf = linf as f32;
        self.parts.telemetry.emit(&ParityMeasured { engine: ready.crew.engine, linf, exceeded: !is_within });
        is_within
    }
}

fn largest_difference(reference: &TensorMap, candidate: &TensorMap) -> Result<f64, ParityError> {
    reference.iter().try_fold(0.0_f64, |largest, (name, expected)| {
        let got = candidate.get(name).ok_or_else(|| ParityError::OutputMissing { name: name.clone() })?;
        Ok(largest.max(compare_tensors(name, expected, got)?.l_inf))
    })
}

/// A comparison on its thread.
struct Comparison {
    shared: Weak<Shared>,
    idx: usize,
    ask: Ask,
    outputs: TensorMap,
    tolerances: Tolerances,
    limit: Duration,
}

impl Comparison {
    fn run(self) {
        let Some(shared): Option<Arc<Shared>> = self.shared.upgrade() else { return };
        let Ok(ready) = shared.links[self.idx].ready() else { return };
        let watched = shared.keeper.begin_beside();
        let outcome = match shared.reference(self.idx) {
            Some(reference) => match block_on(reference.attempt(&self.ask, self.limit)).end {
                Ok(expected) if shared.compare(ready, &expected.outputs.copied(), &self.outputs, self.tolerances) => {
                    ShadowOutcome::Within
                }
                Ok(_) => ShadowOutcome::Exceeded,
                Err(_) => ShadowOutcome::Failed,
            },
            None => ShadowOutcome::Failed,
        };
        drop(watched);
        let Some(mut sampler) = ready.sampler() else { return };
        let verdict = sampler.finish(self.ask.number, outcome);
        if matches!(verdict, LiveVerdict::Exceeded { .. }) {
            // What was seen is used up: after the breaker has closed again, comparisons count anew.
            sampler.forget();
            drop(sampler);
            ready.breaker.observe_parity(Parity::Exceeded, shared.parts.clock.now());
        }
    }
}
