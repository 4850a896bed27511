//! What can be set: the options of `serve`, by section and name.

use super::source::Value;
use crate::Cli;
use clap::{Arg, ArgAction, ArgGroup, Command, CommandFactory};
use std::any::TypeId;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

/// Options that say where settings come from, or ask for something else than to serve, are no settings.
const NO_SETTINGS: [&str; 6] = ["config", "profile", "set", "print_openapi", "help", "version"];
/// The section of options without a heading.
const SECTION: &str = "server";

/// What a setting's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Switch,
    Integer,
    Number,
    /// Bytes, as a number or with K, M, G.
    Bytes,
    Text,
    List,
}

/// One thing that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// `loading.ctx_size`.
    pub(crate) path: String,
    arg: Arg,
}

/// Everything that can be set, in the order of the command line's help.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: Vec<Key>,
    command: Command,
}

impl Keys {
    pub(crate) fn of_serve() -> Self {
        let root = Cli::command();
        let command = root.find_subcommand(super::VERB).expect("the verb exists").clone();
        let globals = root.get_arguments().filter(|arg| arg.is_global_set());
        let args = command.get_arguments().chain(globals);
        let keys = args.filter(|arg| is_setting(arg)).map(|arg| Key { path: path(arg), arg: arg.clone() }).collect();
        Self { keys, command }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    pub(crate) fn by_path(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    /// The sections, sorted.
    pub(crate) fn sections(&self) -> Vec<&str> {
        let mut sections: Vec<&str> = self.keys.iter().map(Key::section).collect();
        sections.sort_unstable();
        sections.dedup();
        sections
    }

    /// The keys that cannot be set beside this one.
    pub(crate) fn rivals(&self, key: &Key) -> impl Iterator<Item = &Key> {
        let excludes = |a: &Key, b: &Key| {
            let rivals = if self.is_own(a) { self.command.get_arg_conflicts_with(&a.arg) } else { Vec::new() };
            rivals.iter().any(|rival| rival.get_id() == b.arg.get_id())
        };
        let groups = |other: &Key| {
            self.command.get_groups().any(|group| is_exclusive(group) && has(group, key) && has(group, other))
        };
        let rivals = self.keys.iter().filter(|other| other.path != key.path);
        rivals
            .filter(move |other| excludes(key, other) || excludes(other, key) || groups(other))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether it is the verb's own, not one of every verb.
    fn is_own(&self, key: &Key) -> bool {
        self.command.get_arguments().any(|arg| arg.get_id() == key.arg.get_id())
    }
}

/// Whether an option says how to serve.
pub(super) fn is_setting(arg: &Arg) -> bool {
    !NO_SETTINGS.contains(&arg.get_id().as_str())
}

fn is_exclusive(group: &ArgGroup) -> bool {
    !group.clone().is_multiple()
}

fn has(group: &ArgGroup, key: &Key) -> bool {
    group.get_args().any(|id| id == key.arg.get_id())
}

fn path(arg: &Arg) -> String {
    let section = arg.get_help_heading().map_or_else(|| SECTION.to_owned(), str::to_lowercase);
    let name = arg.get_long().unwrap_or_else(|| arg.get_id().as_str());
    format!("{}.{}", section.replace(' ', "_"), name.replace('-', "_"))
}

impl Key {
    /// The option's name in clap's words.
    pub(crate) fn id(&self) -> &str {
        self.arg.get_id().as_str()
    }

    pub(crate) fn section(&self) -> &str {
        self.path.split_once('.').map_or(&*self.path, |(section, _)| section)
    }

    pub(crate) fn name(&self) -> &str {
        self.path.split_once('.').map_or(&*self.path, |(_, name)| name)
    }

    /// What it does, in one paragraph.
    pub(crate) fn help(&self) -> String {
        self.arg.get_help().map(ToString::to_string).unwrap_or_default()
    }

    /// The variable that sets it beside `BALLAST__SECTION__KEY`.
    pub(crate) fn variable(&self) -> Option<&str> {
        self.arg.get_env()?.to_str()
    }

    /// Whether its value is never to be shown, and to come from a file of its own or the environment.
    pub(crate) fn is_secret(&self) -> bool {
        self.arg.is_hide_env_values_set()
    }

    /// The value of one that is not set.
    pub(crate) fn default(&self) -> Option<Value> {
        if self.kind() == Kind::Switch {
            return Some(Value::Switch(false));
        }
        let values: Vec<String> =
            self.arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
        (!values.is_empty()).then_some(Value::Words(values))
    }

    /// The words that are allowed, where only some are.
    pub(crate) fn choices(&self) -> Vec<String> {
        if self.kind() == Kind::Switch {
            return Vec::new();
        }
        self.arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
    }

    pub(crate) fn kind(&self) -> Kind {
        if matches!(self.arg.get_action(), ArgAction::SetTrue) {
            return Kind::Switch;
        }
        if matches!(self.arg.get_action(), ArgAction::Append) {
            return Kind::List;
        }
        let id = self.arg.get_value_parser().type_id();
        let is_bytes = self.arg.get_value_names().is_some_and(|names| names.iter().any(|name| *name == "BYTES"));
        let integers = [
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<NonZeroU32>(),
        ];
        let numbers = [TypeId::of::<f32>(), TypeId::of::<f64>(), TypeId::of::<Duration>()];
        if is_bytes {
            Kind::Bytes
        } else if integers.iter().any(|integer| id == *integer) {
            Kind::Integer
        } else if numbers.iter().any(|number| id == *number) {
            Kind::Number
        } else {
            Kind::Text
        }
    }

    /// The value as the command line says it.
    pub(crate) fn words(&self, value: &Value) -> Vec<OsString> {
        let words: &[String] = match value {
            Value::Switch(false) => return Vec::new(),
            Value::Switch(true) => return vec![self.option().into()],
            Value::Words(words) => words,
        };
        if self.arg.is_positional() {
            return words.iter().map(OsString::from).collect();
        }
        words.iter().map(|word| OsString::from(format!("{}={word}", self.option()))).collect()
    }

    fn option(&self) -> String {
        format!("--{}", self.arg.get_long().unwrap_or_else(|| self.arg.get_id().as_str()))
    }
}
