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
    /// Most seconds for a handshake of TLS.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10", help_heading = "Bounds")]
    handshake_timeout: Duration,
    /// Most seconds for the body of a request.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30", help_heading = "Bounds")]
    body_timeout: Duration,
    /// Most seconds in which a client takes nothing of its answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60", help_heading = "Bounds")]
    stall_timeout: Duration,
    /// Most seconds that a request may ask for.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "3600", help_heading = "Bounds")]
    request_timeout_max: Duration,
    /// Most seconds until a route answers on which nothing is generated or embedded.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30", help_heading = "Bounds")]
    route_timeout: Duration,
    /// Seconds from one look for changed files of keys, tokens and certificates to the next.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5", help_heading = "Bounds")]
    reload_interval: Duration,
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
        options.handshake_timeout = self.handshake_timeout;
        options.body_timeout = self.body_timeout;
        options.stall_timeout = self.stall_timeout;
        options.request_deadline_max = self.request_timeout_max;
        options.route_timeout = self.route_timeout;
        options.reload_interval = self.reload_interval;
        options.keep_alive = self.comment_interval;
        options.max_tokens_default = self.max_tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::serve::server_options;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        bounds: BoundArgs,
    }

    fn set(line: &[&str]) -> ServerOptions {
        let mut options = server_options(None);
        Line::try_parse_from(line).unwrap().bounds.set(&mut options);
        options
    }

    fn times(options: &ServerOptions) -> [u64; 9] {
        [
            options.idle_timeout,
            options.header_timeout,
            options.handshake_timeout,
            options.body_timeout,
            options.stall_timeout,
            options.request_deadline_max,
            options.route_timeout,
            options.reload_interval,
            options.keep_alive,
        ]
        .map(|time| time.as_secs())
    }

    #[test]
    fn every_option_gets_to_the_server() {
        let names = [
            "--idle-timeout=31",
            "--header-timeout=32",
            "--handshake-timeout=33",
            "--body-timeout=34",
            "--stall-timeout=35",
            "--request-timeout-max=36",
            "--route-timeout=37",
            "--reload-interval=38",
            "--comment-interval=39",
        ];
        let more = ["--body-size=3K", "--connections=7", "--max-tokens=5"];
        let options = set(&[&names[..], &more].concat());
        assert_eq!(times(&options), [31, 32, 33, 34, 35, 36, 37, 38, 39]);
        assert_eq!((options.body_bytes_max, options.connections_max), (3 << 10, 7));
        assert_eq!(options.max_tokens_default, Some(5));
    }

    #[test]
    fn what_the_line_does_not_say_is_the_servers_default() {
        let (line, server) = (set(&[]), server_options(None));
        assert_eq!(times(&line), times(&server));
        assert_eq!((line.body_bytes_max, line.max_tokens_default), (server.body_bytes_max, server.max_tokens_default));
    }
}
