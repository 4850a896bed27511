//! What is measured while nothing else runs: how soon a cancelled request leaves the engine idle, what a conversation
//! computes again, and whether tenants see each other's prefixes.

use super::processes::cpu_ticks;
use super::traffic::{Dice, tenant_id};
use crate::{Engine, Event, Generate, Prompt, SystemClock, TenantId, TokenId, TokenStream};
use ballast_backend::Clock;
use ballast_runtime::{EngineState, Health};
use ballast_tokens::SamplingParams;
use std::time::Duration;

/// Turns of the conversation.
pub(super) const TURNS: usize = 20;
/// Longest wait for something that must happen.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest wait for something that passes: an engine may be too quick to be met in it.
const MEET_MAX: Duration = Duration::from_secs(1);
const WAIT_STEP: Duration = Duration::from_millis(1);
/// How long CPU time is looked at while nothing runs.
const IDLE_TIME: Duration = Duration::from_secs(2);
/// Ticks of CPU time in a second, as Linux tells them.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the probes found; `None`: not measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probes {
    /// From the cancellation of a request that waits, whose prompt is run, that is answered, until what it had is free.
    pub(super) cancel: [Option<Duration>; 3],
    /// Time of one step with as many tokens as one may have.
    pub(super) step: Option<Duration>,
    /// CPU time while nothing runs, in percent of one CPU.
    pub(super) idle_cpu_pct: Option<f64>,
    /// Prompt tokens of a conversation that were known and computed again, after the first turn, in percent.
    pub(super) recomputed_pct: Option<f64>,
    /// Cached tokens of a tenant that asked first, again, and of another that asked the same.
    pub(super) cached: Option<CachedTokens>,
    /// Nothing runs or waits, and every block is free.
    pub(super) is_idle: bool,
}

/// Prompt tokens found computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CachedTokens {
    pub(super) same_tenant: usize,
    pub(super) other_tenant: usize,
}

/// Runs prompts until every KV block was used once, so that memory which the system gives at first use does not look
/// like growth.
pub(super) fn fill_kv(engine: &Engine, clock: &SystemClock) {
    let shape = engine.runtime().shape();
    let n_tokens = (shape.context_len / 2).min(2 * shape.max_batch_tokens).max(1);
    let n_rounds = (shape.n_blocks * shape.block_len).div_ceil(n_tokens) + 1;
    let prober = Prober { engine, clock: *clock };
    for round in 0..n_rounds {
        let Some(stream) = prober.ask(prober.fresh(n_tokens, round as u64), 1) else { return };
        finish(stream);
    }
}

/// All probes, one after the other.
pub(super) fn run(engine: &Engine, clock: &SystemClock) -> Probes {
    let prober = Prober { engine, clock: *clock };
    // What a blow has taken is replaced when it is next needed.
    prober.ask(prober.fresh(1, 999), 1).into_iter().for_each(finish);
    let step = prober.step();
    let cancel = [prober.cancel_in_the_queue(), prober.cancel_in_prefill(), prober.cancel_in_decode()];
    let is_idle = prober.until(is_idle).is_some();
    Probes {
        cancel,
        step,
        idle_cpu_pct: prober.idle_cpu_pct(),
        recomputed_pct: recomputed_pct(engine),
        cached: prober.cached(),
        is_idle,
    }
}

struct Prober<'a> {
    engine: &'a Engine,
    clock: SystemClock,
}

