//! Rules about manifests: dependencies between our crates point down, what a crate fences stays inside of it, and
//! every crate takes the workspace's lints.

use super::Finding;
use super::house::{House, TextFile};
use toml::Table;

/// The only arrows there are: a crate, and our crates that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "ballast-cli",
        &[
            "ballast",
            "ballast-backend",
            "ballast-gguf",
            "ballast-kernels",
            "ballast-server",
            "ballast-store",
            "ballast-threads",
        ],
    ),
    (
        "ballast",
        &[
            "ballast-artifacts",
            "ballast-backend",
            "ballast-coreml",
            "ballast-gguf",
            "ballast-llm",
            "ballast-ort",
            "ballast-runtime",
            "ballast-tensor",
            "ballast-threads",
            "ballast-tokens",
            "ballast-worker",
        ],
    ),
    ("ballast-server", &["ballast-backend", "ballast-runtime", "ballast-tokens"]),
    ("ballast-runtime", &["ballast-backend", "ballast-tokens"]),
    ("ballast-llm", &["ballast-artifacts", "ballast-backend", "ballast-gguf", "ballast-kernels", "ballast-threads"]),
    ("ballast-tensor", &["ballast-artifacts", "ballast-backend", "ballast-gguf", "ballast-kernels", "ballast-threads"]),
    ("ballast-coreml", &["ballast-artifacts", "ballast-backend"]),
    ("ballast-ort", &["ballast-artifacts", "ballast-backend"]),
    ("ballast-tokens", &["ballast-backend", "ballast-gguf", "ballast-kernels"]),
    ("ballast-store", &["ballast-gguf"]),
    ("ballast-artifacts", &["ballast-backend"]),
    ("ballast-worker", &["ballast-backend"]),
    ("ballast-backend", &[]),
    ("ballast-gguf", &[]),
    ("ballast-kernels", &[]),
    ("ballast-threads", &[]),
    (
        TESTKIT,
        &[
            "ballast-artifacts",
            "ballast-backend",
            "ballast-gguf",
            "ballast-kernels",
            "ballast-llm",
            "ballast-runtime",
            "ballast-threads",
            "ballast-tokens",
        ],
    ),
    ("xtask", &[]),
];

/// Only tests depend on it, and any crate's may.
const TESTKIT: &str = "ballast-testkit";

/// The library's page of examples serves what it loads.
const SERVED: &str = "ballast-server";

/// Dependencies of others, and the crates that fence them, so that none of their types gets further.
const FENCES: &[(&str, &[&str])] = &[
    ("axum", &["ballast-server"]),
    ("clap", &["ballast-cli"]),
    ("hound", &["ballast"]),
    ("image", &["ballast"]),
    ("indicatif", &["ballast-cli"]),
    ("memmap2", &["ballast-gguf"]),
    ("objc2", &["ballast-coreml"]),
    ("objc2-core-ml", &["ballast-coreml"]),
    ("llguidance", &["ballast-tokens"]),
    ("minijinja", &["ballast-tokens"]),
    ("ort", &["ballast-ort"]),
    ("prost", &["ballast-server"]),
    ("rustyline", &["ballast-cli"]),
    ("tonic", &["ballast-server"]),
    ("ureq", &["ballast-cli", "ballast-store"]),
];

/// A manifest that could be read.
struct Manifest<'a> {
    file: &'a TextFile,
    table: Table,
}

impl Manifest<'_> {
    fn name(&self) -> &str {
        let package = self.table.get("package").and_then(|p| p.as_table());
        package.and_then(|p| p.get("name")).and_then(|n| n.as_str()).unwrap_or_default()
    }

    /// Names in the table `kind`, for every target.
    fn dependencies(&self, kind: &str) -> Vec<&str> {
        let targets = self.table.get("target").and_then(|t| t.as_table()).into_iter().flatten();
        let tables = targets.filter_map(|(_, t)| t.as_table()).chain([&self.table]);
        tables.filter_map(|t| t.get(kind)?.as_table()).flat_map(|t| t.keys().map(String::as_str)).collect()
    }

    fn finding(&self, word: &str, what: String) -> Finding {
        let line = self.file.lines().find(|(_, line)| line.starts_with(word)).map_or(1, |(number, _)| number);
        Finding::new(&self.file.path, line, what)
    }
}

