//! What the conductor hears, and what it does not hear any more. Its life under faults is the simulation's.

use super::*;
use crate::kv::Salt;
use crate::{Priority, TenantId};
use ballast_backend::TokenId;

const SHAPE: GeneratorShape = GeneratorShape {
    vocab_size: 100,
    context_len: 24,
    block_len: 4,
    n_blocks: 8,
    max_batch_tokens: 10,
    max_batch_sequences: 3,
};
const SECOND: Duration = Duration::from_secs(1);

/// A request that says its token again until it has said it `n_left` times.
#[derive(Debug)]
struct Echo {
    tokens: Vec<TokenId>,
    n_left: usize,
    end: Option<End>,
    /// A token was chosen that the reader was not told of.
    is_behind: bool,
}

impl Work for Echo {
    fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    fn is_paused(&self) -> bool {
        false
    }

    fn is_finished(&self) -> bool {
        self.end.is_some()
    }
}

impl Job for Echo {
    fn check(&mut self, _now: Duration) {}

    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    fn note_step(&mut self, _begun: StepBegun, _now: Duration) {}

    fn note_setback(&mut self, _setback: Setback) {}

    fn accept(&mut self, _logits: &mut [f32], now: Duration) {
        self.tokens.push(self.tokens[0]);
        self.n_left -= 1;
        self.is_behind = true;
        if self.n_left == 0 {
            self.finish(End::plain(FinishReason::Length), now);
        }
    }

    fn catch_up(&mut self) {
        self.is_behind = false;
    }

    fn finish(&mut self, end: End, _now: Duration) {
        self.end.get_or_insert(end);
    }
}

/// A conductor with one request, whose first step is on its way.
fn stepping() -> Conductor<Echo> {
    stepping_for(2, Attempts::default())
}

/// The same, with a request of `n_left` tokens that may be run again as often as `attempts` says.
fn stepping_for(n_left: usize, attempts: Attempts) -> Conductor<Echo> {
    let restart = Backoff { initial: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() };
    let supervision = SupervisionOptions { restart, attempts, ..SupervisionOptions::default() };
    let mut conductor = Conductor::new(SHAPE, SchedulerOptions::default(), supervision, Reopens::Yes);
    let tenant = TenantId::default();
    let terms = Terms { salt: Some(Salt::Tenant(tenant.clone())), tenant, priority: Priority::NORMAL };
    conductor.submit(Echo { tokens: vec![TokenId(7); 3], n_left, end: None, is_behind: false }, terms, SECOND);
    assert_eq!(conductor.poll(0, SECOND), Action::Step { generation: 0 });
    conductor
}

/// The same, whose instance has crashed and is being replaced.
fn opening() -> Conductor<Echo> {
    let mut conductor = stepping();
    assert_eq!(conductor.stepped(0, StepEnd::Panicked, SECOND), Heard::Yes);
    assert_eq!(conductor.poll(0, SECOND), Action::Open { generation: 1 });
    conductor
}

/// The step in progress fails.
fn fail(conductor: &mut Conductor<Echo>) {
    assert_eq!(conductor.stepped(0, StepEnd::Failed(ErrorKind::Internal), SECOND), Heard::Yes);
}

/// The step in progress succeeds.
fn succeed(conductor: &mut Conductor<Echo>) {
    assert_eq!(conductor.stepped(0, StepEnd::Done(&mut logits()), SECOND), Heard::Yes);
}

fn logits() -> Logits {
    let mut logits = Logits::default();
    logits.reset(1, SHAPE.vocab_size);
    logits
}

#[test]
fn openings_of_earlier_instances_are_not_heard() {
    let mut conductor = opening();
    assert_eq!(conductor.opened(0, Ok(()), SECOND), Heard::No);
    assert_eq!(conductor.engine_state(), EngineState::Opening);
    assert_eq!(conductor.opened(1, Ok(()), SECOND), Heard::Yes);
    assert_eq!(conductor.poll(0, SECOND), Action::Step { generation: 1 });
}

#[test]
fn an_opening_that_nobody_waits_for_is_not_heard() {
    let mut conductor = stepping();
    for outcome in [Ok(()), Err(ErrorKind::Internal)] {
        assert_eq!(conductor.opened(0, outcome, SECOND), Heard::No);
        assert_eq!(conductor.engine_state(), EngineState::Stepping);
    }
    assert_eq!(conductor.stepped(0, StepEnd::Done(&mut logits()), SECOND), Heard::Yes);
}

#[test]
fn an_opening_that_was_given_up_is_not_heard() {
    let mut conductor = opening();
    let mut now = SECOND;
    while conductor.engine_state() == EngineState::Opening {
        now += SECOND;
        conductor.poll(0, now);
    }
    assert_eq!(conductor.engine_state(), EngineState::Down);
    assert_eq!(conductor.opened(1, Ok(()), now), Heard::No, "it came too late");
    assert_eq!(conductor.engine_state(), EngineState::Down);
    assert_eq!(conductor.poll(0, now), Action::Open { generation: 2 });
}

