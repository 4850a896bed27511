//! Rules about Rust files as such: they parse, they open by saying what they are, their names mean something.

use super::Finding;
use super::house::House;

/// Names that say nothing about what a file is.
const BANNED: &[&str] = &["mod.rs", "utils.rs", "util.rs", "helpers.rs", "common.rs", "misc.rs", "manager.rs"];

pub(crate) fn every_rust_file_parses(house: &House) -> Vec<Finding> {
    let broken = house.files.iter().filter_map(|f| Some((f, f.rust.as_ref()?.as_ref().err()?)));
    broken.map(|(f, error)| Finding::new(&f.path, error.span().start().line, error.to_string())).collect()
}

pub(crate) fn every_rust_file_says_what_it_is(house: &House) -> Vec<Finding> {
    let rust = house.files.iter().filter(|f| f.rust.is_some());
    let mute = rust.filter(|f| !f.text.starts_with("//!"));
    mute.map(|f| Finding::new(&f.path, 1, "does not begin with //! and what it is")).collect()
}

pub(crate) fn no_file_has_a_name_that_says_nothing(house: &House) -> Vec<Finding> {
    let banned = house.files.iter().filter(|f| BANNED.contains(&f.name()));
    banned.map(|f| Finding::new(&f.path, 1, "the name says nothing; name the idea in it")).collect()
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings_of;

    #[test]
    fn a_broken_file_is_found() {
        assert_eq!(findings_of("parses", &[("a.rs", "//! A.\nfn f( {}")]).len(), 1);
        assert_eq!(findings_of("parses", &[("a.rs", "//! A.\nfn f() -> { 1 }")]).len(), 1);
        assert!(findings_of("parses", &[("a.rs", "//! A.\nfn f() {}")]).is_empty());
    }

    #[test]
    fn a_file_without_an_opening_is_found() {
        assert_eq!(findings_of("opening", &[("a.rs", "fn f() {}")]).len(), 1);
        assert!(findings_of("opening", &[("a.rs", "//! A.\nfn f() {}"), ("b.py", "x = 1")]).is_empty());
    }

    #[test]
    fn empty_names_are_found() {
        for name in super::BANNED {
            assert_eq!(findings_of("names", &[(&format!("crates/a/src/{name}"), "//! A.")]).len(), 1, "{name}");
        }
        assert!(findings_of("names", &[("crates/a/src/model.rs", "//! A.")]).is_empty());
    }
}
