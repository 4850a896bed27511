//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by policy or budget; and the message that goes with each.

use crate::support::{Home, Ran, ids};
use ballast_gguf::TensorType;
use ballast_testkit::{SplitMix, TinyLlama};
use serde_json::json;
use std::process::Stdio;

/// A home whose model has a context worth cutting.
fn roomy() -> Home {
    Home::with(TinyLlama { context_len: 4096, ..TinyLlama::new(TensorType::F32) })
}

/// What the model would take with a context of `ctx_size`.
fn planned_bytes(home: &Home, ctx_size: &str) -> String {
    home.ballast(&["info", home.model(), "--ctx-size", ctx_size, "--json"]).json()["model"]["memory"]["total_bytes"]
        .to_string()
}

#[test]
fn what_cannot_be_found_or_read_fails() {
    let home = Home::new();
    let missing = home.path("missing.gguf");
    let missing = missing.to_str().unwrap();
    for verb in ["run", "show", "tokenize", "bench", "serve"] {
        let ran = home.ballast(&[verb, missing]);
        ran.fails(1, "missing.gguf");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("\n  try: "), "{ran:?}");
    }
    let text = home.file("text.gguf", "no model at all");
    home.ballast(&["run", &text, "hi"]).fails(1, "not a GGUF file");
    home.ballast(&["gguf", "show", missing]).fails(1, "missing.gguf");
    let args = ["perplexity", home.model(), "--file", missing];
    home.ballast(&args).fails(1, "missing.gguf");
}

