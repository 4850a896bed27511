//! How many models are loaded, when, and for how long.

use super::models::NamedModel;
use super::{encoder_facts, served, served_encoder};
use crate::failure::Failure;
use crate::options::{LoadArgs, locate, open_gguf, positive, tell_findings};
use crate::progress;
use ballast::{Encoder, Engine, LoadOptions, SystemClock, machine::Machine};
use ballast_backend::{EngineError, ErrorKind, Pulse};
use ballast_server::{HouseOptions, KnownModel, LoadMeter, ModelFacts, ServedModel, ServedModels, ServerOptions};
use clap::Args as ClapArgs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct HouseArgs {
    /// Most models loaded at a time; one that nobody uses makes room for another.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive, help_heading = "Models")]
    models_max: usize,
    /// How long a model stays loaded without use: seconds, or with s, m, h; -1 until its room is needed.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "-1",
        value_parser = keep_alive,
        allow_negative_numbers = true,
        help_heading = "Models"
    )]
    keep_alive: KeepAlive,
    /// Most seconds that a request waits for its model to be loaded, 0 to be told to come back at once [default: its
    /// own time].
    #[arg(long, value_name = "SECONDS", value_parser = wait, help_heading = "Models")]
    load_wait: Option<Duration>,
}

/// How long a model stays loaded without use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeepAlive {
    UntilNeeded,
    For(Duration),
}

/// Why the first model could not be loaded, for whoever has to tell it in the end.
#[derive(Debug, Default)]
pub(crate) struct FirstFailure(Mutex<Option<Failure>>);

