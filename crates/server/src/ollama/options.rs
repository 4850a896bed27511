//! The fields of `options`.

use crate::ServerOptions;
use crate::api_error::ApiError;
use crate::constraint;
use crate::fields::{Fields, ParamError, Refused, is_one, is_zero, never};
use crate::params::{GenerationParams, Telling, deadline, strings};
use ballast_runtime::PrefixCache;
use ballast_tokens::{LogprobsOf, PENALTY_WINDOW_MAX, SamplingParams};
use serde_json::Value;

const LOADED: &str = "the model is loaded already: say it where the server is started";
const NO_MIROSTAT: &str = "use temperature, top_k, top_p and min_p";

const UNSUPPORTED: &[Refused] = &[
    ("draft_num_predict", never, "there is no draft model"),
    ("f16_kv", |value| *value == true, LOADED),
    ("low_vram", |value| *value == false, LOADED),
    ("main_gpu", never, LOADED),
    ("mirostat", is_zero, NO_MIROSTAT),
    ("mirostat_eta", never, NO_MIROSTAT),
    ("mirostat_tau", never, NO_MIROSTAT),
    ("num_batch", never, LOADED),
    ("num_gpu", is_zero, LOADED),
    ("num_keep", never, "a prompt that is too long is refused, not cut"),
    ("num_thread", never, LOADED),
    ("numa", |value| *value == false, LOADED),
    ("penalize_newline", |value| *value == true, "every token counts"),
    ("tfs_z", is_one, "use top_p or min_p"),
    ("typical_p", is_one, "use top_p or min_p"),
    ("use_mlock", |value| *value == false, LOADED),
    ("use_mmap", never, LOADED),
];

/// What `options` ask for: how to generate, and the context that prompt and answer may fill.
///
/// # Errors
/// The first thing that is wrong, by its name.
pub(super) fn take(
    fields: &mut Fields,
    server: &ServerOptions,
    n_logprobs: Option<usize>,
) -> Result<(GenerationParams, Option<usize>), ApiError> {
    let deadline = deadline(fields, server)?;
    let (constraint, constrained_by) = constraint::of_ollama(fields)?.unzip();
    let given = fields.take("options").unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let mut options = Fields::new("options".to_owned(), given)?;
    let params = GenerationParams {
        sampling: sampling(&mut options, n_logprobs, &server.sampling)?,
        stop: strings(&mut options, "stop")?,
        max_tokens: max_tokens(&mut options)?.or(server.max_tokens_default),
        ignore_eos: false,
        constraint,
        constrained_by,
        thinking: None,
        show_special: false,
        telling: Telling::default(),
        prefix_cache: PrefixCache::default(),
        deadline,
        priority: None,
    };
    let context_len = options.count("num_ctx")?;
    options.refuse(UNSUPPORTED)?;
    options.finish()?;
    Ok((params.checked()?, context_len))
}

fn sampling(
    options: &mut Fields,
    n_logprobs: Option<usize>,
    default: &SamplingParams,
) -> Result<SamplingParams, ParamError> {
    Ok(SamplingParams {
        temperature: options.f32("temperature")?.unwrap_or(default.temperature),
        top_k: options.count("top_k")?.unwrap_or(default.top_k),
        top_p: options.f32("top_p")?.unwrap_or(default.top_p),
        min_p: options.f32("min_p")?.unwrap_or(default.min_p),
        repetition_penalty: options.f32("repeat_penalty")?.unwrap_or(default.repetition_penalty),
        frequency_penalty: options.f32("frequency_penalty")?.unwrap_or(default.frequency_penalty),
        presence_penalty: options.f32("presence_penalty")?.unwrap_or(default.presence_penalty),
        penalty_window: penalty_window(options)?.unwrap_or(default.penalty_window),
        logit_bias: Vec::new(),
        seed: options.seed("seed")?.or(default.seed),
        n_logprobs,
        logprobs_of: LogprobsOf::Model,
    })
}

/// -1 is all there is.
fn penalty_window(options: &mut Fields) -> Result<Option<usize>, ParamError> {
    let window = options.i64("repeat_last_n")?;
    Ok(window.map(|n| usize::try_from(n).unwrap_or(PENALTY_WINDOW_MAX)))
}

/// Below 0 is until the context is full.
fn max_tokens(options: &mut Fields) -> Result<Option<usize>, ParamError> {
    match options.i64("num_predict")? {
        Some(0) => Err(ParamError::wrong(options.name("num_predict"), "at least 1, or -1 for no bound", &0.into())),
        n => Ok(n.and_then(|n| usize::try_from(n).ok())),
    }
}
