//! Logs, to standard error: quiet by default, text for people or JSON for programs.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How much is logged, and how.
#[derive(Args, Debug)]
pub(crate) struct LogOptions {
    /// What to log: off, error, warn, info, debug, trace, or per module (`ballast_llm=debug`).
    #[arg(long, global = true, env = "BALLAST_LOG", default_value = "error", value_name = "FILTER", value_parser = filter, help_heading = "Logging")]
    log: String,
    /// How to log.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", help_heading = "Logging")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl LogOptions {
    /// Starts logging for the process.
    pub(crate) fn start(&self) {
        let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&self.log)).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => builder.with_ansi(crate::environment::colour(&std::io::stderr())).init(),
            LogFormat::Json => builder.json().init(),
        }
    }
}

/// Refuses what does not parse: a filter that is not obeyed would hide what was asked for.
fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