#[test]
fn wrong_usage_is_told_with_2() {
    let home = Home::new();
    let (model, text) = (home.model(), home.file("text", "a".repeat(100)));
    let too_many = vec!["1"; 257].join(",");
    let cases: &[&[&str]] = &[
        &["logits", model, "--ids", &too_many],
        &["run", model, "hi", "--threads", "100000"],
        &["run", model, "hi", "--parallel", "18446744073709551615"],
        &["run", model, "hi", "--batch-size", "18446744073709551615"],
        &["run", model, "hi", "--kv-size", "18446744073709551615", "--memory-mode", "none"],
        &["fly"],
        &["run"],
        &["run", model, "hi", "--no-such-flag"],
        &["run", model, "hi", "-n", "0"],
        &["run", model, "hi", "-n", "many"],
        &["run", model, "hi", "--timeout", "0"],
        &["run", model, "hi", "--memory-budget", "1.5G"],
        &["run", model, "hi", "--logit-bias", "x"],
        &["run", model, "hi", "--raw", "--system", "x"],
        &["run", model, "hi", "--temperature", "-1"],
        &["run", model, "hi", "--top-p", "2"],
        &["run", model, "hi", "--logprobs", "1000"],
        &["run", model, "hi", "--logit-bias", "1000000=1"],
        &["run", model, "hi", "--stop", ""],
        &["run", model, "hi", "--kernels", "abacus"],
        &["run", model, "hi", "--log", "no=such=filter"],
        &["detokenize", model, "--ids", "1,x"],
        &["detokenize", model, "--ids", "264"],
        &["logits", model, "--ids", "264"],
        &["logits", model],
        &["bench", model, "--rounds", "0"],
        &["perplexity", model, "--file", &text, "--context", "0"],
        &["perplexity", model, "--file", &text, "--context", "2"],
        &["serve", model, "--api-key", "k", "--no-auth"],
        &["serve", model, "--host", "nowhere"],
        &["completions", "abacus"],
        &["rm", "hf:a/b/../c"],
    ];
    let wrong: Vec<Ran> = cases
        .iter()
        .map(|args| home.ballast(args))
        .filter(|ran| ran.code != Some(2) || !ran.stdout.is_empty())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_unknown_type_of_kv_cache_is_refused_with_those_that_are() {
    let home = Home::new();
    for verb in [&["run", home.model(), "hi"][..], &["serve", home.model()], &["info", home.model()]] {
        let ran = home.ballast(&[verb, &["--cache-type", "q4"]].concat());
        ran.fails(2, "[possible values: f16, bf16, q8_0]");
    }
}

#[test]
fn help_and_version_are_answers() {
    let home = Home::new();
    for args in [&["--help"][..], &["--version"], &["run", "--help"], &["help", "serve"]] {
        let ran = home.ballast(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(ran.stdout.contains("ballast"), "{ran:?}");
    }
    let ran = home.ballast(&["--help"]);
    assert!(ran.stdout.contains("Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused"), "{ran:?}");
    home.ballast(&[]).fails(2, "Usage");
}

#[test]
fn a_strict_budget_refuses_with_3() {
    let home = roomy();
    let run = |bytes: &str| {
        let budget = ["--memory-mode", "strict", "--memory-budget", bytes, "--ctx-size", "1024"];
        home.ballast(&[&["run", home.model(), "hi", "--raw", "-n", "1", "--json"], &budget[..]].concat())
    };
    let needed = planned_bytes(&home, "1024");
    run("1K").fails(3, "MEMORY_BUDGET_EXCEEDED");
    run(&(needed.parse::<u64>().unwrap() - 1).to_string()).fails(3, "\n  try: ");
    run(&needed).json();
}

#[test]
fn a_best_effort_budget_cuts_the_context_and_says_so() {
    let home = roomy();
    let budget = planned_bytes(&home, "1024");
    let run = |args: &[&str]| {
        let ran = home.ballast(&[&["run", home.model(), "hi", "--raw", "-n", "2", "--json"], args].concat());
        (ran.json()["token_ids"].clone(), ran.stderr)
    };
    let (free, silence) = run(&["--temperature", "0"]);
    let (cut, notes) = run(&["--temperature", "0", "--memory-budget", &budget]);
    assert_eq!((silence.as_str(), &free), ("", &cut));
    assert!(notes.contains("MEMORY_BUDGET_SOFT_LIMIT") && notes.contains("from 4096 to 1024"), "{notes}");
    let (_, notes) = run(&["--temperature", "0", "--memory-budget", "1K"]);
    assert!(notes.contains("MEMORY_BUDGET_SOFT_LIMIT") && notes.contains("from 4096 to 512"), "{notes}");
    let (_, silence) = run(&["--temperature", "0", "--memory-budget", "1K", "--memory-mode", "none"]);
    assert_eq!(silence, "");
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_without_repeating_it() {
    let home = Home::new();
    let ran = home.ballast(&["run", home.model(), "--raw", "--ctx-size", "16", "zanzibar zanzibar zanzibar"]);
    ran.fails(1, "CONTEXT_LENGTH_EXCEEDED");
    assert!(!ran.stderr.contains("zanzibar"), "{ran:?}");
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_unless_allowed() {
    let home = Home::new();
    let bytes = std::fs::read(home.model()).unwrap();
    let at = bytes.windows(5).position(|window| window == b"gpt-2").unwrap();
    let odd = home.file("odd.gguf", [&bytes[..at], b"odd-9", &bytes[at + 5..]].concat());
    for verb in ["run", "tokenize"] {
        home.ballast(&[verb, &odd, "hi"]).fails(1, "TOKENIZER_PRETOKENIZER_UNKNOWN");
    }
    let allowed = home.ballast(&["run", &odd, "hi", "-n", "1", "--json", "--allow-unknown-pretokenizer"]);
    assert!(allowed.json()["text"].is_string() && allowed.stderr.contains("TOKENIZER_PRETOKENIZER_UNKNOWN"));
    let allowed = home.ballast(&["tokenize", &odd, "hi", "--json", "--allow-unknown-pretokenizer"]);
    assert_eq!(allowed.json(), json!([104, 105]));
}

#[test]
fn a_deadline_ends_the_answer_as_a_failure_with_what_there_is() {
    let home = Home::new();
    let ran = home.ballast(&["run", home.model(), "hi", "--timeout", "0.000000001", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&answer["finish_reason"], &answer["reason"]), (&"cancelled".into(), &"CANCELLED_BY_TIMEOUT".into()));
    assert!(ran.stderr.contains("CANCELLED_BY_TIMEOUT"), "{ran:?}");
}

#[test]
fn truncated_models_fail_with_a_message() {
    let home = Home::new();
    let bytes = std::fs::read(home.model()).unwrap();
    for part in 0..32 {
        let len = bytes.len() * part / 32;
        let cut = home.file("cut.gguf", &bytes[..len]);
        home.ballast(&["run", &cut, "hi", "-n", "1"]).fails(1, "error: ");
        let last = home.file("cut.gguf", &bytes[..bytes.len() - 1 - part]);
        home.ballast(&["gguf", "show", &last]).fails(1, "error: ");
    }
}

#[test]
fn damaged_headers_never_crash() {
    let home = Home::new();
    let bytes = std::fs::read(home.model()).unwrap();
    let mut random = SplitMix::new(1);
    for round in 0..48 {
        let mut damaged = bytes.clone();
        let at = usize::try_from(random.next_u64() % 6000).unwrap();
        damaged[at] ^= random.next_u8() | 1;
        let path = home.file("damaged.gguf", damaged);
        let ran = home.ballast(&["run", &path, "hi", "-n", "1", "--json"]);
        assert!(matches!(ran.code, Some(0 | 1)), "round {round}, byte {at}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "round {round}, byte {at}: {ran:?}");
    }
}

#[test]
fn a_closed_standard_output_is_no_failure() {
    let home = Home::new();
    let model = home.model();
    let cases: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["list", "--json"],
        &["info"],
        &["show", model],
        &["tokenize", model, "hi"],
        &["run", model, "hi", "-n", "2"],
        &["gguf", "show", model],
        &["completions", "bash"],
    ];
    for args in cases {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Ran::from(home.command(args).stdout(writer).output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let home = Home::new();
    for args in [&["--version"][..], &["list", "--json"], &["run", home.model(), "hi", "-n", "2"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = Ran::from(home.command(args).stdout(Stdio::from(full)).output().unwrap());
        assert_eq!(ran.code, Some(1), "{args:?}");
    }
}

#[test]
fn the_answer_alone_is_on_standard_output() {
    let home = roomy();
    let args = ["run", home.model(), "hi", "--raw", "-n", "3", "--json", "--memory-budget", "1K", "--stats"];
    let ran = home.ballast(&[&args[..], &["--log", "debug"]].concat());
    assert_eq!(ids(&ran.json()["token_ids"]).len(), 3);
    assert!(["MEMORY_BUDGET_SOFT_LIMIT", "3 generated", "DEBUG"].iter().all(|word| ran.stderr.contains(word)));
}
