//! `ballast key`: made once, shown once, revoked for good.

use crate::support::Home;
use serde_json::Value;

#[test]
fn a_key_is_shown_once_and_listed_without_its_secret() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let file = file.to_str().unwrap();
    let made = home.ballast(&[
        "key",
        "create",
        "nightly",
        "--key-file",
        file,
        "--scope",
        "generate,read",
        "--expires",
        "1d",
        "--model",
        "m",
        "--tenant",
        "team",
        "--tokens-per-minute",
        "1000",
        "--rate-limit",
        "2",
        "--concurrency",
        "3",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let secret = made.stdout.trim();
    assert!(secret.starts_with("sk-") && secret.len() == 3 + 16 + 1 + 64, "{secret}");
    assert!(!made.stderr.contains(secret));
    let listed = home.ballast(&["key", "list", "--key-file", file, "--json"]);
    assert!(!listed.stdout.contains(&secret[20..]));
    let list: Value = serde_json::from_str(&listed.stdout).unwrap();
    let key = &list[0];
    assert_eq!((&key["name"], &key["tenant"], &key["state"]), (&"nightly".into(), &"team".into(), &"good".into()));
    assert_eq!(key["scopes"], serde_json::json!(["generate", "read"]));
    assert_eq!((&key["tokens_per_minute"], &key["concurrency"]), (&1000.into(), &3.into()));
    assert_eq!(key["seconds_between_requests"], 0.5);
    let id = key["id"].as_str().unwrap();
    assert_eq!(home.ballast(&["key", "revoke", id, "--key-file", file]).code, Some(0));
    let listed = home.ballast(&["key", "list", "--key-file", file]).stdout;
    assert!(listed.starts_with(&format!("{id}\trevoked\tnightly\tteam\tgenerate,read")), "{listed}");
}

#[test]
fn what_is_wrong_with_a_key_is_said() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let file = file.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["create", "x", "--scope", "everything"], 2, "expected generate, embed, predict, read, metrics or admin"),
        (&["create", "x", "--expires", "soon"], 2, "90d"),
        (&["create", "x", "--tenant", "two words"], 2, "--tenant"),
        (&["list"], 1, "key file: opening it"),
        (&["revoke", "0000"], 1, "there is no key 0000"),
    ];
    for (args, code, text) in cases {
        let ran = home.ballast(&[&["key"], args, &["--key-file", file]].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(text), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_certificate_takes_the_place_of_a_secret() {
    let home = Home::new();
    let file = home.path("keys.json").to_str().unwrap().to_owned();
    let signed = rcgen::generate_simple_self_signed(vec!["client.example".to_owned()]).unwrap();
    let pem = home.file("client.pem", signed.cert.pem());
    let create = |name: &str, certificate: &str| {
        home.ballast(&["key", "create", name, "--key-file", &file, "--certificate", certificate])
    };
    for (name, certificate) in [("exact", pem.as_str()), ("named", "dns:client.example")] {
        let made = create(name, certificate);
        assert_eq!((made.code, made.stdout.as_str()), (Some(0), ""), "no secret is told: {made:?}");
        assert!(made.stderr.contains("is opened by the certificate"), "{made:?}");
    }
    let listed = home.ballast(&["key", "list", "--key-file", &file, "--json"]).json();
    let certificates = [&listed[0]["certificate"], &listed[1]["certificate"]].map(|name| name.as_str().unwrap());
    assert!(certificates[0].starts_with("sha256:") && certificates[1] == "dns:client.example", "{certificates:?}");
    create("again", "dns:client.example").fails(1, "certificate: expected one record of it");
    create("x", "dns:two words").fails(2, "--certificate");
    create("x", &file).fails(1, "client's certificate: expected PEM of it");
    create("x", "/nowhere/client.pem").fails(1, "client's certificate");
}
