//! How tokens are drawn where a request does not say.

use ballast_server::{Reasoning, ServerOptions};
use clap::{Args as ClapArgs, ValueEnum};

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct DefaultArgs {
    /// Temperature of requests that name none [default: 1].
    #[arg(long, visible_alias = "temp", value_name = "T", help_heading = "Sampling")]
    temperature: Option<f32>,
    /// Number of most likely tokens that requests sample among which name none, 0 for all [default: 0].
    #[arg(long, value_name = "K", help_heading = "Sampling")]
    top_k: Option<usize>,
    /// Probability of the most likely tokens that requests sample among which name none [default: 1].
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    top_p: Option<f32>,
    /// Share of the most likely token's probability below which tokens are left out, for requests that name none
    /// [default: 0].
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    min_p: Option<f32>,
    /// Seed of requests that name none [default: another for each].
    #[arg(short = 's', long, value_name = "N", help_heading = "Sampling")]
    seed: Option<u64>,
    /// What chat templates are told of reasoning.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = "Sampling")]
    reasoning: Thinking,
    /// Tell with chat answers the prompt that they were made from, in `__verbose`, where a request does not say.
    #[arg(long, help_heading = "Sampling")]
    tell_prompts: bool,
}

/// Whether models think before they answer.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Thinking {
    /// They are asked to.
    On,
    /// They are asked not to.
    Off,
    /// As on: templates of models that cannot reason ignore it.
    Auto,
}

impl DefaultArgs {
    /// Puts them where the server obeys them.
    pub(crate) fn set(self, options: &mut ServerOptions) {
        let sampling = &mut options.sampling;
        sampling.temperature = self.temperature.unwrap_or(sampling.temperature);
        sampling.top_k = self.top_k.unwrap_or(sampling.top_k);
        sampling.top_p = self.top_p.unwrap_or(sampling.top_p);
        sampling.min_p = self.min_p.unwrap_or(sampling.min_p);
        sampling.seed = self.seed.or(sampling.seed);
        options.tells_prompts = self.tell_prompts;
        options.reasoning = match self.reasoning {
            Thinking::On => Some(Reasoning::On),
            Thinking::Off => Some(Reasoning::Off),
            Thinking::Auto => None,
        };
    }
}
