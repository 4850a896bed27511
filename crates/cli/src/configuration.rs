//! What `serve` is told, from the command line, the environment, files and a profile, in this order of precedence.
//!
//! What can be set is what the command line of `serve` offers, and nothing else: every option is a key of the same name
//! in the section of its heading, checked by the option's own parser. An option that is added is a key at once.
//!
//! ```text
//! profile, files, environment, --set   configuration/source.rs   -> settings, each with its origin
//! options of serve                     configuration/key.rs      -> keys
//! settings that no option overrules    below                     -> options put behind the command line
//! ```

mod compat;
pub(crate) mod key;
pub(crate) mod profile;
pub(crate) mod schema;
mod source;

use crate::Cli;
use crate::failure::Failure;
use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser};
use key::{Key, Keys};
use profile::Profile;
pub(crate) use source::{Setting, Settings};
use std::ffi::OsString;
use std::path::PathBuf;

/// The verb that is configured.
pub(crate) const VERB: &str = "serve";

/// Where settings come from beside the options themselves.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SourceArgs {
    /// A file of settings [default: /etc/ballast/config.toml, then the user's].
    #[arg(long, env = "BALLAST_CONFIG", value_name = "FILE", help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,
    /// Settings for a purpose, overruled by all others.
    #[arg(long, env = "BALLAST__PROFILE", value_enum, help_heading = "Configuration")]
    pub(crate) profile: Option<Profile>,
    /// One setting, such as `loading.ctx_size=4096`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Configuration")]
    pub(crate) set: Vec<String>,
}

/// A command line on which nothing is missing yet.
#[derive(Debug, Parser)]
struct SourceLine {
    #[command(flatten)]
    sources: SourceArgs,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The line is wrong, or asks for help.
    Line(clap::Error),
    /// Another source is wrong.
    Source(Failure),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self::Source(failure)
    }
}

/// Reads the command line, completed by the other sources where it is one of `serve`.
///
/// # Errors
/// If a source cannot be read, has a key that does not exist, or a value that its option does not take.
pub(crate) fn read(line: Vec<OsString>) -> Result<Cli, Unread> {
    let line = compat::translate(line)?;
    let matches = command().try_get_matches_from(&line);
    let Some((VERB, given)) = matches.as_ref().ok().and_then(|matches| matches.subcommand()) else {
        return Cli::try_parse_from(line).map_err(Unread::Line);
    };
    let line = complete(line, given)?;
    let matches = command().try_get_matches_from(line).map_err(Unread::Line)?;
    Cli::from_arg_matches(&matches).map_err(Unread::Line)
}

/// The whole command line. The environment is read with the other sources: clap would let it exclude what the line says.
fn command() -> Command {
    let no_variable = |arg: Arg| if key::is_setting(&arg) { arg.env(Resettable::Reset) } else { arg };
    Cli::command().mut_args(no_variable).mut_subcommand(VERB, |verb| verb.mut_args(no_variable))
}

/// The line with what the other sources add.
fn complete(line: Vec<OsString>, given: &ArgMatches) -> Result<Vec<OsString>, Failure> {
    let sources = SourceLine::from_arg_matches(given)
        .map(|line| line.sources)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let keys = Keys::of_serve();
    let settings = Settings::read(&sources, &keys)?;
    let is_given = |key: &Key| {
        let source = given.value_source(key.id()).filter(|source| *source == ValueSource::CommandLine);
        source.is_some()
    };
    let more = options(&settings, &keys, is_given);
    check(&more)?;
    Ok(insert(line, more))
}

/// A setting as the command line says it.
#[derive(Debug)]
struct Opt<'a> {
    setting: &'a Setting,
    words: Vec<OsString>,
}

/// The settings that no option on the command line, and no setting from a stronger source, overrules.
fn options<'a>(settings: &'a Settings, keys: &'a Keys, is_given: impl Fn(&Key) -> bool) -> Vec<Opt<'a>> {
    let is_overruled = |key: &Key, setting: &Setting| {
        keys.rivals(key).any(|rival| {
            is_given(rival) || settings.of(rival).is_some_and(|other| other.is_on() && other.origin > setting.origin)
        })
    };
    let chosen = keys.iter().filter_map(|key| Some((key, settings.of(key)?)));
    let chosen = chosen.filter(|(key, setting)| !is_given(key) && !is_overruled(key, setting));
    chosen.map(|(key, setting)| Opt { setting, words: key.words(&setting.value) }).collect()
}

/// Reads every setting as its option would be read, so that a wrong one is told with where it stands.
fn check(options: &[Opt<'_>]) -> Result<(), Failure> {
    let mut command = command();
    for option in options {
        let line = ["ballast", VERB].map(OsString::from).into_iter().chain(option.words.iter().cloned());
        if let Err(error) = command.try_get_matches_from_mut(line) {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let what = format!("{} cannot be: {first}", option.setting.path);
            return Err(Failure::usage(what).because(format!("set by {}", option.setting.origin)));
        }
    }
    Ok(())
}

/// Puts options behind the line, before what `--` ends.
fn insert(mut line: Vec<OsString>, options: Vec<Opt<'_>>) -> Vec<OsString> {
    let end = line.iter().position(|word| word == "--").unwrap_or(line.len());
    let words = options.into_iter().flat_map(|option| option.words);
    line.splice(end..end, words);
    line
}

/// All settings of these sources, checked one by one and together.
pub(crate) fn settings(sources: &SourceArgs) -> Result<(Keys, Settings), Failure> {
    let keys = Keys::of_serve();
    let settings = Settings::read(sources, &keys)?;
    let options = options(&settings, &keys, |_| false);
    check(&options)?;
    let line = insert(["ballast", VERB].map(OsString::from).to_vec(), options);
    command().try_get_matches_from(line).map_err(|error| Failure::usage(error.to_string()))?;
    Ok((keys, settings))
}
