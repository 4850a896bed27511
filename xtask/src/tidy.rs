//! The rules of the house, as a table; each rule is one file below and takes the whole house as data.
//!
//! A rule is a function from [`House`] to [`Finding`]s. It reads no file by itself, so that its tests can give it a
//! bad house; they go through the table, so that a rule that is taken out of it fails its test.

mod arrows;
mod documents;
mod facts;
mod house;
mod names;
mod places;
mod sizes;
mod unsafety;
mod words;

use house::House;
use std::path::Path;

/// Something that breaks a rule, and where.
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

type Rule = (&'static str, fn(&House) -> Vec<Finding>);

const RULES: &[Rule] = &[
    ("parses", names::every_rust_file_parses),
    ("arrows", arrows::dependencies_point_down),
    ("fences", arrows::fenced_dependencies_stay_inside),
    ("lints", arrows::every_crate_takes_the_lints),
    ("sizes", sizes::files_and_functions_are_short),
    ("opening", names::every_rust_file_says_what_it_is),
    ("names", names::no_file_has_a_name_that_says_nothing),
    ("forbid", unsafety::crate_roots_forbid_unsafe),
    ("safety", unsafety::every_unsafe_is_argued),
    ("unfinished", words::nothing_is_left_unfinished),
    ("shared-mutex", words::no_signature_shares_a_mutex),
    ("places", places::no_machine_or_registry_is_named),
    ("links", documents::links_lead_somewhere),
    ("papers", documents::the_papers_are_there),
    ("code-map", documents::the_code_map_names_every_crate),
    ("checklist", documents::the_checklist_is_honest),
];

/// Number of rules that [`check_house`] applies.
pub(crate) fn n_rules() -> usize {
    RULES.len()
}

/// Checks the repository at `root`: one line for each finding.
///
/// # Errors
/// If a file or folder cannot be read.
pub(crate) fn check_house(root: &Path) -> std::io::Result<Vec<String>> {
    Ok(check(&House::read(root)?))
}

fn check(house: &House) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, rule) in RULES {
        lines.extend(rule(house).into_iter().map(|f| format!("{}:{}: [{name}] {}", f.path, f.line, f.what)));
    }
    lines
}

/// What rule `name` of the table finds in a house made of `files`, each a path and its text.
#[cfg(test)]
fn findings_of(name: &str, files: &[(&str, &str)]) -> Vec<String> {
    let tag = format!("[{name}]");
    let house = House::from_files(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    check(&house).into_iter().filter(|line| line.contains(&tag)).collect()
}
