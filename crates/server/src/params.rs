//! What a request asks of the runtime besides its prompt, whatever wire it came by.

use crate::ServerOptions;
use crate::api_error::ApiError;
use crate::caller::{Visit, Work};
use crate::fields::{Fields, ParamError};
use crate::generation::Submitted;
use crate::incoming::Asker;
use crate::models::GeneratorUse;
use crate::state::Server;
use ballast_backend::TokenId;
use ballast_runtime::{Deadlines, PrefixCache, Priority, Request};
use ballast_tokens::{Constraint, SamplingParams, StopMatcher, ThinkingPlan};
use serde_json::Value;
use std::time::Duration;

/// Most answers to one request.
pub const CHOICES_MAX: usize = 16;

/// How answers are generated.
#[derive(Clone, Debug)]
pub(crate) struct GenerationParams {
    pub(crate) sampling: SamplingParams,
    pub(crate) stop: Vec<String>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) ignore_eos: bool,
    /// Whose cached keys and values may be used.
    pub(crate) prefix_cache: PrefixCache,
    /// What the answer must look like.
    pub(crate) constraint: Option<Constraint>,
    /// The parameter that asks for `constraint`.
    pub(crate) constrained_by: Option<&'static str>,
    /// Thoughts before it, for which the constraint does not hold.
    pub(crate) thinking: Option<ThinkingPlan>,
    /// Control tokens come as text.
    pub(crate) show_special: bool,
    /// What is told of an answer while it is made.
    pub(crate) telling: Telling,
    pub(crate) deadline: Duration,
    /// `None`: what the request's header says.
    pub(crate) priority: Option<Priority>,
}

impl GenerationParams {
    /// # Errors
    /// If a sampling parameter is out of its range, or a stop string cannot be one.
    pub(crate) fn checked(self) -> Result<Self, ApiError> {
        self.sampling.validate().map_err(|error| ApiError::Runtime(error.into()))?;
        StopMatcher::check(&self.stop).map_err(|error| ApiError::Runtime(error.into()))?;
        Ok(self)
    }

    /// What the runtime is asked for.
    pub(crate) fn request(&self, prompt: Vec<TokenId>, fallback_seed: u64) -> Request {
        Request {
            prompt,
            sampling: self.sampling.clone(),
            fallback_seed,
            stop: self.stop.clone(),
            max_tokens: self.max_tokens,
            ignore_eos: self.ignore_eos,
            prefix_cache: self.prefix_cache,
            thinking: self.thinking.clone(),
            show_special: self.show_special,
            tells_progress: self.telling.needs_progress(),
            deadlines: Deadlines::total(self.deadline),
            ..Request::new(Vec::new())
        }
    }

    /// Has the model's runtime take `n_choices` requests for each prompt, in order. Where a seed is given, each further choice
    /// has the next one.
    ///
    /// # Errors
    /// If one is refused; those before it are cancelled.
    pub(crate) fn submit(
        &self,
        model: &GeneratorUse,
        (server, asker): (&Server, &Asker),
        prompts: &[Vec<TokenId>],
        n_choices: usize,
    ) -> Result<Submitted, ApiError> {
        let mut work = None;
        if let Some(visit) = &asker.visit {
            visit.caller.check_model(&model.id)?;
            work = Some(self.reserve(visit, prompts, n_choices, model.runtime().shape().context_len)?);
        }
        let choices = prompts.iter().flat_map(|prompt| (0..n_choices as u64).map(move |choice| (prompt, choice)));
        let constraint = self.constraint.as_ref().map(|constraint| model.runtime().compile(constraint));
        let constraint = constraint.transpose();
        let constraint = constraint
            .map_err(|error| ApiError::Constraint { param: self.constrained_by.unwrap_or_default(), error })?;
        let submit = |(prompt, choice): (&Vec<TokenId>, u64)| {
            let mut request = self.request(prompt.clone(), (server.options.random)());
            request.constraint = constraint.clone();
            request.priority = self.priority.unwrap_or(asker.priority);
            request.correlation = asker.correlation.clone();
            request.tenant = asker.tenant.clone();
            // What was spent on waiting for the model is spent. One that is over is refused by the runtime's own deadline.
            request.deadlines = Deadlines::total(self.deadline.saturating_sub(asker.waited));
            request.sampling.seed = request.sampling.seed.map(|seed| seed.wrapping_add(choice));
            Ok(model.runtime().submit(request)?)
        };
        let streams = choices.map(submit).collect::<Result<_, ApiError>>()?;
        if let Some(work) = &mut work {
            work.note_prompt(&model.id, n_tokens(prompts).saturating_mul(n_choices as u64));
        }
        Ok(Submitted { streams, work })
    }

