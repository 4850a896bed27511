//! Logs, to standard error: quiet by default, text for people or JSON for programs.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How much is logged, and how.
#[derive(Args, Debug)]
pub(crate) struct LogOptions {
    /// What to log: off, error, warn, info, debug, trace, or per module (`ballast_llm=debug`).
    #[arg(long, global = true, env = "BALLAST_LOG", default_value = "error", value_name = "FILTER")]
    log: String,
    /// How to log.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
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
        let filter = EnvFilter::try_new(&self.log).unwrap_or_else(|_| EnvFilter::new("error"));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => builder.with_ansi(crate::environment::colour(&std::io::stderr())).init(),
            LogFormat::Json => builder.json().init(),
        }
    }
}
