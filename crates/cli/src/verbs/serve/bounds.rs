//! How much and how long a client may keep the server.

use crate::environment;
use crate::options::{bytes, positive, seconds};
use ballast_server::ServerOptions;
use clap::Args as ClapArgs;
use std::time::Duration;

/// Files that a server has open beside its connections: models, caches, logs, workers.
const FILES_KEPT: usize = 128;

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct BoundArgs {
    /// Longest request body, or with K, M, G.
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "1M", help_heading = "Bounds")]
    body_size: u64,
    /// Most connections at a time [also: what the system lets the process open].
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 16_384, help_heading = "Bounds")]
    connections: usize,
    /// Most seconds that a connection is kept open on which nothing is asked.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120", help_heading = "Bounds")]
    idle_timeout: Duration,
    /// Most seconds from the first byte of a request's head to its last.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "15", help_heading = "Bounds")]
    header_timeout: Duration,
    /// Most seconds for the body of a request.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30", help_heading = "Bounds")]
    body_timeout: Duration,
    /// Most seconds in which a client takes nothing of its answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60", help_heading = "Bounds")]
    stall_timeout: Duration,
    /// Most seconds that a request may ask for.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "3600", help_heading = "Bounds")]
    request_timeout_max: Duration,
    /// Seconds of silence in a streamed answer after which a comment is sent.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10", help_heading = "Bounds")]
    comment_interval: Duration,
    /// Tokens of an answer whose request names no number [default: until the context is full].
    #[arg(long, visible_alias = "n-predict", short = 'n', value_name = "N", value_parser = positive, help_heading = "Bounds")]
    max_tokens: Option<usize>,
}

impl BoundArgs {
    /// Puts them where the server obeys them.
    pub(crate) fn set(self, options: &mut ServerOptions) {
        options.body_bytes_max = usize::try_from(self.body_size).unwrap_or(usize::MAX);
        let files = environment::open_files_max().unwrap_or(usize::MAX);
        options.connections_max = self.connections.min(files.saturating_sub(FILES_KEPT)).max(1);
        options.idle_timeout = self.idle_timeout;
        options.header_timeout = self.header_timeout;
        options.body_timeout = self.body_timeout;
        options.stall_timeout = self.stall_timeout;
        options.request_deadline_max = self.request_timeout_max;
        options.keep_alive = self.comment_interval;
        options.max_tokens_default = self.max_tokens;
    }
}