    /// Sets aside the tokens of all prompts, and those that their answers may have.
    fn reserve(
        &self,
        visit: &Visit,
        prompts: &[Vec<TokenId>],
        n_choices: usize,
        context_len: usize,
    ) -> Result<Work, ApiError> {
        let answer = |prompt: &Vec<TokenId>| {
            let room = context_len.saturating_sub(prompt.len());
            self.max_tokens.unwrap_or(room).min(room) as u64
        };
        let (prompt, answer) = (n_tokens(prompts), prompts.iter().map(answer).sum::<u64>());
        visit.reserve(prompt.saturating_mul(n_choices as u64), answer.saturating_mul(n_choices as u64))
    }
}

fn n_tokens(prompts: &[Vec<TokenId>]) -> u64 {
    prompts.iter().map(|prompt| prompt.len() as u64).sum()
}

/// What is told of an answer while it is made: `timings_per_token` and `return_progress`, which are llama.cpp's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Telling {
    /// Every piece of a streamed answer comes with the times until then.
    pub(crate) times: bool,
    /// A streamed answer begins with how much of the prompt was read.
    pub(crate) prompt: bool,
}

impl Telling {
    /// # Errors
    /// If a field is of another type.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ParamError> {
        Ok(Self {
            times: fields.bool("timings_per_token")?.unwrap_or(false),
            prompt: fields.bool("return_progress")?.unwrap_or(false),
        })
    }

    fn needs_progress(self) -> bool {
        self.times || self.prompt
    }
}

/// Where a request's keys and values are to be: `id_slot` and `cache_prompt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// `None`: wherever the server finds room.
    pub(crate) slot: Option<usize>,
    /// Whether those of earlier requests are used, and its own are kept for later ones.
    pub(crate) is_cached: bool,
}

impl Place {
    /// # Errors
    /// If a field is of another type.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ParamError> {
        let slot = fields.i64("id_slot")?.and_then(|slot| usize::try_from(slot).ok());
        Ok(Self { slot, is_cached: fields.bool("cache_prompt")?.unwrap_or(true) })
    }
}

/// `model`; empty where any is meant and none is named.
///
/// # Errors
/// If it is no string, or is needed and missing.
pub(crate) fn model_name(fields: &mut Fields, options: &ServerOptions) -> Result<String, ParamError> {
    if options.any_model {
        return Ok(fields.string("model")?.unwrap_or_default());
    }
    fields.needed_string("model", "the name of the model")
}

/// The time a request has, in seconds.
pub(crate) fn deadline(fields: &mut Fields, options: &ServerOptions) -> Result<Duration, ParamError> {
    let Some(seconds) = fields.f64("timeout")? else { return Ok(options.request_deadline) };
    let deadline = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    if deadline.is_zero() || deadline > options.request_deadline_max {
        let expected = format!("more than 0 and at most {} seconds", options.request_deadline_max.as_secs_f64());
        return Err(ParamError::wrong("timeout".to_owned(), expected, &seconds.into()));
    }
    Ok(deadline)
}

/// A string or an array of strings.
pub(crate) fn strings(fields: &mut Fields, field: &str) -> Result<Vec<String>, ParamError> {
    let param = fields.name(field);
    let wrong = |got: &Value| ParamError::wrong(param.clone(), "a string or an array of strings", got);
    match fields.take(field) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(texts)) => {
            let text = |text: &Value| text.as_str().map(str::to_owned).ok_or_else(|| wrong(text));
            texts.iter().map(text).collect()
        }
        Some(other) => Err(wrong(&other)),
    }
}
