//! `ballast config`: the settings of `serve`, checked, shown, and described for editors.

use crate::configuration::key::{Key, Keys};
use crate::configuration::schema::{schema, toml_of};
use crate::configuration::{Settings, SourceArgs, settings};
use crate::failure::Failure;
use crate::output;
use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read every source of settings and say whether they hold.
    Check(SourceArgs),
    /// Print the settings as a file would say them.
    Show(ShowArgs),
    /// Print the JSON Schema of a file of settings.
    Schema,
}

#[derive(Debug, ClapArgs)]
struct ShowArgs {
    #[command(flatten)]
    sources: SourceArgs,
    /// Say where each value is from.
    #[arg(long)]
    origin: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Check(sources) => {
                let (keys, settings) = settings(&sources)?;
                let n_set = keys.iter().filter(|key| settings.of(key).is_some()).count();
                output::line(&format!("the settings hold: {n_set} of {} are set", keys.iter().count()))
            }
            What::Show(args) => {
                let (keys, settings) = settings(&args.sources)?;
                output::line(shown(&keys, &settings, args.origin).trim_end())
            }
            What::Schema => output::line(&serde_json::to_string_pretty(&schema(&Keys::of_serve()))?),
        }
    }
}

/// Everything that can be set, by section. What is not set and has no default is a comment.
fn shown(keys: &Keys, settings: &Settings, with_origin: bool) -> String {
    let mut text = String::new();
    if let Some(profile) = settings.profile() {
        text += &format!("profile = \"{}\"\n\n", profile.name());
    }
    for section in keys.sections() {
        text += &format!("[{section}]\n");
        for key in keys.iter().filter(|key| key.section() == section) {
            text += &line(key, settings, with_origin);
        }
        text += "\n";
    }
    text
}

fn line(key: &Key, settings: &Settings, with_origin: bool) -> String {
    let setting = settings.of(key);
    let origin = setting.map_or_else(|| "default".to_owned(), |setting| setting.origin.to_string());
    let value = setting.map(|setting| setting.value.clone()).or_else(|| key.default());
    let line = match value {
        Some(_) if key.is_secret() => format!("# {} is set and not shown", key.name()),
        Some(value) => format!("{} = {}", key.name(), toml_of(key, &value)),
        None => return format!("# {} is not set\n", key.name()),
    };
    if with_origin { format!("{line} # {origin}\n") } else { format!("{line}\n") }
}