#[test]
fn steps_of_earlier_instances_are_not_heard() {
    let mut conductor = opening();
    assert_eq!(conductor.opened(1, Ok(()), SECOND), Heard::Yes);
    assert_eq!(conductor.poll(0, SECOND), Action::Step { generation: 1 });
    assert_eq!(conductor.stepped(0, StepEnd::Done(&mut logits()), SECOND), Heard::No);
    assert_eq!(conductor.stepped(1, StepEnd::Done(&mut logits()), SECOND), Heard::Yes);
    assert_eq!(conductor.stepped(1, StepEnd::Done(&mut logits()), SECOND), Heard::No, "a step ends once");
}

#[test]
fn jobs_catch_up_once_the_engine_has_its_next_step_and_before_its_answer_is_waited_for() {
    let is_behind = |conductor: &Conductor<Echo>| conductor.scheduler().slots().all(|slot| slot.work.is_behind);
    let mut conductor = stepping();
    assert_eq!(conductor.stepped(0, StepEnd::Done(&mut logits()), SECOND), Heard::Yes);
    assert!(is_behind(&conductor), "a token was chosen");
    assert_eq!(conductor.poll(0, SECOND), Action::Step { generation: 0 });
    assert!(is_behind(&conductor), "the engine does not wait for it");
    assert_eq!(conductor.poll(0, SECOND), Action::Wait);
    assert!(!is_behind(&conductor), "it is done while the engine works");
}

#[test]
fn jobs_catch_up_also_where_there_is_no_step_to_give() {
    let mut conductor = stepping();
    assert_eq!(conductor.stepped(0, StepEnd::Done(&mut logits()), SECOND), Heard::Yes);
    conductor.engine = Engine::Ended;
    conductor.can_reopen = false;
    assert_eq!(conductor.poll(0, SECOND), Action::Wait);
    assert!(conductor.scheduler().slots().all(|slot| !slot.work.is_behind));
}

#[test]
fn an_instance_that_fails_three_times_in_a_row_is_replaced() {
    let mut conductor = stepping_for(9, Attempts(9));
    for _ in 1..FAILURES_MAX {
        fail(&mut conductor);
        assert_eq!(conductor.poll(0, SECOND), Action::Step { generation: 0 });
    }
    fail(&mut conductor);
    assert_eq!(conductor.poll(0, SECOND), Action::Open { generation: 1 });
}

#[test]
fn an_instance_that_succeeds_between_failures_is_kept() {
    let mut conductor = stepping_for(9, Attempts(9));
    for _ in 0..2 {
        for _ in 1..FAILURES_MAX {
            fail(&mut conductor);
            assert_eq!(conductor.poll(0, SECOND), Action::Step { generation: 0 });
        }
        succeed(&mut conductor);
        assert_eq!(conductor.poll(0, SECOND), Action::Step { generation: 0 });
    }
}

#[test]
fn a_request_under_which_engines_fail_for_ever_ends_though_it_gets_on() {
    let n_left = 20;
    let mut conductor = stepping_for(n_left, Attempts::default());
    let mut n_failures = 0;
    while !conductor.scheduler().is_idle() {
        fail(&mut conductor);
        n_failures += 1;
        if conductor.poll(0, SECOND) == Action::Wait {
            break;
        }
        succeed(&mut conductor);
        assert_eq!(conductor.poll(0, SECOND), Action::Step { generation: 0 });
    }
    assert_eq!(n_failures, FAILURES_OF_ONE_MAX + 1);
}

#[test]
fn a_step_that_nobody_waits_for_is_interrupted_and_given_up_if_it_goes_on() {
    let mut conductor = stepping();
    assert_eq!(conductor.poll(1, SECOND), Action::Wait);
    conductor.end_all(End::plain(FinishReason::Cancelled), SECOND);
    assert_eq!(conductor.poll(2, SECOND), Action::Interrupt);
    let patience = WatchdogOptions::default().stall_after;
    let mut beats = 2;
    let mut poll = |after: Duration| {
        beats += 1;
        conductor.poll(beats, SECOND + after)
    };
    assert_eq!(poll(patience / 2), Action::Wait, "it may take a while");
    assert_eq!(poll(patience), Action::Abandon { generation: 0 }, "it beats, but does not obey");
}

#[test]
fn to_return_as_cancelled_unasked_is_a_failure() {
    let mut conductor = stepping_for(9, Attempts(0));
    assert_eq!(conductor.stepped(0, StepEnd::Failed(ErrorKind::Cancelled), SECOND), Heard::Yes);
    assert!(conductor.scheduler().is_idle(), "the request had one attempt");
}

#[test]
fn what_an_engine_refuses_alone_ends_and_is_not_tried_again() {
    let mut conductor = stepping_for(9, Attempts(9));
    assert_eq!(conductor.stepped(0, StepEnd::Failed(ErrorKind::Invalid), SECOND), Heard::Yes);
    assert!(conductor.scheduler().is_idle());
    assert_eq!((conductor.counts().n_retried, conductor.engine_state()), (0, EngineState::Ready));
}

#[test]
fn without_an_engine_everything_ends() {
    let mut conductor = stepping_for(9, Attempts(9));
    conductor.can_reopen = false;
    assert_eq!(conductor.stepped(0, StepEnd::Done(&mut logits()), SECOND), Heard::Yes);
    conductor.engine = Engine::Ended;
    assert_eq!(conductor.poll(0, SECOND), Action::Wait);
    assert!(conductor.scheduler().is_idle());
}
