//! The sources of settings: a profile, files, the environment, `--set`. Each setting remembers which one it is from.

use super::SourceArgs;
use super::key::{Key, Keys, Kind};
use super::profile::Profile;
use crate::environment;
use crate::failure::Failure;
use crate::options::read_text;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Longest file of settings.
const FILE_BYTES_MAX: usize = 1 << 20;
/// What every variable that is a setting begins with.
pub(crate) const PREFIX: &str = "BALLAST__";

/// Where a setting is from, the weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Profile(&'static str),
    File { path: PathBuf, line: usize },
    Variable(String),
    Set,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "{name}"),
            Self::Set => write!(f, "--set"),
        }
    }
}

/// What a setting says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Switch(bool),
    Words(Vec<String>),
}

/// One thing that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) path: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Setting {
    /// Whether it says more than a switch that is off.
    pub(crate) fn is_on(&self) -> bool {
        self.value != Value::Switch(false)
    }
}

/// Everything that is set.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    settings: BTreeMap<String, Setting>,
    profile: Option<Profile>,
}

impl Settings {
    /// Reads every source, the weakest first.
    pub(crate) fn read(sources: &SourceArgs, keys: &Keys) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for path in paths(sources) {
            let text = read_text(&path)?;
            files.push((path, text));
        }
        let mut settings = Self::default();
        // A profile is weaker than the file that names it.
        let named = files.iter().map(|(path, text)| profile_of(path, text)).collect::<Result<Vec<_>, _>>()?;
        settings.profile = sources.profile.or_else(|| named.into_iter().flatten().next_back());
        if let Some(profile) = settings.profile {
            let origin = |_| Origin::Profile(profile.name());
            settings.add_text(profile.text(), keys, origin)?;
        }
        for (path, text) in &files {
            settings.add_text(text, keys, |line| Origin::File { path: path.clone(), line })?;
        }
        settings.add_variables(keys)?;
        for word in &sources.set {
            let pair = word.split_once('=');
            let (path, value) = pair.ok_or_else(|| Failure::usage(format!("--set takes KEY=VALUE, got {word:?}")))?;
            settings.add_word(key(keys, path, &Origin::Set)?, value, Origin::Set)?;
        }
        Ok(settings)
    }

    pub(crate) fn of(&self, key: &Key) -> Option<&Setting> {
        self.settings.get(&key.path)
    }

    pub(crate) fn profile(&self) -> Option<Profile> {
        self.profile
    }

    fn add(&mut self, key: &Key, value: Value, origin: Origin) {
        let setting = Setting { path: key.path.clone(), value, origin };
        self.settings.insert(key.path.clone(), setting);
    }

    fn add_text(&mut self, text: &str, keys: &Keys, origin: impl Fn(usize) -> Origin) -> Result<(), Failure> {
        for (section, entries) in table(text, &origin)? {
            if section.get_ref() == "profile" {
                continue;
            }
            let line = line_of(text, section.span().start);
            let Some(entries) = entries.get_ref().as_table() else {
                return Err(unknown(keys, section.get_ref(), &origin(line)));
            };
            for (name, value) in entries {
                let origin = origin(line_of(text, name.span().start));
                let key = key(keys, &format!("{}.{}", section.get_ref(), name.get_ref()), &origin)?;
                if key.is_secret() {
                    return Err(secret(key, &origin));
                }
                let value =
                    read_value(key, value.get_ref()).ok_or_else(|| wrong(key, value.get_ref().type_str(), &origin))?;
                self.add(key, value, origin);
            }
        }
        Ok(())
    }

    fn add_variables(&mut self, keys: &Keys) -> Result<(), Failure> {
        for key in keys.iter() {
            let set = key.variable().and_then(|name| Some((name, environment::variable(name)?)));
            if let Some((name, value)) = set {
                self.add_word(key, &value, Origin::Variable(name.to_owned()))?;
            }
        }
        for (name, value) in environment::variables_with(PREFIX) {
            let path = name[PREFIX.len()..].to_lowercase().replacen("__", ".", 1);
            if path != "profile" {
                let origin = Origin::Variable(name);
                self.add_word(key(keys, &path, &origin)?, &value, origin)?;
            }
        }
        Ok(())
    }

    /// A value from where everything is text: lists are separated by commas.
    fn add_word(&mut self, key: &Key, word: &str, origin: Origin) -> Result<(), Failure> {
        let value = match key.kind() {
            Kind::Switch => match word {
                "true" | "1" => Value::Switch(true),
                "false" | "0" => Value::Switch(false),
                _ => return Err(wrong(key, "another word", &origin)),
            },
            Kind::List => Value::Words(word.split(',').map(|item| item.trim().to_owned()).collect()),
            Kind::Integer | Kind::Number | Kind::Bytes | Kind::Text => Value::Words(vec![word.to_owned()]),
        };
        self.add(key, value, origin);
        Ok(())
    }
}