/// Manifests of the workspace's crates; a broken one has no name and so no arrows.
fn manifests(house: &House) -> impl Iterator<Item = Manifest<'_>> {
    let ours =
        |path: &str| (path.starts_with("crates/") && path.matches('/').count() == 2) || path.starts_with("xtask/");
    let files = house.files.iter().filter(move |f| f.name() == "Cargo.toml" && ours(&f.path));
    files.map(|file| Manifest { file, table: file.text.parse().unwrap_or_default() })
}

fn is_ours(name: &str) -> bool {
    name == "ballast" || name == "xtask" || name.starts_with("ballast-")
}

pub(crate) fn dependencies_point_down(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(house) {
        let name = manifest.name();
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            findings.push(manifest.finding("name", format!("crate `{name}` has no place in the arrows")));
            continue;
        };
        let mut check = |kind: &str, also: &[&str]| {
            for to in manifest.dependencies(kind).into_iter().filter(|to| is_ours(to)) {
                if !allowed.contains(&to) && !also.contains(&to) {
                    findings.push(manifest.finding(to, format!("{name} may not depend on {to}")));
                }
            }
        };
        check("dependencies", &[]);
        check("build-dependencies", &[]);
        check("dev-dependencies", if name == "ballast" { &[TESTKIT, SERVED] } else { &[TESTKIT] });
    }
    findings
}

pub(crate) fn fenced_dependencies_stay_inside(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(house) {
        for fenced in manifest.dependencies("dependencies") {
            let fence = FENCES.iter().find(|(name, homes)| *name == fenced && !homes.contains(&manifest.name()));
            if let Some((_, homes)) = fence {
                findings.push(manifest.finding(fenced, format!("{fenced} is fenced by {}", homes.join(", "))));
            }
        }
    }
    findings
}

pub(crate) fn every_crate_takes_the_lints(house: &House) -> Vec<Finding> {
    let lax = manifests(house).filter(|m| {
        let lints = m.table.get("lints").and_then(|l| l.as_table());
        lints.and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool) != Some(true)
    });
    lax.map(|m| m.finding("[lints]", "does not take the workspace's lints".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings_of;

    const PATH: &str = "crates/x/Cargo.toml";

    fn arrows(from: &str, kind: &str, to: &str) -> usize {
        let text = format!("[package]\nname = \"{from}\"\n[{kind}]\n{to} = {{ workspace = true }}\n");
        findings_of("arrows", &[(PATH, &text)]).len()
    }

    #[test]
    fn arrows_that_point_up_are_found() {
        assert_eq!(arrows("ballast-runtime", "dependencies", "ballast-llm"), 1);
        assert_eq!(arrows("ballast-server", "dependencies", "ballast"), 1);
        assert_eq!(arrows("ballast-kernels", "build-dependencies", "ballast-gguf"), 1);
        assert_eq!(arrows("ballast-gguf", "target.'cfg(unix)'.dependencies", "ballast-backend"), 1);
        assert_eq!(arrows("ballast-llm", "dependencies", "ballast-kernels"), 0);
        assert_eq!(arrows("ballast-gguf", "dependencies", "thiserror"), 0);
    }

    #[test]
    fn only_tests_may_use_the_testkit() {
        assert_eq!(arrows("ballast-llm", "dependencies", "ballast-testkit"), 1);
        assert_eq!(arrows("ballast-llm", "dev-dependencies", "ballast-testkit"), 0);
        assert_eq!(arrows("ballast-runtime", "dev-dependencies", "ballast-llm"), 1);
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        assert_eq!(arrows("ballast-mixin", "dependencies", "thiserror"), 1);
    }

    #[test]
    fn a_fenced_dependency_outside_of_its_crate_is_found() {
        for (fenced, homes) in super::FENCES {
            let manifest = |name: &str| format!("[package]\nname = \"{name}\"\n[dependencies]\n{fenced} = \"1\"\n");
            assert_eq!(findings_of("fences", &[(PATH, &manifest("ballast-backend"))]).len(), 1, "{fenced}");
            for home in *homes {
                assert!(findings_of("fences", &[(PATH, &manifest(home))]).is_empty(), "{fenced} in {home}");
            }
        }
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        assert_eq!(findings_of("lints", &[(PATH, "[package]\nname = \"ballast-llm\"\n")]).len(), 1);
        assert!(findings_of("lints", &[(PATH, "[lints]\nworkspace = true\n")]).is_empty());
    }
}
