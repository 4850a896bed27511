//! `ballast rm`: delete a model that Ballast downloaded.

use crate::failure::Failure;
use crate::options::{ModelArg, parse_name};
use crate::{environment, output};
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let removed = environment::store(true).remove(&parse_name(&self.model.model)?)?;
        output::note(&format!("removed {} ({} MB)", removed.path().display(), removed.bytes().div_ceil(1_000_000)));
        Ok(())
    }
}
