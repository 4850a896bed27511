//! Settings of `serve` from files, variables, profiles and options: which one wins, and what is refused.

use crate::http::get;
use crate::serve::Server;
use crate::support::{Home, Ran};

fn show(home: &Home, args: &[&str], variables: &[(&str, &str)]) -> Ran {
    let args = [&["config", "show", "--origin"], args].concat();
    Ran::from(home.command(&args).envs(variables.iter().copied()).output().unwrap())
}

/// The line of a key in its section.
#[track_caller]
fn setting<'a>(shown: &'a Ran, section: &str, key: &str) -> &'a str {
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let (_, rest) = shown.stdout.split_once(&format!("[{section}]\n")).unwrap();
    let line =
        rest.lines().take_while(|line| !line.starts_with('[')).find(|line| line.starts_with(&format!("{key} =")));
    line.unwrap_or_else(|| panic!("no {key} in {shown:?}"))
}

#[test]
fn the_nearer_source_wins_and_is_named() {
    let home = Home::new();
    let file = home.file("c.toml", "profile = \"cloud-prod\"\n\n[loading]\nctx_size = 1024\nparallel = 3\n");
    let args = ["--config", &file];
    let shown = show(&home, &args, &[]);
    assert_eq!(setting(&shown, "loading", "ctx_size"), format!("ctx_size = 1024 # {file}:4"));
    assert_eq!(setting(&shown, "loading", "isolation"), "isolation = \"process\" # profile cloud-prod");
    assert_eq!(setting(&shown, "loading", "batch_size"), "batch_size = 512 # default");
    let shown = show(&home, &args, &[("BALLAST__LOADING__CTX_SIZE", "2048")]);
    assert_eq!(setting(&shown, "loading", "ctx_size"), "ctx_size = 2048 # BALLAST__LOADING__CTX_SIZE");
    let set = [&args[..], &["--set", "loading.ctx_size=4096", "--profile", "dev"]].concat();
    let shown = show(&home, &set, &[("BALLAST__LOADING__CTX_SIZE", "2048")]);
    assert_eq!(setting(&shown, "loading", "ctx_size"), "ctx_size = 4096 # --set");
    assert_eq!(setting(&shown, "server", "no_auth"), "no_auth = true # profile dev");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let home = Home::new();
    let shown = home.ballast(&["config", "show", "--profile", "agent"]);
    let file = home.file("again.toml", &shown.stdout);
    let again = home.ballast(&["config", "show", "--config", &file]);
    assert_eq!(shown.stdout, again.stdout);
}

#[test]
fn every_profile_holds() {
    let home = Home::new();
    for profile in ["dev", "local-prod", "cloud-prod", "agent"] {
        let checked = home.ballast(&["config", "check", "--profile", profile]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let home = Home::new();
    let cases = [
        ("[loading]\nctx_sise = 1\n", "there is no setting loading.ctx_sise"),
        ("[lodaing]\nctx_size = 1\n", "there is no setting lodaing"),
        ("ctx_size = 1\n", "there is no setting ctx_size"),
        ("[server]\n\nport = \"many\"\n", "server.port cannot be"),
        ("[server]\nport = 70000\n", "server.port cannot be"),
        ("[server]\nno_auth = \"yes\"\n", "server.no_auth takes true or false"),
        ("[server]\napi_key = \"sk-quokka-0123456789\"\n", "server.api_key is a secret"),
        ("[server\n", "not TOML"),
        ("profile = \"prod\"\n", "profile is one of dev, local-prod"),
    ];
    for (text, message) in cases {
        let file = home.file("wrong.toml", text);
        let checked = home.ballast(&["config", "check", "--config", &file]);
        checked.fails(2, message);
        assert!(checked.stderr.contains("wrong.toml:") && !checked.stderr.contains("quokka"), "{checked:?}");
    }
    let variable = [("BALLAST__LOADING__CTX_SISE", "1")];
    show(&home, &[], &variable).fails(2, "there is no setting loading.ctx_sise");
    home.ballast(&["config", "check", "--config", "/nowhere/c.toml"]).fails(1, "cannot be read");
}

#[test]
fn secrets_are_taken_from_the_environment_and_never_shown() {
    let home = Home::new();
    let shown = show(&home, &[], &[("BALLAST_API_KEY", "sk-quokka-0123456789")]);
    assert!(shown.stdout.contains("# api_key is set and not shown # BALLAST_API_KEY"), "{shown:?}");
    assert!(!shown.stdout.contains("quokka"));
}

#[test]
fn the_schema_knows_every_key() {
    let home = Home::new();
    let schema = home.ballast(&["config", "schema"]).json();
    let loading = &schema["properties"]["loading"];
    assert_eq!(loading["additionalProperties"], false);
    assert_eq!(
        (&loading["properties"]["ctx_size"]["type"], &loading["properties"]["ctx_size"]["default"]),
        (&"integer".into(), &8192.into())
    );
    assert!(schema["properties"]["server"]["properties"].get("api_key").is_none());
}

#[test]
fn options_overrule_what_excludes_them() {
    let home = Home::new();
    let keys = home.file("keys.txt", "sk-quokka-0123456789\n");
    let file = home.file(
        "c.toml",
        format!("[server]\nport = 0\nmodels = [{:?}]\nalias = \"filed\"\nno_auth = true\n", home.model()),
    );
    let variable = [("BALLAST_API_KEY", "sk-wombat-0123456789")];
    let server = Server::spawn(home.command(&["serve", "--config", &file, "--api-key-file", &keys]).envs(variable));
    let ids = |key| get(server.address(), "/v1/models", Some(key));
    assert_eq!(ids("sk-quokka-0123456789").json()["data"][0]["id"], "filed");
    assert_eq!(ids("sk-wombat-0123456789").status, 401);
}

#[test]
fn a_line_for_llama_cpp_serves() {
    let home = Home::new();
    let line = [
        "serve",
        "-m",
        home.model(),
        "-a",
        "tiny",
        "--port",
        "0",
        "-np",
        "2",
        "-ngl",
        "0",
        "--api-key",
        "sk-quokka-0123456789",
    ];
    let server = Server::spawn(&mut home.command(&line));
    let models = get(server.address(), "/v1/models", Some("sk-quokka-0123456789"));
    assert_eq!(models.json()["data"][0]["id"], "tiny");
}