impl FirstFailure {
    fn note(&self, failure: Failure) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }

    /// What was noted.
    pub(crate) fn take(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl HouseArgs {
    /// Puts them where the server obeys them.
    pub(crate) fn set(self, options: &mut ServerOptions) {
        if let Some(load_wait) = self.load_wait {
            options.load_wait_max = load_wait;
        }
    }

    /// The models, known and not loaded. Those that could never be loaded are told at once; `failure` is told why one
    /// could not be later.
    pub(crate) fn models(
        self,
        named: &[NamedModel],
        load: &LoadArgs,
        failure: &Arc<FirstFailure>,
    ) -> Result<ServedModels, Failure> {
        let options = load_options(load)?;
        let memory_bytes = options.memory.bytes.unwrap_or(u64::MAX);
        let keep_alive = match self.keep_alive {
            KeepAlive::UntilNeeded => None,
            KeepAlive::For(time) => Some(time),
        };
        let house = HouseOptions { models_max: self.models_max, keep_alive, ..HouseOptions::new(memory_bytes) };
        let models = ServedModels::new(&house, Arc::new(SystemClock::start()));
        for named in named {
            let known = known(named, &options, (load, failure))?;
            models.declare(known).map_err(super::server_failure)?;
        }
        Ok(models)
    }
}

/// How models are loaded, with a budget: that of the machine where none was given.
pub(super) fn load_options(load: &LoadArgs) -> Result<LoadOptions, Failure> {
    let mut options = load.options()?;
    let machine_bytes = || Machine::read().memory_bytes().unwrap_or(u64::MAX);
    options.memory.bytes.get_or_insert_with(machine_bytes);
    Ok(options)
}

/// What is known of a model before it is loaded, and how it will be.
pub(super) fn known(
    named: &NamedModel,
    options: &LoadOptions,
    (load_args, failure): (&LoadArgs, &Arc<FirstFailure>),
) -> Result<KnownModel, Failure> {
    let path = locate(&named.model)?.path().to_owned();
    let gguf = open_gguf(&path)?;
    if Encoder::is_in(&gguf) {
        return Ok(known_encoder(named, &path, &encoder_facts(&gguf), (load_args, failure)));
    }
    drop(gguf);
    let survey = ballast::survey(&path, options)?;
    // A budget that is not strict lets a larger model pass: it then has all there is.
    let budget = options.memory.bytes.unwrap_or(u64::MAX);
    let (id, failure) = (named.id.clone(), Arc::clone(failure));
    let opening = Opening { id: id.clone(), file_name: named.file_name(), path, options: options.clone() };
    let load = move |_: &Pulse, meter: &Arc<LoadMeter>| {
        opening.open(meter).map_err(|error| {
            let (kind, told) = (error.kind(), std::io::Error::other(error.to_string()));
            failure.note(Failure::from(error));
            EngineError::new(kind, told)
        })
    };
    Ok(KnownModel {
        id,
        aliases: Vec::new(),
        bytes: survey.planned_bytes.min(budget),
        created: ballast::unix_seconds(),
        facts: ModelFacts {
            architecture: survey.architecture,
            n_parameters: survey.n_parameters,
            quantization: survey.quantization.to_owned(),
            file_name: named.file_name(),
            file_bytes: survey.file_bytes,
            sha256: String::new(),
        },
        context_len: Some(survey.context_len),
        encodes: false,
        load: Arc::new(load),
    })
}

/// The same of a model that encodes. What it takes is not known before: its file is counted.
fn known_encoder(
    named: &NamedModel,
    path: &Path,
    facts: &ModelFacts,
    (load_args, failure): (&LoadArgs, &Arc<FirstFailure>),
) -> KnownModel {
    let (path, told, load_args, failure) = (path.to_owned(), facts.clone(), load_args.clone(), Arc::clone(failure));
    let load = move |_: &Pulse, _: &Arc<LoadMeter>| match load_args.load_encoder(&path) {
        Ok(encoder) => Ok(served_encoder(&encoder, &told)),
        Err(error) => {
            let told = std::io::Error::other(error.what.clone());
            failure.note(error);
            Err(EngineError::new(ErrorKind::Internal, told))
        }
    };
    KnownModel {
        id: named.id.clone(),
        aliases: Vec::new(),
        bytes: facts.file_bytes,
        created: ballast::unix_seconds(),
        facts: facts.clone(),
        context_len: None,
        encodes: true,
        load: Arc::new(load),
    }
}

/// A model that is loaded again and again.
struct Opening {
    id: String,
    /// For clients; empty where the model was not named by a path.
    file_name: String,
    path: PathBuf,
    options: LoadOptions,
}

impl Opening {
    fn open(&self, meter: &Arc<LoadMeter>) -> Result<ServedModel, ballast::Error> {
        let meter = Arc::clone(meter);
        let progress = progress::packing(move |done, total| meter.tell(done, total));
        let engine = Engine::load(&self.path, &LoadOptions { progress: Some(progress), ..self.options.clone() })?;
        tell_findings(&engine);
        let mut model = served(&engine, self.id.clone());
        model.facts.file_name.clone_from(&self.file_name);
        Ok(model)
    }
}

/// A time in seconds, or with s, m or h; below 0 is until the room is needed.
fn keep_alive(text: &str) -> Result<KeepAlive, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok().filter(|seconds| seconds.is_finite()).map(|seconds| seconds * unit);
    match seconds {
        Some(seconds) if seconds < 0.0 => Ok(KeepAlive::UntilNeeded),
        Some(seconds) => Ok(Duration::try_from_secs_f64(seconds).map_or(KeepAlive::UntilNeeded, KeepAlive::For)),
        None => Err(format!("expected seconds, a time such as 5m, or -1, got {text:?}")),
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("expected seconds, 0 or more, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alives_are_times_or_until_the_room_is_needed() {
        let seconds = |n| Ok(KeepAlive::For(Duration::from_secs(n)));
        let cases = [
            ("0", seconds(0)),
            ("300", seconds(300)),
            ("5m", seconds(300)),
            ("2h", seconds(7200)),
            ("1.5m", seconds(90)),
            ("-1", Ok(KeepAlive::UntilNeeded)),
            ("-5m", Ok(KeepAlive::UntilNeeded)),
            ("1e300", Ok(KeepAlive::UntilNeeded)),
        ];
        for (text, expected) in cases {
            assert_eq!(keep_alive(text), expected, "{text}");
        }
        for wrong in ["", "m", "soon", "5x", "nan", "inf"] {
            assert!(keep_alive(wrong).is_err(), "{wrong}");
        }
        assert_eq!(wait("0.5"), Ok(Duration::from_millis(500)));
        assert!(wait("-1").is_err() && wait("x").is_err());
    }
}
