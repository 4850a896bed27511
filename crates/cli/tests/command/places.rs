//! Where models are found, and what may be deleted: list, rm, pull, and the shell's completions.

use crate::support::Home;
use serde_json::json;
use std::path::PathBuf;

/// Puts the model into the Hugging Face tools' cache of this home, as they lay it out.
fn hf_cache(home: &Home) -> PathBuf {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repo = home.path(".cache/huggingface/hub/models--somebody--tiny");
    let snapshot = repo.join("snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), commit).unwrap();
    let file = snapshot.join("tiny-F32.gguf");
    std::fs::copy(home.model(), &file).unwrap();
    file
}

#[test]
fn an_empty_machine_has_no_models_and_says_what_to_do() {
    let home = Home::new();
    assert_eq!(home.ballast(&["list", "--json"]).json(), json!([]));
    let ran = home.ballast(&["list"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(ran.stderr.contains("ballast pull default"), "{ran:?}");
}

#[test]
fn a_model_of_the_hugging_face_cache_is_listed_and_run_in_place() {
    let home = Home::new();
    let file = hf_cache(&home);
    let listed = home.ballast(&["list", "--json"]).json();
    let entry = &listed[0];
    assert_eq!((listed.as_array().unwrap().len(), &entry["source"]), (1, &json!("hf-cache")));
    assert_eq!(entry["bytes"], std::fs::metadata(&file).unwrap().len());
    for name in [entry["name"].as_str().unwrap(), "hf:somebody/tiny", "hf:somebody/tiny:F32"] {
        let answer = home.ballast(&["run", name, "x", "-n", "1", "--json"]).json();
        assert_eq!(answer["model"], "tiny");
    }
}

#[test]
fn only_our_own_models_are_deleted() {
    let home = Home::new();
    let file = hf_cache(&home);
    for name in [home.model(), "hf:somebody/tiny"] {
        let ran = home.ballast(&["rm", name]);
        ran.fails(2, "error: ");
        assert!(ran.stderr.contains("\n  try: "), "{ran:?}");
    }
    home.ballast(&["rm", "hf:somebody/other"]).fails(1, "hf:somebody/other");
    assert!(file.exists() && PathBuf::from(home.model()).exists());
}

#[test]
fn nothing_is_fetched_that_is_here_or_that_must_not_be() {
    let home = Home::new();
    let ran = home.ballast(&["pull", home.model()]);
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("{}\n", home.model())));
    home.ballast(&["pull", "hf:somebody/other", "--offline"]).fails(1, "hf:somebody/other");
    home.ballast(&["pull", "default", "--offline"]).fails(1, "default");
    home.ballast(&["run", "default", "hi"]).fails(1, "default");
}

#[test]
fn shells_get_completions_for_every_verb() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = home.ballast(&["completions", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["ballast", "tokenize", "perplexity", "memory-mode"] {
            assert!(ran.stdout.contains(word), "{word} for {shell}");
        }
    }
}
