//! Requests from arrival to end, as their readers see them.

use super::reader::{Around, Life, TICK};
use super::scenario::{Asked, CAPPED_TOKENS, Habit};
use super::station::{NAMES, Station};
use super::world::{Coming, World};
use crate::breaker::Position;
use crate::owner::usable;
use crate::{CorrelationId, EngineHealth, Event, FinishReason, Health, RuntimeError, Summary};
use ballast_backend::ReasonCode;

impl World<'_> {
    pub(super) fn arrive(&mut self) {
        let asked = self.scenario.ask(&mut self.dice);
        self.submit(asked);
        if let Some((_, patience)) = self.scenario.drain.filter(|(at, _)| *at == self.n_asked) {
            self.drain(patience);
        }
        if self.n_asked < self.scenario.n_requests {
            let at = self.now + self.scenario.gap(&mut self.dice);
            self.expect(at, Coming::Arrival);
        }
    }

    pub(super) fn submit(&mut self, mut asked: Asked) {
        let who = self.lives.len();
        asked.request.correlation = Some(CorrelationId::from_number(who as u64));
        let cap = (asked.request.tenant.as_str() == "capped").then_some(CAPPED_TOKENS);
        let mut life = Box::new(Life::new(who, &asked, cap, self.now, &self.woken));
        self.n_asked += 1;
        let before = self.runtime.health();
        match self.runtime.submit(asked.request) {
            Ok(stream) => {
                self.trace.note(self.now, "taken: request", who, life.n_prompt as u64);
                self.check_open_ends(life.n_prompt);
                assert!(self.drained_at.is_none(), "request {who} was taken while draining");
                assert_ne!(life.tenant.as_str(), "blocked", "request {who} was to be blocked");
                (life.canceller, life.stream) = (stream.canceller(), Some(stream));
                self.lives.push(Some(life));
                self.begin_reading(who);
            }
            Err(error) => {
                self.check_refusal(&life, &error, &before);
                if matches!(error, RuntimeError::CircuitOpen { .. }) {
                    self.check_open_ends(life.n_prompt);
                }
                let word = error.reason().map_or("invalid", ReasonCode::as_str);
                *self.tally.ends.entry(format!("refused {word}")).or_default() += 1;
                self.lives.push(None);
            }
        }
    }

    pub(super) fn begin_reading(&mut self, who: usize) {
        let Some(life) = &self.lives[who] else { return };
        match life.habit {
            Habit::LeavesAfter(after) => self.expect(self.now + after, Coming::Leave(who)),
            Habit::CancelsAfter(after) => self.expect(self.now + after, Coming::Cancel(who)),
            Habit::Prompt | Habit::Slow(_) | Habit::Stalls(_) | Habit::LeavesAt(_) => {}
        }
        self.on_woken(who);
    }

    pub(super) fn on_woken(&mut self, who: usize) {
        let Some(life) = &self.lives[who] else { return };
        match life.habit {
            Habit::Slow(pause) => self.expect(self.now + pause, Coming::Read(who)),
            Habit::Prompt | Habit::Stalls(_) | Habit::LeavesAt(_) | Habit::LeavesAfter(_) | Habit::CancelsAfter(_) => {
                self.read(who);
            }
        }
    }

    /// Reads what there is, as the reader does.
    pub(super) fn read(&mut self, who: usize) {
        loop {
            let Some(life) = self.lives[who].as_mut().filter(|life| life.stream.is_some()) else { return };
            match life.habit {
                Habit::Stalls(n) if life.n_read >= n => {
                    life.stalled_at.get_or_insert(self.now);
                    return;
                }
                Habit::LeavesAt(n) if life.n_read >= n => return self.leave(who),
                Habit::Prompt | Habit::Slow(_) | Habit::Stalls(_) => {}
                Habit::LeavesAfter(_) | Habit::LeavesAt(_) | Habit::CancelsAfter(_) => {}
            }
            let Some(event) = life.poll() else { return };
            match event {
                Event::Token(token) => life.check_token(&token, self.now),
                Event::Progress(_) => {}
                Event::Done(summary) => return self.end(who, &summary),
            }
            if let Habit::Slow(pause) = life.habit {
                return self.expect(self.now + pause, Coming::Read(who));
            }
        }
    }

    pub(super) fn end(&mut self, who: usize, summary: &Summary) {
        let Some(life) = self.lives[who].as_mut() else { return };
        let engine_idx = NAMES.iter().position(|name| *name == summary.engine);
        let engine_idx = engine_idx.unwrap_or_else(|| panic!("request {who} was lost: {summary:?}"));
        self.trace.note(self.now, "ended: request", who, engine_idx as u64);
        let station = &self.stations[engine_idx];
        let around = Around {
            engine_idx,
            context_len: usable(&station.plan.shape).context_len,
            attempts_max: self.scenario.options.supervision.attempts.0,
            is_lost: station.owner.is_none() && self.drained_at.is_none() && !station.plan.reopens
                || (!station.plan.reopens && station.instance.is_gone_or_given_up()),
            is_draining: self.drained_at.is_some(),
            slow_reader_max: self.scenario.options.slow_reader_max,
            queue_bound: self.scenario.queue_bound,
            tick: TICK + self.scenario.lag * 2,
        };
        life.check_end(summary, &around);
        life.stream = None;
        let (is_error, n_read, n_prompt) = (summary.finish_reason == FinishReason::Error, life.n_read, life.n_prompt);
        let is_poison = life.is_poison;
        if is_error && n_read == 0 {
            self.check_no_engine_was_left(who, engine_idx, n_prompt);
        }
        assert!(!is_error || self.scenario.weather.has_faults(), "request {who} failed on healthy engines");
        assert!(
            !is_poison || is_error || summary.finish_reason == FinishReason::Cancelled,
            "poison {who} was answered"
        );
        let word = summary.reason.map_or("", ReasonCode::as_str);
        *self.tally.ends.entry(format!("{} {word}", summary.finish_reason.as_str())).or_default() += 1;
        self.tally.count("cached prompt tokens", summary.usage.cached_tokens as u64);
        self.tally.count("tokens", n_read as u64);
        self.tally.count("went on at another engine", u64::from(engine_idx > 0));
        self.tally.count("retried", u64::from(summary.degraded.contains(&ReasonCode::Retried)));
        self.tally
            .count("answered after a retry", u64::from(!is_error && summary.degraded.contains(&ReasonCode::Retried)));
    }

    pub(super) fn leave(&mut self, who: usize) {
        let Some(life) = self.lives[who].as_mut().filter(|life| life.stream.is_some()) else { return };
        self.trace.note(self.now, "left: request", who, life.n_read as u64);
        life.ended_by_reader_at = Some(self.now);
        life.stream = None;
        *self.tally.ends.entry("reader left".to_owned()).or_default() += 1;
    }

    pub(super) fn cancel(&mut self, who: usize) {
        let Some(life) = self.lives[who].as_mut().filter(|life| life.stream.is_some()) else { return };
        self.trace.note(self.now, "cancelled: request", who, life.n_read as u64);
        life.ended_by_reader_at = Some(self.now);
        life.canceller.cancel();
    }

    pub(super) fn probe(&mut self) {
        if self.drained_at.is_none() {
            self.observe_memory(0);
            self.submit(self.scenario.probe());
            self.n_asked -= 1;
        }
    }

    /// An open breaker ends: once its time has passed, whoever asks finds it half open.
    pub(super) fn check_open_ends(&mut self, n_prompt: usize) {
        let replica = &self.runtime.inner.replicas[0];
        let (position, trips) = (replica.breaker().position(), replica.breaker().counters().trips());
        let is_asked = replica.is_running() && n_prompt < replica.shape.context_len;
        self.open_since = match self.open_since.filter(|(earlier, _)| *earlier == trips) {
            Some((_, since)) if position == Position::Open => {
                let is_over = self.now > since + self.scenario.options.breaker.open_for.max;
                assert!(!is_over || !is_asked, "a breaker is open since {since:?}");
                Some((trips, since))
            }
            None if position == Position::Open => Some((trips, self.now)),
            Some(_) | None => None,
        };
    }

    /// Only these refusals, and only for their reasons.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is, it is wrong")]
    pub(super) fn check_refusal(&self, life: &Life, error: &RuntimeError, before: &Health) {
        let who = life.who;
        let options = &self.scenario.options.admission;
        let context_len = self.runtime.shape().context_len;
        match error {
            RuntimeError::ContextLengthExceeded { .. } => assert!(life.n_prompt >= context_len),
            RuntimeError::QueueFull { .. } => assert!(before.waiting_requests >= options.queue_max),
            RuntimeError::QueuedTokensFull { .. } => {
                assert!(before.queued_tokens > 0 && before.queued_tokens + life.n_prompt > options.queued_tokens_max);
            }
            RuntimeError::Draining => assert!(self.drained_at.is_some(), "request {who}: nothing is drained"),
            RuntimeError::PolicyBlocked { .. } => assert_eq!(life.tenant.as_str(), "blocked"),
            RuntimeError::CircuitOpen { .. } => {
                let takes = |engine: &EngineHealth| engine.breaker == Position::Closed;
                let running = before.engines.iter().zip(&self.stations).filter(|(_, station)| station.owner.is_some());
                let mut fits = running.filter(|(_, s)| life.n_prompt < usable(&s.plan.shape).context_len);
                assert!(!fits.any(|(engine, _)| takes(engine)), "request {who}: an engine could be asked");
            }
            RuntimeError::Stopped => {
                let takes = |station: &Station| station.owner.is_some();
                let mut fits = self.stations.iter().filter(|s| life.n_prompt < usable(&s.plan.shape).context_len);
                assert!(!fits.any(takes), "request {who}: an engine runs");
            }
            other => panic!("request {who} was refused: {other}"),
        }
    }
}
