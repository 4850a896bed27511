//! How jobs end without a result, and lanes with their jobs: deadlines, drain, lanes that are given up or end. Pure.

use super::error::{ConfineError, JobPhase};
use super::jobs::Jobs;
use super::parts::{Lanes, Life, Refusal, Ticket};
use std::mem;
use std::time::Duration;

impl<W, R> Jobs<W, R> {
    /// Tells whoever's deadline has passed, and obeys the drain's own.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Refusal<W, R>> {
        let late: Vec<Ticket> =
            self.queue.iter().filter(|(_, job)| job.deadline <= now).map(|(ticket, _)| *ticket).collect();
        let error = ConfineError::Deadline { phase: JobPhase::Queued };
        let mut told: Vec<_> = late.into_iter().filter_map(|ticket| self.refuse(ticket, error)).collect();
        for lane in &mut self.lanes {
            let Some(running) = lane.running.as_mut().filter(|running| running.deadline <= now) else { continue };
            if let Some(reply) = running.reply.take() {
                lane.pulse.interrupt();
                self.stats.timed_out += 1;
                told.push(Refusal { reply, error: ConfineError::Deadline { phase: JobPhase::Running }, work: None });
            }
        }
        if let Some(since) = self.draining_since {
            told.append(&mut self.expire_drain(since, now));
        }
        told
    }

    fn expire_drain(&mut self, since: Duration, now: Duration) -> Vec<Refusal<W, R>> {
        let cut_at = since.saturating_add(self.options.drain_deadline);
        if now < cut_at {
            return Vec::new();
        }
        let rest: Vec<Ticket> = self.queue.keys().copied().collect();
        let mut told: Vec<_> =
            rest.into_iter().filter_map(|ticket| self.refuse(ticket, ConfineError::Stopped)).collect();
        for lane in &mut self.lanes {
            if let Some(running) = &mut lane.running {
                lane.pulse.interrupt();
                if let Some(reply) = running.reply.take() {
                    self.stats.stopped += 1;
                    told.push(Refusal { reply, error: ConfineError::Stopped, work: None });
                }
            }
        }
        if now >= cut_at.saturating_add(self.options.drain_grace) {
            for lane in 0..self.lanes.len() {
                told.append(&mut self.abandon(lane));
            }
        }
        told
    }

    /// Takes in no more jobs; what is queued still runs.
    pub(super) fn drain(&mut self, now: Duration) {
        self.draining_since.get_or_insert(now);
        self.wake = self.live();
    }

    /// Gives a lane up: whoever waits for it, and for what only it could run, is told.
    pub(super) fn abandon(&mut self, lane_idx: usize) -> Vec<Refusal<W, R>> {
        let Some(lane) = self.lanes.get_mut(lane_idx).filter(|lane| lane.life == Life::Live) else {
            return Vec::new();
        };
        lane.life = Life::Abandoned;
        lane.pulse.abandon();
        self.stats.threads_lost += 1;
        self.wake = self.wake.with(Lanes::one(lane_idx));
        self.forget_lane(lane_idx)
    }

    /// Notes that the thread of a lane has ended and every handle of it is dropped.
    pub(super) fn ended(&mut self, lane_idx: usize) -> Vec<Refusal<W, R>> {
        let life = mem::replace(&mut self.lanes[lane_idx].life, Life::Ended);
        if life == Life::Live { self.forget_lane(lane_idx) } else { Vec::new() }
    }

    /// Takes the lane from its models and tells whoever waits for it.
    fn forget_lane(&mut self, lane_idx: usize) -> Vec<Refusal<W, R>> {
        let mut told = Vec::new();
        for entry in self.models.values_mut() {
            entry.lanes = entry.lanes.without(Lanes::one(lane_idx));
        }
        if let Some(running) = &mut self.lanes[lane_idx].running {
            let task = running.task;
            if let Some(reply) = running.reply.take() {
                self.stats.abandoned += 1;
                told.push(Refusal { reply, error: ConfineError::Abandoned, work: None });
            }
            self.job_over(task);
        }
        told.append(&mut self.refuse_stranded(ConfineError::Abandoned));
        told
    }

    /// Refuses the queued jobs that no lane may run any more.
    pub(super) fn refuse_stranded(&mut self, error: ConfineError) -> Vec<Refusal<W, R>> {
        let stranded: Vec<Ticket> =
            self.queue.iter().filter(|(_, job)| self.lanes_for(job).is_empty()).map(|(ticket, _)| *ticket).collect();
        stranded.into_iter().filter_map(|ticket| self.refuse(ticket, error)).collect()
    }

    /// Takes a job out of the queue, to be told `error`.
    fn refuse(&mut self, ticket: Ticket, error: ConfineError) -> Option<Refusal<W, R>> {
        let job = self.queue.remove(&ticket)?;
        match error {
            ConfineError::Deadline { .. } => self.stats.timed_out += 1,
            ConfineError::Stopped => self.stats.stopped += 1,
            ConfineError::Abandoned => self.stats.abandoned += 1,
            ConfineError::ModelLost { .. }
            | ConfineError::ModelNotFound { .. }
            | ConfineError::TooManyModels { .. }
            | ConfineError::NoThreadLeft { .. }
            | ConfineError::QueueFull { .. }
            | ConfineError::Panicked
            | ConfineError::ThreadRefused => self.stats.failed += 1,
        }
        self.job_over(job.task);
        Some(Refusal { reply: job.reply, error, work: Some(job.work) })
    }
}