impl Prober<'_> {
    /// Tokens that nobody has asked before.
    fn fresh(&self, n_tokens: usize, seed: u64) -> Vec<TokenId> {
        let (mut dice, vocab_size) = (Dice::new(seed), self.engine.runtime().shape().vocab_size as u64);
        let token = |_| TokenId(u32::try_from(dice.below(vocab_size)).unwrap_or(0));
        (0..n_tokens).map(token).collect()
    }

    fn ask_as(&self, tenant: TenantId, prompt: Vec<TokenId>, max_tokens: usize) -> Option<TokenStream> {
        let generate = Generate {
            prompt: Prompt::Tokens(prompt),
            sampling: SamplingParams::greedy(),
            max_tokens: Some(max_tokens),
            ignore_eos: true,
            tenant,
            ..Generate::default()
        };
        self.engine.stream(&generate).ok()
    }

    fn ask(&self, prompt: Vec<TokenId>, max_tokens: usize) -> Option<TokenStream> {
        self.ask_as(tenant_id(90), prompt, max_tokens)
    }

    /// Waits until the runtime is as told; how long that took.
    fn until(&self, is_so: impl Fn(&Health) -> bool) -> Option<Duration> {
        self.within(WAIT_MAX, is_so)
    }

    fn within(&self, wait_max: Duration, is_so: impl Fn(&Health) -> bool) -> Option<Duration> {
        let start = self.clock.now();
        loop {
            let waited = self.clock.now() - start;
            if is_so(&self.engine.runtime().health()) {
                return Some(waited);
            }
            if waited >= wait_max {
                return None;
            }
            std::thread::sleep(WAIT_STEP);
        }
    }

    fn step(&self) -> Option<Duration> {
        let shape = self.engine.runtime().shape();
        let n_tokens = shape.max_batch_tokens.min(shape.context_len - 1);
        let mut stream = self.ask(self.fresh(n_tokens, 1000), 1)?;
        while let Some(event) = stream.next_blocking() {
            if let Event::Done(summary) = event {
                return Some(summary.timings.time_to_first_token?.saturating_sub(summary.timings.queue));
            }
        }
        None
    }

    fn cancel_in_the_queue(&self) -> Option<Duration> {
        self.until(is_idle)?;
        let n_slots = self.engine.runtime().shape().max_batch_sequences;
        let fillers: Vec<_> = (0..n_slots).map(|idx| self.ask(self.fresh(4, 2000 + idx as u64), 100)).collect();
        self.until(|health| health.active_sequences == n_slots)?;
        let waiting = self.ask(self.fresh(4, 3000), 100)?;
        self.until(|health| health.waiting_requests == 1)?;
        waiting.canceller().cancel();
        let took = self.until(|health| health.waiting_requests == 0)?;
        drop(fillers);
        Some(took)
    }

    fn cancel_in_prefill(&self) -> Option<Duration> {
        self.until(is_idle)?;
        let shape = self.engine.runtime().shape();
        let n_tokens = (4 * shape.max_batch_tokens).min(shape.context_len - 1);
        let stream = self.ask(self.fresh(n_tokens, 4000), 100)?;
        self.within(MEET_MAX, |health| health.active_sequences == 1 && is_stepping(health))?;
        stream.canceller().cancel();
        self.until(is_idle)
    }

    fn cancel_in_decode(&self) -> Option<Duration> {
        self.until(is_idle)?;
        let mut stream = self.ask(self.fresh(8, 5000), 1000)?;
        for _ in 0..3 {
            stream.next_blocking()?;
        }
        stream.canceller().cancel();
        self.until(is_idle)
    }

    fn idle_cpu_pct(&self) -> Option<f64> {
        let (before, start) = (cpu_ticks()?, self.clock.now());
        std::thread::sleep(IDLE_TIME);
        let seconds = (self.clock.now() - start).as_secs_f64();
        Some((cpu_ticks()?.saturating_sub(before)) as f64 / TICKS_PER_SECOND / seconds * 100.0)
    }

    fn cached(&self) -> Option<CachedTokens> {
        let shape = self.engine.runtime().shape();
        let prompt = self.fresh((4 * shape.block_len + 1).min(shape.context_len - 1), 6000);
        let cached = |tenant: u64| {
            let mut stream = self.ask_as(tenant_id(tenant), prompt.clone(), 1)?;
            loop {
                if let Event::Done(summary) = stream.next_blocking()? {
                    return Some(summary.usage.cached_tokens);
                }
            }
        };
        cached(91)?;
        Some(CachedTokens { same_tenant: cached(91)?, other_tenant: cached(92)? })
    }
}

/// Share of the prompt tokens after the first turn that were known, being of the turn before or of its answer, and were
/// computed again, in percent; `None` if the conversation does not come to its end.
fn recomputed_pct(engine: &Engine) -> Option<f64> {
    let settings = Generate {
        sampling: SamplingParams::greedy(),
        max_tokens: Some(24),
        tenant: tenant_id(93),
        ..Generate::default()
    };
    let mut session = engine.chat_session(settings);
    let (mut n_known, mut n_recomputed, mut n_prompt) = (0, 0, 0);
    for turn in 0..TURNS {
        let usage = session.send(&format!("Question {turn}: what is the number after {turn}?")).ok()?.finish().usage;
        if turn > 0 {
            n_prompt += usage.prompt_tokens;
            n_recomputed += usage.prompt_tokens.min(n_known).saturating_sub(usage.cached_tokens);
        }
        n_known = usage.prompt_tokens + usage.completion_tokens;
    }
    (n_prompt > 0).then(|| n_recomputed as f64 * 100.0 / n_prompt as f64)
}

fn finish(mut stream: TokenStream) {
    while stream.next_blocking().is_some() {}
}

fn is_stepping(health: &Health) -> bool {
    health.engines.iter().any(|engine| engine.state == EngineState::Stepping)
}

fn is_idle(health: &Health) -> bool {
    let is_free = |engine: &ballast_runtime::EngineHealth| {
        engine.active_sequences == 0
            && engine.available_blocks == engine.blocks
            && matches!(engine.state, EngineState::Ready | EngineState::Down)
    };
    health.waiting_requests == 0 && health.engines.iter().all(is_free)
}
