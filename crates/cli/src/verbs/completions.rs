//! `ballast completions`: what a shell needs to complete this command line.

use crate::failure::Failure;
use crate::output;
use clap::Args as ClapArgs;
use clap_complete::Shell;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, mut command: clap::Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "ballast", &mut script);
        output::write(&String::from_utf8_lossy(&script))
    }
}
