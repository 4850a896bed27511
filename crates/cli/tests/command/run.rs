//! `ballast run`: the interface that scripts and comparisons rely on.

use crate::support::{Home, LETTERS, comma_separated, ids};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

const PROMPT: &str = "hello the hell\u{e9}";
const GREEDY: [&str; 3] = ["--raw", "--temperature", "0"];

fn greedy(home: &Home, args: &[&str]) -> Value {
    home.json("run", &[&GREEDY, args].concat())
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn json_has_the_documented_fields_and_types() {
    let home = Home::new();
    let answer = greedy(&home, &["-n", "12", "--json", PROMPT]);
    let texts = ["model", "text", "token_ids", "prompt_token_ids"];
    let ends = ["finish_reason", "reason", "overdue", "degraded", "engine", "usage", "timings"];
    assert_eq!(keys(&answer), [&texts[..], &ends].concat());
    assert_eq!(answer["engine"], "llm-cpu");
    assert_eq!((&answer["overdue"], &answer["degraded"]), (&Value::Null, &serde_json::json!([])));
    assert_eq!(answer["model"], "tiny");
    assert_eq!(answer["finish_reason"], "length");
    assert_eq!(answer["reason"], Value::Null);
    let (prompt, generated) = (ids(&answer["prompt_token_ids"]), ids(&answer["token_ids"]));
    assert_eq!(generated.len(), 12);
    let usage = serde_json::json!({
        "prompt_tokens": prompt.len(), "cached_tokens": 0, "completion_tokens": 12, "total_tokens": prompt.len() + 12
    });
    assert_eq!(answer["usage"], usage);
    for timing in ["load_ms", "queue_ms", "time_to_first_token_ms", "total_ms", "decode_tokens_per_second"] {
        assert!(answer["timings"][timing].is_f64(), "{timing} in {answer}");
    }
    assert!(answer["text"].is_string());
}

#[test]
fn the_text_is_the_tokens_text() {
    let home = Home::new();
    for args in [&["--temperature", "0"][..], &["--temperature", "1", "--seed", "3"]] {
        let answer = home.json("run", &[&["--raw", "-n", "40", "--json", PROMPT], args].concat());
        let list = comma_separated(&ids(&answer["token_ids"]));
        assert_eq!(home.json("detokenize", &["--json", "--ids", &list])["text"], answer["text"]);
    }
}

#[test]
fn a_raw_prompt_is_tokenized_as_it_is() {
    let home = Home::new();
    let answer = greedy(&home, &["-n", "1", "--json", PROMPT]);
    assert_eq!(answer["prompt_token_ids"], home.json("tokenize", &["--add-special", "--json", PROMPT]));
}

#[test]
fn a_prompt_goes_through_the_chat_template_unless_raw() {
    let home = Home::new();
    let answer = home.json("run", &["-n", "1", "--json", "--system", "be brief", "hi"]);
    let laid_out = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(answer["prompt_token_ids"], home.json("tokenize", &["--parse-special", "--json", laid_out]));
}

#[test]
fn the_prompt_comes_from_standard_input_when_there_is_no_argument() {
    let home = Home::new();
    let args = [&["run", home.model(), "-n", "6", "--json"], &GREEDY[..]].concat();
    let mut read = home.ballast_reading(&args, PROMPT).json();
    let mut given = greedy(&home, &["-n", "6", "--json", PROMPT]);
    (read["timings"], given["timings"]) = (Value::Null, Value::Null);
    assert_eq!(read, given);
}

#[test]
fn the_stream_is_the_text_and_a_line_end() {
    let home = Home::new();
    for stop in [&[][..], &["--stop", "d"]] {
        let args = [&["-n", "30", "--seed", "5", "--raw", PROMPT], &LETTERS[..], stop].concat();
        let text = home.json("run", &[&["--json"], &args[..]].concat())["text"].as_str().unwrap().to_owned();
        let streamed = home.ballast(&[&["run", home.model()], &args[..]].concat());
        assert_eq!((streamed.code, streamed.stdout, streamed.stderr), (Some(0), text + "\n", String::new()));
    }
}

#[test]
fn statistics_go_to_standard_error() {
    let home = Home::new();
    let args = [&["run", home.model(), "-n", "3", "--stats", PROMPT], &GREEDY[..], &LETTERS].concat();
    let ran = home.ballast(&args);
    assert_eq!(ran.stdout.len(), 4, "{ran:?}");
    assert!(ran.stderr.contains("3 generated") && ran.stderr.contains("finish: length"), "{ran:?}");
}

#[test]
fn a_stop_string_ends_the_answer_and_is_not_part_of_it() {
    let home = Home::new();
    let args = [&["-n", "40", "--seed", "1", "--raw", "--json", PROMPT], &LETTERS[..]].concat();
    let whole = home.json("run", &args);
    let text = whole["text"].as_str().unwrap();
    assert_eq!(text.len(), 40, "{text}");
    let stop = &text[10..13];
    let stopped = home.json("run", &[&args[..], &["--stop", "never said", "--stop", stop]].concat());
    let before = &text[..text.find(stop).unwrap()];
    assert_eq!(stopped["text"], before);
    assert_eq!(stopped["finish_reason"], "stop");
    let n_tokens = before.len() + stop.len();
    assert_eq!(ids(&stopped["token_ids"]), ids(&whole["token_ids"])[..n_tokens]);
}

#[test]
fn the_models_end_token_ends_the_answer_unless_ignored() {
    let home = Home::new();
    let end = ids(&home.json("tokenize", &["--parse-special", "--json", "<|im_end|>"]))[0];
    let bias = format!("--logit-bias={end}=100");
    let answer = greedy(&home, &["-n", "5", "--json", &bias, PROMPT]);
    assert_eq!((ids(&answer["token_ids"]), &answer["finish_reason"]), (vec![end], &"stop".into()));
    let ignoring = greedy(&home, &["-n", "5", "--json", "--ignore-eos", &bias, PROMPT]);
    assert_eq!((ids(&ignoring["token_ids"]), &ignoring["finish_reason"]), (vec![end; 5], &"length".into()));
    assert_eq!((&answer["text"], &ignoring["text"]), (&"".into(), &"".into()));
}

#[test]
fn a_seed_gives_the_same_answer_and_another_seed_another() {
    let home = Home::new();
    let answer = |seed, threads| {
        let args = ["-n", "24", "--temperature", "1", "--seed", seed, "--threads", threads, "--raw", "--json", PROMPT];
        ids(&home.json("run", &args)["token_ids"])
    };
    assert_eq!(answer("7", "1"), answer("7", "2"));
    assert_ne!(answer("7", "1"), answer("8", "1"));
}

#[test]
fn the_answer_ends_when_the_context_is_full() {
    let home = Home::new();
    let answer = greedy(&home, &["--ctx-size", "32", "--ignore-eos", "--json", PROMPT]);
    assert_eq!(answer["usage"]["total_tokens"], 32);
    assert_eq!(answer["finish_reason"], "length");
}

#[test]
fn logprobs_come_with_each_token_best_first() {
    let home = Home::new();
    let answer = greedy(&home, &["-n", "4", "--logprobs", "3", "--json", PROMPT]);
    let tokens = ids(&answer["token_ids"]);
    let logprobs = answer["logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), tokens.len());
    for (token, logprob) in tokens.iter().zip(logprobs) {
        let top = logprob["top"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["id"]), (3, &Value::from(*token)));
        assert_eq!(top[0]["logprob"], logprob["logprob"]);
        let values: Vec<f64> = top.iter().map(|entry| entry["logprob"].as_f64().unwrap()).collect();
        assert!(values[0] < 0.0 && values.is_sorted_by(|a, b| a >= b), "{values:?}");
    }
    assert_eq!(greedy(&home, &["-n", "4", "--json", PROMPT])["logprobs"], Value::Null);
}

#[test]
fn a_reader_that_has_gone_ends_the_command_quietly() {
    let home = Home::new();
    for args in [&["--json"][..], &[]] {
        let args = [&["run", home.model(), "--raw", "-n", "50", "--ignore-eos"], args].concat();
        let mut child = home.command(&args).stdin(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(PROMPT.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    }
}

#[test]
fn prompts_and_answers_are_in_no_log() {
    let home = Home::new();
    let secret = "zanzibar marmalade";
    for format in ["text", "json"] {
        let log = ["--log", "trace", "--log-format", format];
        let args = [&["run", home.model(), "-n", "40", "--seed", "2", secret], &LETTERS[..], &log].concat();
        let ran = home.ballast(&args);
        assert!(ran.stderr.contains("request ended"), "{ran:?}");
        for word in ["zanzibar", "marmalade", &ran.stdout[..10], &ran.stdout[20..30]] {
            assert!(!ran.stderr.contains(word), "{word:?} in {}", ran.stderr);
        }
    }
}

#[test]
fn an_engine_in_a_process_of_its_own_answers_the_same() {
    let home = Home::new();
    let answer = |more: &[&str]| {
        let mut answer = greedy(&home, &[&["-n", "30", "--json", PROMPT], more].concat());
        answer["timings"] = Value::Null;
        answer
    };
    assert_eq!(answer(&["--isolation", "process"]), answer(&["--isolation", "in-process"]));
    let ids = |more: &[&str]| home.json("logits", &[&["--ids", "1,2,3", "--json"], more].concat());
    assert_eq!(ids(&["--isolation", "process"]), ids(&[]));
}

#[test]
fn an_answer_keeps_to_a_schema_a_grammar_or_an_expression() {
    let home = Home::new();
    let schema =
        home.file("schema.json", r#"{"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}"#);
    let lark = home.file("a.lark", "start: \"yes\" | \"no\"");
    let gbnf = home.file("a.gbnf", "root ::= \"yes\" | \"no\"");
    let text = |args: &[&str]| {
        let answer = home.json("run", &[&["--raw", "--seed", "5", "-n", "60", "--json", PROMPT], args].concat());
        assert_eq!(answer["finish_reason"], "stop", "{answer}");
        answer["text"].as_str().unwrap().to_owned()
    };
    let pair: Vec<u8> = serde_json::from_str(&text(&["--json-schema", &schema])).unwrap();
    assert!(pair.len() == 2 && pair.iter().all(|n| [1, 2].contains(n)), "{pair:?}");
    for grammar in [&lark, &gbnf] {
        assert!(["yes", "no"].contains(&text(&["--grammar", grammar]).as_str()));
    }
    assert_eq!(text(&["--regex", "ab{3}"]), "abbb");
    let model = home.model();
    let ran =
        home.ballast_reading(&["run", model, "--raw", "-n", "9", "--json-schema", "-", PROMPT], r#"{"const": 7}"#);
    assert_eq!(ran.stdout.trim(), "7", "{ran:?}");
}

#[test]
fn what_cannot_be_enforced_is_refused_by_its_name() {
    let home = Home::new();
    let schema = home.file("schema.json", r#"{"items": {"type": "array", "uniqueItems": true}}"#);
    let run = |args: &[&str]| home.ballast(&[&["run", home.model()], args].concat());
    run(&["--json-schema", &schema, PROMPT]).fails(2, "`uniqueItems` at `/items");
    run(&["--regex", "(", PROMPT]).fails(2, "regular expression");
    run(&["--regex", "a", "--grammar", "x", PROMPT]).fails(2, "cannot be used with");
    run(&["--json-schema", &home.file("x", "{"), PROMPT]).fails(2, "not JSON");
    run(&["--json-schema", "-"]).fails(2, "standard input");
}