/// The files that are read, the weakest first: the one that is named, or those in the usual places.
fn paths(sources: &SourceArgs) -> Vec<PathBuf> {
    match &sources.config {
        Some(path) => vec![path.clone()],
        None => environment::config_files().into_iter().filter(|path| path.is_file()).collect(),
    }
}

fn table<'t>(text: &'t str, origin: &impl Fn(usize) -> Origin) -> Result<DeTable<'t>, Failure> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("a file of settings has at most {FILE_BYTES_MAX} bytes")));
    }
    DeTable::parse(text).map(toml::Spanned::into_inner).map_err(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        Failure::usage(format!("not TOML: {}", error.message())).because(format!("in {}", origin(line)))
    })
}

/// The profile that a file names.
fn profile_of(path: &Path, text: &str) -> Result<Option<Profile>, Failure> {
    let origin = |line| Origin::File { path: path.to_owned(), line };
    let table = table(text, &origin)?;
    let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == "profile") else { return Ok(None) };
    let profile = value.get_ref().as_str().and_then(|name| Profile::from_str(name, false).ok());
    let expected = || {
        let names: Vec<&str> = Profile::value_variants().iter().map(|profile| profile.name()).collect();
        let origin = origin(line_of(text, name.span().start));
        Failure::usage(format!("profile is one of {}", names.join(", "))).because(format!("set by {origin}"))
    };
    profile.map(Some).ok_or_else(expected)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// A TOML value as words; `None` if the key takes another type.
fn read_value(key: &Key, value: &DeValue<'_>) -> Option<Value> {
    match (key.kind(), value) {
        (Kind::Switch, value) => Some(Value::Switch(value.as_bool()?)),
        (Kind::List, DeValue::Array(items)) => {
            items.iter().map(|item| scalar(item.get_ref())).collect::<Option<_>>().map(Value::Words)
        }
        (_, value) => Some(Value::Words(vec![scalar(value)?])),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn key<'k>(keys: &'k Keys, path: &str, origin: &Origin) -> Result<&'k Key, Failure> {
    keys.by_path(path).ok_or_else(|| unknown(keys, path, origin))
}

fn unknown(keys: &Keys, path: &str, origin: &Origin) -> Failure {
    let section = path.split('.').next().unwrap_or_default();
    let names: Vec<&str> = keys.iter().filter(|key| key.section() == section).map(Key::name).collect();
    let known = if names.is_empty() {
        format!("the sections are {}", keys.sections().join(", "))
    } else {
        format!("[{section}] has {}", names.join(", "))
    };
    Failure::usage(format!("there is no setting {path}")).because(format!("set by {origin}")).try_this(known)
}

fn wrong(key: &Key, got: &str, origin: &Origin) -> Failure {
    let expected = match key.kind() {
        Kind::Switch => "true or false",
        Kind::Integer => "a whole number",
        Kind::Number => "a number",
        Kind::Bytes => "bytes, as a number or such as \"500M\"",
        Kind::Text => "text",
        Kind::List => "a list of text",
    };
    Failure::usage(format!("{} takes {expected}, got {got}", key.path)).because(format!("set by {origin}"))
}

fn secret(key: &Key, origin: &Origin) -> Failure {
    let what = format!("{} is a secret and does not belong in a file of settings", key.path);
    let variable = key.variable().map_or_else(String::new, |name| format!("the variable {name}, or "));
    Failure::usage(what).because(format!("set by {origin}")).try_this(format!("{variable}an option that names a file"))
}
