//! `ballast tokenize` and `ballast detokenize`: text to tokens and back, with a vocabulary and nothing else.

use crate::support::{Home, comma_separated, ids};
use ballast_gguf::Writer;
use ballast_testkit::tiny_metadata;

const TEXT: &str = "hello the \u{1f600}\n\tna\u{ef}ve";

#[test]
fn tokens_come_as_a_json_array_from_an_argument_or_standard_input() {
    let home = Home::new();
    let from_argument = home.json("tokenize", &["--json", TEXT]);
    let read = home.ballast_reading(&["tokenize", home.model(), "--json"], TEXT).json();
    assert_eq!(from_argument, read);
    assert_eq!(ids(&home.json("tokenize", &["--json", "hello"])).len(), 1);
    assert_eq!(ids(&home.json("tokenize", &["--json", "xyz\n"])), [120, 121, 122, 10]);
    assert_eq!(home.json("tokenize", &["--json", ""]), serde_json::json!([]));
}

#[test]
fn a_file_with_a_vocabulary_and_no_tensors_is_enough() {
    let home = Home::new();
    let path = home.path("vocabulary.gguf");
    let mut writer = Writer::new();
    tiny_metadata(&mut writer);
    writer.write_file(&path).unwrap();
    let vocabulary = path.to_str().unwrap();
    let tokens = home.ballast(&["tokenize", vocabulary, "--json", TEXT]).json();
    assert_eq!(tokens, home.json("tokenize", &["--json", TEXT]));
    let list = comma_separated(&ids(&tokens));
    let text = home.ballast(&["detokenize", vocabulary, "--ids", &list, "--json"]).json();
    assert_eq!(text["text"], TEXT);
    home.ballast(&["run", vocabulary, "hi"]).fails(1, "architecture");
}

#[test]
fn control_tokens_are_text_unless_they_are_to_be_parsed() {
    let home = Home::new();
    let parsed = ids(&home.json("tokenize", &["--parse-special", "--json", "<|im_start|>x"]));
    assert_eq!(parsed.len(), 2);
    let as_text = ids(&home.json("tokenize", &["--json", "<|im_start|>x"]));
    assert!(as_text.len() > 2 && as_text.iter().all(|&id| id < 262), "{as_text:?}");
}

#[test]
fn the_models_own_tokens_are_added_when_asked_for() {
    let home = Home::new();
    let path = home.path("with-bos.gguf");
    let mut writer = Writer::new();
    tiny_metadata(&mut writer);
    writer.metadata("tokenizer.ggml.add_eos_token", true).write_file(&path).unwrap();
    let tokens = |args: &[&str]| {
        ids(&home.ballast(&[&["tokenize", path.to_str().unwrap(), "--json", "x"], args].concat()).json())
    };
    assert_eq!(tokens(&[]), [120]);
    assert_eq!(tokens(&["--add-special"]), [120, 263]);
}

#[test]
fn people_get_a_line_for_each_token() {
    let home = Home::new();
    let ran = home.ballast(&["tokenize", home.model(), "hello x"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "261\t\"hello\"\n32\t\"\u{120}\"\n120\t\"x\"\n"));
}

#[test]
fn detokenizing_gives_the_text_back() {
    let home = Home::new();
    let list = comma_separated(&ids(&home.json("tokenize", &["--json", TEXT])));
    assert_eq!(home.json("detokenize", &["--json", "--ids", &list])["text"], TEXT);
    let ran = home.ballast(&["detokenize", home.model(), "--ids", &list]);
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("{TEXT}\n")));
}

#[test]
fn control_tokens_are_shown_when_asked_for() {
    let home = Home::new();
    let text =
        |args: &[&str]| home.json("detokenize", &[&["--json", "--ids", "262,120"], args].concat())["text"].clone();
    assert_eq!(text(&[]), "x");
    assert_eq!(text(&["--show-special"]), "<|im_start|>x");
}

#[test]
fn text_that_is_not_text_is_refused() {
    let home = Home::new();
    home.ballast_reading(&["tokenize", home.model(), "--json"], b"\xff\xfe").fails(1, "standard input");
}
