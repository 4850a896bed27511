//! How many responses of `/v1/responses` are kept, how long, and in how much memory.

use crate::options::{bytes, seconds};
use ballast_server::{ResponseStoreOptions, ServerOptions};
use clap::Args as ClapArgs;
use std::time::Duration;

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct StoredArgs {
    /// Responses that are kept to be fetched and continued, 0 for none.
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Bounds")]
    stored_responses: usize,
    /// Most bytes of all of them, or with K, M, G.
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "64M", help_heading = "Bounds")]
    stored_responses_size: u64,
    /// Most seconds that one is kept.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "86400", help_heading = "Bounds")]
    stored_responses_age: Duration,
}

impl StoredArgs {
    /// Puts them where the server obeys them.
    pub(crate) fn set(self, options: &mut ServerOptions) {
        options.responses = ResponseStoreOptions {
            count_max: self.stored_responses,
            bytes_max: usize::try_from(self.stored_responses_size).unwrap_or(usize::MAX),
            age_max: self.stored_responses_age,
        };
    }
}
