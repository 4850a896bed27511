//! How many requests of each class of routes are served at a time: a class that is full keeps no other waiting.

use crate::options::{positive, seconds};
use ballast_server::{BulkheadOptions, ServerOptions};
use clap::Args as ClapArgs;
use std::time::Duration;

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct PlaceArgs {
    /// Most requests at a time that have text generated; those that wait in a model's queue count.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 192, help_heading = "Bounds")]
    generation_requests: usize,
    /// Most requests at a time that have texts embedded or ranked.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 64, help_heading = "Bounds")]
    embedding_requests: usize,
    /// Most requests at a time that have tensor models run.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 256, help_heading = "Bounds")]
    prediction_requests: usize,
    /// Most requests at a time that look at models, tokens and answers that are kept.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 64, help_heading = "Bounds")]
    reading_requests: usize,
    /// Most requests at a time of operators and scrapers.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 16, help_heading = "Bounds")]
    admin_requests: usize,
    /// Seconds that a request waits for a place of its class before it is refused.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0.5", help_heading = "Bounds")]
    place_wait: Duration,
}

impl PlaceArgs {
    /// Puts them where the server obeys them.
    pub(crate) fn set(self, options: &mut ServerOptions) {
        options.bulkheads = BulkheadOptions {
            generation_max: self.generation_requests,
            embeddings_max: self.embedding_requests,
            predictions_max: self.prediction_requests,
            reading_max: self.reading_requests,
            admin_max: self.admin_requests,
            wait: self.place_wait,
        };
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
        places: PlaceArgs,
    }

    #[test]
    fn every_option_gets_to_the_server_and_the_defaults_are_its_own() {
        let bulkheads = |line: &[&str]| {
            let mut options = server_options(None);
            Line::try_parse_from(line).unwrap().places.set(&mut options);
            options.bulkheads
        };
        assert_eq!(bulkheads(&[]), BulkheadOptions::default());
        let line = [
            "--generation-requests=1",
            "--embedding-requests=2",
            "--prediction-requests=6",
            "--reading-requests=3",
            "--admin-requests=4",
        ];
        let expected = BulkheadOptions {
            generation_max: 1,
            embeddings_max: 2,
            predictions_max: 6,
            reading_max: 3,
            admin_max: 4,
            wait: Duration::from_secs(5),
        };
        assert_eq!(bulkheads(&[&line[..], &["--place-wait=5"]].concat()), expected);
    }
}
