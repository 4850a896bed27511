//! `ballast chat` through a pipe: answers on standard output, everything else on standard error.

use crate::support::{Home, LETTERS, Ran};
use serde_json::Value;

fn chat(home: &Home, args: &[&str], lines: &str) -> Ran {
    let fixed = ["chat", home.model(), "-n", "4", "--temperature", "0"];
    let ran = home.ballast_reading(&[&fixed[..], &LETTERS, args].concat(), lines);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

fn answers(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().collect()
}

#[test]
fn every_message_gets_a_line_and_the_end_of_input_ends_the_chat() {
    let home = Home::new();
    let ran = chat(&home, &[], "hello\n\nthe\n");
    let answers = answers(&ran);
    assert_eq!(answers.iter().map(|answer| answer.len()).collect::<Vec<_>>(), [4, 4]);
    // An answer cut off by -n says so; nothing else is said.
    assert_eq!(ran.stderr, "[length]\n[length]\n");
}

#[test]
fn the_first_answer_is_what_run_says() {
    let home = Home::new();
    let args = [&["run", home.model(), "hello", "-n", "4", "--temperature", "0"], &LETTERS[..]].concat();
    assert_eq!(chat(&home, &[], "hello\n").stdout, home.ballast(&args).stdout);
    let with_system = [&args[..], &["--system", "be brief"]].concat();
    assert_eq!(chat(&home, &["--system", "be brief"], "hello\n").stdout, home.ballast(&with_system).stdout);
}

#[test]
fn history_is_shown_cleared_and_saved() {
    let home = Home::new();
    let file = home.path("turns.json");
    let file = file.to_str().unwrap();
    let lines = format!("hello\n/history\n/save {file}\n/clear\n/history\nhello\n/quit\nnever read\n");
    let ran = chat(&home, &[], &lines);
    let answers = answers(&ran);
    assert_eq!((answers.len(), answers[0]), (2, answers[1]), "the same after /clear as at first");
    let said = format!("user: hello\nassistant: {}\n", answers[0]);
    let expected = format!("[length]\n{said}2 turns written to {file}\nforgotten\nnothing said yet\n[length]\n");
    assert_eq!(ran.stderr, expected);
    let saved: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let turns = serde_json::json!([
        { "role": "user", "content": "hello" },
        { "role": "assistant", "content": answers[0] },
    ]);
    assert_eq!(saved, turns);
}

#[test]
fn settings_change_between_turns() {
    let home = Home::new();
    let ran = chat(&home, &[], "/max-tokens 2\nhello\n/clear\n/max-tokens 7\nhello\n/stats\n/clear\nhello\n/stats\n");
    assert_eq!(answers(&ran).iter().map(|answer| answer.len()).collect::<Vec<_>>(), [2, 7, 7]);
    assert!(ran.stderr.contains("timings are shown\n") && ran.stderr.contains("7 generated"), "{ran:?}");
    let warm = |seed: &str| {
        let lines = format!("/temperature 1\n/seed {seed}\n/max-tokens 30\nhello\n/clear\nhello\n");
        chat(&home, &[], &lines)
    };
    let (one, other) = (warm("1"), warm("2"));
    assert_eq!(answers(&one)[0], answers(&one)[1]);
    assert_ne!(answers(&one)[0], answers(&other)[0]);
}

#[test]
fn the_system_message_can_be_set_and_removed() {
    let home = Home::new();
    let ran = chat(&home, &["--system", "one"], "/history\n/system two words\n/clear\n/history\n/system\n/history\n");
    let expected =
        "system: one\nsystem message set\nforgotten\nsystem: two words\nsystem message removed\nnothing said yet\n";
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", expected));
}

#[test]
fn commands_that_are_wrong_are_told_and_the_chat_goes_on() {
    let home = Home::new();
    let ran =
        chat(&home, &[], "/fly\n/seed many\n/save\n/save /nowhere/x\n/temperature -1\nhello\n/temperature 0\nhello\n");
    assert_eq!(answers(&ran).len(), 1, "{ran:?}");
    for part in
        ["no command /fly", "/seed: expected a number", "/save: expected a file name", "/nowhere/x", "temperature"]
    {
        assert!(ran.stderr.contains(part), "{part} in {ran:?}");
    }
    assert!(chat(&home, &[], "/help\n").stderr.contains("/history"));
}

#[test]
fn a_message_too_long_is_told_and_the_chat_goes_on() {
    let home = Home::new();
    let ran = chat(&home, &[], &format!("{}\nhello\n", "x".repeat(300)));
    assert_eq!(answers(&ran).len(), 1);
    assert!(ran.stderr.contains("CONTEXT_LENGTH_EXCEEDED") && !ran.stderr.contains("xxx"), "{ran:?}");
}

#[test]
fn what_is_said_is_in_no_log() {
    let home = Home::new();
    let ran = chat(&home, &["--log", "trace", "--system", "quokka"], "zanzibar\n/max-tokens 30\nmarmalade\n");
    assert!(ran.stderr.contains("request ended"));
    for word in ["quokka", "zanzibar", "marmalade", answers(&ran)[1]] {
        assert!(!ran.stderr.contains(word), "{word:?} in {}", ran.stderr);
    }
}
