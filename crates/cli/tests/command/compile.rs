//! Packing ahead, looking at what is packed, and where it is kept.

use crate::support::{Home, Ran};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A home whose model is old enough to be known by its date.
fn home() -> Home {
    let home = Home::new();
    home.age_model();
    home
}

fn listed(home: &Home, args: &[&str]) -> Vec<Value> {
    home.ballast(&[&["compile", "--list", "--json"], args].concat()).json().as_array().unwrap().clone()
}

fn ask(home: &Home, args: &[&str]) -> Value {
    let asked = [&["run", home.model(), "x", "-n", "4", "--temp", "0", "--json"], args].concat();
    home.ballast(&asked).json()["token_ids"].clone()
}

#[test]
fn a_model_is_packed_once_listed_used_and_cleared() {
    let home = home();
    let expected = ask(&home, &["--no-compile-cache"]);
    assert_eq!(listed(&home, &[]), Vec::<Value>::new(), "what is off keeps nothing");
    let first = home.json("compile", &["--json"]);
    let bytes = fs::metadata(first["path"].as_str().unwrap()).unwrap().len();
    assert_eq!((&first["was_there"], &first["bytes"]), (&json!(false), &json!(bytes)));
    assert!(Path::new(first["path"].as_str().unwrap()).starts_with(home.data_dir().join("compiled")));
    let second = home.json("compile", &["--json"]);
    assert_eq!((&second["was_there"], &second["path"]), (&json!(true), &first["path"]));
    let models = listed(&home, &[]);
    assert_eq!((models.len(), &models[0]["path"], &models[0]["bytes"]), (1, &first["path"], &json!(bytes)));
    assert_eq!(ask(&home, &[]), expected);
    assert_eq!(ask(&home, &["--isolation", "process"]), expected);
    let plan = home.json("info", &["--json"])["model"]["memory"].clone();
    assert_eq!(plan["mapped_bytes"], 0, "weights found in the cache are read to memory: {plan}");
    let cleared = home.ballast(&["compile", "--clear", "--json"]).json();
    assert_eq!(cleared, json!({ "removed": 1, "in_use": 0 }));
    assert_eq!(listed(&home, &[]), Vec::<Value>::new());
}

/// Bytes that would be mapped, of a plan that may be asked for in the environment.
fn mapped_bytes(home: &Home, args: &[&str], environment: Option<&str>) -> u64 {
    let mut command = home.command(&[&["info", home.model(), "--json"], args].concat());
    command.envs(environment.map(|value| ("BALLAST_MAP_WEIGHTS", value)));
    let plan = Ran::from(command.output().unwrap()).json()["model"]["memory"].clone();
    plan["mapped_bytes"].as_u64().unwrap()
}

#[test]
fn cached_weights_are_mapped_where_the_flag_or_the_environment_asks_for_it() {
    let home = home();
    assert_eq!(mapped_bytes(&home, &["--map-weights"], None), 0, "nothing is in the cache to be mapped");
    let expected = ask(&home, &["--no-compile-cache"]);
    home.json("compile", &["--json"]);
    let cases: [(&[&str], Option<&str>, bool); 6] = [
        (&[], None, false),
        (&["--map-weights"], None, true),
        (&[], Some("1"), true),
        (&[], Some("0"), false),
        (&[], Some(""), false),
        (&["--no-compile-cache"], Some("1"), false),
    ];
    for (args, environment, is_mapped) in cases {
        assert_eq!(mapped_bytes(&home, args, environment) > 0, is_mapped, "{args:?} {environment:?}");
    }
    assert_eq!(ask(&home, &["--map-weights"]), expected);
    assert_eq!(ask(&home, &["--map-weights", "--isolation", "process"]), expected);
    home.ballast(&["info", home.model(), "--map-weights", "--no-compile-cache"]).fails(2, "cannot be used with");
}

#[test]
fn a_start_keeps_the_model_where_it_is_told_to() {
    let home = home();
    let place = home.path("packed");
    let args = ["--compile-cache", place.to_str().unwrap()];
    let answer = ask(&home, &args);
    assert_eq!(listed(&home, &args).len(), 1, "a short run waits until its model is kept");
    assert_eq!(ask(&home, &args), answer);
    assert_eq!(listed(&home, &[]).len(), 0);
    let by_environment = home.command(&["compile", "--list", "--json"]).env("BALLAST_COMPILE_CACHE", &place).output();
    let listed: Value = serde_json::from_slice(&by_environment.unwrap().stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn a_place_that_cannot_be_used_is_told_and_costs_no_answer() {
    let home = home();
    let file = home.file("a file", "not a directory");
    let asked = ["run", home.model(), "x", "-n", "2", "--json", "--compile-cache", &file];
    let ran = home.ballast(&asked);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("note: packed weights are not kept"), "{ran:?}");
    home.ballast(&["compile", home.model(), "--compile-cache", &file]).fails(1, "error: ");
}

#[test]
fn a_size_that_is_too_small_keeps_nothing() {
    let home = home();
    let args = ["--compile-cache-size", "1K"];
    ask(&home, &args);
    assert_eq!(listed(&home, &[]).len(), 0);
    home.ballast(&[&["compile", home.model()], &args[..]].concat()).fails(3, "1024 bytes");
}

#[test]
fn compile_wants_one_thing_to_do() {
    let home = home();
    for args in [&["compile"][..], &["compile", home.model(), "--list"], &["compile", "--list", "--clear"]] {
        assert_eq!(home.ballast(args).code, Some(2), "{args:?}");
    }
    home.ballast(&["compile", home.model(), "--no-compile-cache"]).fails(2, "no place for packed models");
}
