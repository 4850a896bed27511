//! What a house of models is told and what it tells: names, plans, options, actions, states, counts.

use crate::retry::Backoff;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The name of a model. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(Arc<str>);

impl ModelId {
    /// The model of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One loading of a model. Numbers are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub(super) u64);

/// What is loaded under a name, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelPlan {
    /// The caller's number of the version.
    pub version: u64,
    /// Bytes of memory it takes, reserved before it is loaded.
    pub bytes: u64,
    /// How long it stays loaded without use; `None`: until the room is needed.
    pub keep_alive: Option<Duration>,
    /// What serves while the model itself is being prepared; `None`: callers wait for the model.
    pub provisional: Option<ProvisionalPlan>,
}

impl ModelPlan {
    pub(super) fn bytes_of(&self, part: LoadPart) -> u64 {
        match (part, self.provisional) {
            (LoadPart::Provisional, Some(provisional)) => provisional.bytes,
            (LoadPart::Provisional, None) | (LoadPart::Full, _) => self.bytes,
        }
    }
}

/// A quick stand-in for a model that takes long to prepare, such as the CPU engine for one that compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvisionalPlan {
    /// Bytes of memory it takes.
    pub bytes: u64,
}

/// Which of a plan's two is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadPart {
    /// The model itself.
    Full,
    /// Its stand-in.
    Provisional,
}

/// How a new version takes the place of a loaded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapMode {
    /// Both are loaded for a while; refused where they do not fit together.
    Beside,
    /// Where they do not fit together, the old one drains first, and callers wait for the new one. If that fails, the
    /// old one is loaded again.
    EvictFirst,
}

/// What becomes of a load that nobody waits for any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orphans {
    /// It goes on: who asked may ask again.
    #[default]
    Keep,
    /// It is cancelled.
    Cancel,
}

/// How short the machine is of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// It is not.
    Normal,
    /// Somewhat: the idle model that was not used for longest goes.
    Elevated,
    /// Very: every idle model goes.
    Critical,
}

/// Bounds of a house of models.
#[derive(Clone, Debug, PartialEq)]
pub struct LifecycleOptions {
    /// Most bytes that loaded models take together. There is no default: it is the machine's.
    pub budget_bytes: u64,
    /// Most models loaded at a time, at least 1. Default 8.
    pub models_max: usize,
    /// Most callers that wait for one load. Default 256.
    pub waiters_max: u32,
    /// Longest time of one load, and longest wait of one for its room; then the loader is asked to end, and those who wait
    /// get the version that made room for it, or are refused. Default 10 min.
    pub load_max: Duration,
    /// Longest time that a load which was given up may take to end. Until then its room is counted on; from then on it is
    /// stuck, and nobody counts on its room before it has really ended. Default 10 s.
    pub obey_max: Duration,
    /// Waits after failed loads. Default 1 s, doubling up to 60 s, up to a tenth shorter by its seed.
    pub backoff: Backoff,
    /// What becomes of a load that nobody waits for any more. Default: it goes on.
    pub orphans: Orphans,
}

impl LifecycleOptions {
    /// The defaults, with a budget.
    #[must_use]
    pub fn new(budget_bytes: u64) -> Self {
        let (initial, max) = (Duration::from_secs(1), Duration::from_secs(60));
        Self {
            budget_bytes,
            models_max: 8,
            waiters_max: 256,
            load_max: Duration::from_secs(600),
            obey_max: Duration::from_secs(10),
            backoff: Backoff { initial, max, jitter: 0.1, ..Backoff::default() },
            orphans: Orphans::Keep,
        }
    }
}

/// What to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOrder {
    /// As which instance.
    pub instance: InstanceId,
    /// Of which model.
    pub model: ModelId,
    /// Which version.
    pub version: u64,
    /// The model, or its stand-in.
    pub part: LoadPart,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Load; then call [`Lifecycle::loaded`](super::Lifecycle::loaded) or
    /// [`Lifecycle::failed`](super::Lifecycle::failed).
    Load(LoadOrder),
    /// Ask a load to end; it still reports.
    Cancel {
        /// Which.
        instance: InstanceId,
    },
    /// Tell those who wait for an instance that it will not come. Their claims are void.
    Refuse {
        /// Which.
        instance: InstanceId,
        /// Why.
        error: super::LifecycleError,
    },
    /// Tell those who wait for an instance to claim again: the version before answers in its place. Their claims are void.
    Redirect {
        /// Which.
        instance: InstanceId,
    },
    /// Tell of a load that was given up and has not ended in its time. What it takes is held until it ends.
    Stuck {
        /// As which instance.
        instance: InstanceId,
        /// Of which model.
        model: ModelId,
        /// Which version.
        version: u64,
        /// Bytes it takes.
        bytes: u64,
    },
    /// Drop an instance that nobody uses; then call [`Lifecycle::ended`](super::Lifecycle::ended).
    Drop {
        /// Which.
        instance: InstanceId,
    },
}

/// What a model does, as its callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// Not loaded; the next use loads it.
    Absent,
    /// Being loaded, or about to be.
    Loading {
        /// Callers that wait for it.
        waiters: u32,
    },
    /// Loaded.
    Ready {
        /// Uses now.
        in_use: u32,
        /// When a use last began or ended.
        last_used: Duration,
        /// The model, or its stand-in.
        part: LoadPart,
    },
    /// Unloaded, with uses that go on to their end.
    Draining {
        /// Those uses.
        in_use: u32,
    },
    /// Its load failed a moment ago.
    Failed {
        /// When it may be loaded again.
        until: Duration,
    },
}

/// How a model is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    /// What it does.
    pub state: ModelState,
    /// The version that serves; where none does, the one that the next use loads.
    pub version: u64,
    /// Bytes it takes; `None`: nothing of it serves.
    pub bytes: Option<u64>,
    /// How long it stays loaded without use; `None`: until the room is needed.
    pub keep_alive: Option<Duration>,
    /// Whether another instance is being loaded to take its place.
    pub is_swapping: bool,
    /// Loads of it that were given up, did not end in their time, and hold memory still.
    pub n_stuck: u32,
}

/// What was counted since the house was made, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifecycleStats {
    /// Claims on models that were loaded.
    pub hits: u64,
    /// Loads that ended well.
    pub loads: u64,
    /// Loads that failed.
    pub load_failures: u64,
    /// Loads that were given up.
    pub cancelled: u64,
    /// Loads that were given up and did not end in their time.
    pub stuck: u64,
    /// New versions that did not come, in whose place the old one answers again.
    pub fallbacks: u64,
    /// Loads that were refused for want of room.
    pub refused: u64,
    /// Idle models that made room for others.
    pub evictions: u64,
    /// Idle models whose keep-alive ended.
    pub expirations: u64,
    /// Versions, and stand-ins, that were replaced.
    pub swaps: u64,
    /// Bytes of everything loaded, being loaded or being dropped.
    pub held_bytes: u64,
    /// Of these, bytes of loads that were given up and did not end in their time.
    pub stuck_bytes: u64,
    /// Bytes of everything loaded, being loaded or waiting to be.
    pub committed_bytes: u64,
}
