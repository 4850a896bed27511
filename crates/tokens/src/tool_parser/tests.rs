//! Text and calls told apart, in every cut.

use super::*;
use crate::ToolFormatOrigin;
use proptest::prelude::*;
use serde_json::json;

/// A tool that takes a string, a list, and either a string or a number.
fn spec(name: &str) -> ToolSpec {
    let properties =
        json!({"at": {"type": "string"}, "list": {"type": "array"}, "any": {"type": ["string", "integer"]}});
    let parameters = Some(json!({"type": "object", "properties": properties}));
    ToolSpec { name: name.to_owned(), description: String::new(), parameters }
}

fn parser() -> ToolParser {
    ToolParser::new(&ToolFormat::generic(ToolFormatOrigin::Generic), ["look", "go"].map(spec).to_vec())
}

fn whole(name: &str, arguments: &str) -> String {
    format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>")
}

/// Events of pieces, with neighbouring pieces of one text as one.
fn events(mut parser: ToolParser, pieces: &[&str]) -> Vec<ToolEvent> {
    let mut joined: Vec<ToolEvent> = Vec::new();
    let mut all: Vec<ToolEvent> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    all.extend(parser.finish());
    for event in all {
        match (joined.last_mut(), &event) {
            (Some(ToolEvent::Text(text)), ToolEvent::Text(more)) => text.push_str(more),
            (Some(ToolEvent::Arguments { text, .. }), ToolEvent::Arguments { text: more, .. }) => text.push_str(more),
            _ => joined.push(event),
        }
    }
    joined
}

fn text(text: &str) -> ToolEvent {
    ToolEvent::Text(text.to_owned())
}

fn call(index: usize, name: &str, arguments: &str, completeness: Completeness) -> Vec<ToolEvent> {
    vec![
        ToolEvent::CallStarted { index, name: name.to_owned() },
        ToolEvent::Arguments { index, text: arguments.to_owned() },
        ToolEvent::CallEnded { index, completeness },
    ]
}

#[test]
fn text_and_calls_are_told_apart() {
    let (look, go) = (whole("look", "{\"at\": \"}</tool_call>\"}"), whole("go", "{}"));
    let looked = call(0, "look", "{\"at\": \"}</tool_call>\"}", Completeness::Whole);
    let gone = call(1, "go", "{}", Completeness::Whole);
    let two = [looked.clone(), gone.clone()].concat();
    let cases = [
        ("only text".to_owned(), vec![text("only text")]),
        ("  ".to_owned(), vec![text("  ")]),
        (look.clone(), looked.clone()),
        (format!("{look}\n{go}"), two.clone()),
        (format!("{look}\n\n\n{go}\n"), two),
        (format!("\nFirst.\n{look}"), [vec![text("\nFirst.")], looked.clone()].concat()),
        (format!("{look}\nDone. "), [looked.clone(), vec![text("\nDone. ")]].concat()),
        (format!("{look} and {go}"), [looked, vec![text(" and")], gone].concat()),
    ];
    for (input, expected) in cases {
        assert_eq!(events(parser(), &[&input]), expected, "{input:?}");
    }
}

#[test]
fn what_is_no_call_is_text_and_nothing_is_lost() {
    let inputs = [
        "<tool_call>",
        "a <tool_call>\n{\"name\": \"look\"",
        "<tool_call>\n{\"name\": \"fly\", \"arguments\": {}}\n</tool_call>",
        "<tool_call>\n{\"name\": \"look\", \"arguments\": []}\n</tool_call>",
        "<tool_call>{\"name\": \"look\", \"arguments\": {}}</tool_call>",
        "<tool_call> <tool_<tool_call>",
        "<",
        "a < b <t",
    ];
    for input in inputs {
        assert_eq!(events(parser(), &[input]), [text(input)], "{input:?}");
    }
    let long = format!("<tool_call>\n{{\"name\": \"{}\", \"arguments\": {{}}}}", "l".repeat(TOOL_NAME_BYTES_MAX + 1));
    assert_eq!(events(parser(), &[&long]), [text(&long)]);
}

#[test]
fn a_call_that_is_cut_or_broken_says_so_and_its_rest_is_text() {
    let begin = "<tool_call>\n{\"name\": \"look\", \"arguments\": ";
    let cut = call(0, "look", "{\"at\": \"x", Completeness::Cut);
    assert_eq!(events(parser(), &[&format!("{begin}{{\"at\": \"x")]), cut);
    let broken = [call(0, "look", "{\"at\": ", Completeness::Cut), vec![text("]}\n</tool_call>")]].concat();
    assert_eq!(events(parser(), &[&format!("{begin}{{\"at\": ]}}\n</tool_call>")]), broken);
    let open = [call(0, "look", "{}", Completeness::Whole), vec![text("} no tag")]].concat();
    assert_eq!(events(parser(), &[&format!("{begin}{{}}}} no tag")]), open);
}

#[test]
fn text_is_held_back_only_while_it_may_be_a_call() {
    let mut parser = parser();
    let steps = [
        ("He", vec![text("He")]),
        ("re: <", vec![text("re:")]),
        ("b> <tool_call", vec![text(" <b>")]),
        (">\n{\"name\": \"lo", vec![]),
        ("ok\", \"arguments\": ", vec![]),
        (
            "{\"a",
            vec![
                ToolEvent::CallStarted { index: 0, name: "look".to_owned() },
                ToolEvent::Arguments { index: 0, text: "{\"a".to_owned() },
            ],
        ),
        ("\":1", vec![ToolEvent::Arguments { index: 0, text: "\":1".to_owned() }]),
    ];
    for (piece, expected) in steps {
        assert_eq!(parser.push(piece), expected, "{piece:?}");
    }
}

#[test]
fn calls_beyond_the_most_are_text() {
    let calls = vec![whole("go", "{}"); TOOL_CALLS_MAX + 1].join("\n");
    let events = events(parser(), &[&calls]);
    let n_calls = events.iter().filter(|event| matches!(event, ToolEvent::CallStarted { .. })).count();
    assert_eq!((n_calls, events.last()), (TOOL_CALLS_MAX, Some(&text(&format!("\n{}", whole("go", "{}"))))));
}

#[test]
fn json_at_the_beginning_may_be_a_call_but_not_after_text() {
    let format = ToolFormat {
        start: Literal::default(),
        before_name: Literal::text("{\"name\": \""),
        before_arguments: Literal::text("\", \"parameters\": "),
        after_arguments: Literal::text("}"),
        separator: None,
        ..ToolFormat::generic(ToolFormatOrigin::Template)
    };
    let of = |input: &str| events(ToolParser::new(&format, vec![spec("go")]), &[input]);
    let called = "{\"name\": \"go\", \"parameters\": {}}";
    assert_eq!(of(&format!("\n{called}")), call(0, "go", "{}", Completeness::Whole));
    let after = format!("Such as {called}");
    assert_eq!(of(&after), [text(&after)]);
}

/// As Qwen3-Coder writes calls.
fn tagged_parser() -> ToolParser {
    let tagged = Tagged {
        before_key: "\n<parameter=".to_owned(),
        before_value: ">\n".to_owned(),
        after_value: "\n</parameter>".to_owned(),
    };
    let format = ToolFormat {
        before_name: Literal::text("<tool_call>\n<function="),
        before_arguments: Literal::text(">"),
        after_arguments: Literal::text("\n</function>\n</tool_call>"),
        tagged: Some(tagged),
        ..ToolFormat::generic(ToolFormatOrigin::Template)
    };
    ToolParser::new(&format, ["look", "go"].map(spec).to_vec())
}

fn in_tags(name: &str, pairs: &[(&str, &str)]) -> String {
    let pair = |(key, value): &(&str, &str)| format!("<parameter={key}>\n{value}\n</parameter>\n");
    let pairs: String = pairs.iter().map(pair).collect();
    format!("<tool_call>\n<function={name}>\n{pairs}</function>\n</tool_call>")
}

#[test]
fn arguments_in_tags_are_given_as_json_of_their_schemas() {
    let whole = |arguments: &str| call(0, "look", arguments, Completeness::Whole);
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[], "{}"),
        (&[("at", "a\n\"b\" </param>")], r#"{"at": "a\n\"b\" </param>"}"#),
        (&[("at", "17"), ("any", "17")], r#"{"at": "17", "any": 17}"#),
        (&[("any", "1.5")], r#"{"any": "1.5"}"#),
        (&[("list", "[1,{\"a\": null}]")], r#"{"list": [1, {"a": null}]}"#),
        (&[("list", "[\"\\n</parameter>\"]")], r#"{"list": ["\n</parameter>"]}"#),
        (&[("list", "no list")], r#"{"list": "no list"}"#),
        (&[("at", "")], r#"{"at": ""}"#),
    ];
    for (pairs, expected) in cases {
        assert_eq!(events(tagged_parser(), &[&in_tags("look", pairs)]), whole(expected), "{pairs:?}");
    }
    let two = format!("Well.\n{}\n{}", in_tags("go", &[]), in_tags("look", &[("at", "x")]));
    let called = [
        vec![text("Well.")],
        call(0, "go", "{}", Completeness::Whole),
        call(1, "look", "{\"at\": \"x\"}", Completeness::Whole),
    ];
    assert_eq!(events(tagged_parser(), &[&two]), called.concat());
}

#[test]
fn tags_that_are_cut_or_broken_end_a_call() {
    let whole = in_tags("look", &[("at", "x"), ("list", "[1]")]);
    let at = |end: &str| &whole[..whole.find(end).expect("it is there") + end.len()];
    let cut = |arguments: &str| call(0, "look", arguments, Completeness::Cut);
    let cases = [
        (at("\nx"), cut("{\"at\": \"x")),
        (at("x\n</para"), cut("{\"at\": \"x\\n</para")),
        (at("[1"), cut("{\"at\": \"x\", \"list\": ")),
        (at("</function>\n"), cut("{\"at\": \"x\", \"list\": [1]")),
    ];
    for (input, expected) in cases {
        assert_eq!(events(tagged_parser(), &[input]), expected, "{input:?}");
    }
    let broken = at("x\n</parameter>").to_owned() + " and more";
    assert_eq!(events(tagged_parser(), &[&broken]), [cut("{\"at\": \"x\""), vec![text(" and more")]].concat());
    let long = |n: usize| format!("<tool_call>\n<function=look>\n<parameter={}>\nx\n</parameter>", "k".repeat(n));
    let n_events =
        |n: usize| events(tagged_parser(), &[&long(n)]).iter().filter(|e| matches!(e, ToolEvent::Text(_))).count();
    assert_eq!((n_events(256), n_events(257)), (0, 1));
    let unknown = in_tags("fly", &[]);
    assert_eq!(events(tagged_parser(), &[&unknown]), [text(&unknown)]);
}

#[test]
fn a_string_in_tags_comes_as_it_is_written() {
    let mut parser = tagged_parser();
    let argument = |text: &str| vec![ToolEvent::Arguments { index: 0, text: text.to_owned() }];
    let _begun = parser.push("<tool_call>\n<function=look>\n<parameter=at>\nA");
    let steps = [
        ("b", argument("b")),
        ("c\n</p", argument("c")),
        ("x", argument("\\n</px")),
        ("\n</parameter>", argument("\"")),
    ];
    for (piece, expected) in steps {
        assert_eq!(parser.push(piece), expected, "{piece:?}");
    }
}

/// The same for arguments in tags.
fn tagged_inputs() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(in_tags("look", &[("at", "\u{e9}\n</par"), ("list", "[\"\n</parameter>\"]"), ("any", "12")])),
        Just(in_tags("go", &[])),
        Just("<tool_call>\n<function=go>".to_owned()),
        Just("\n<parameter=at>\n".to_owned()),
        Just("\n<parameter=list>\n".to_owned()),
        Just("\n</parameter>".to_owned()),
        Just("\n</function>\n</tool_call>".to_owned()),
        Just("k".repeat(250)),
        "[a<>/\"\n \u{1f600}\\[]{0,6}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Fragments that make text which is nearly a call, and calls.
fn inputs() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(whole("look", "{\"at\": [1, {\"b\": \"\u{e9}}\"}]}")),
        Just(whole("go", "{}")),
        Just(whole("fly", "{}")),
        Just("<tool_call>\n".to_owned()),
        Just("{\"name\": \"look\", \"arguments\": ".to_owned()),
        Just("\n</tool_call>".to_owned()),
        Just("{\"x\": \"".to_owned()),
        "[a<{}\\]\"\n \u{1f600}]{0,6}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn cut<'a>(input: &'a str, cuts: &[prop::sample::Index]) -> Vec<&'a str> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    ends.retain(|&end| input.is_char_boundary(end));
    ends.extend([0, input.len()]);
    ends.sort_unstable();
    ends.windows(2).map(|window| &input[window[0]..window[1]]).collect()
}

proptest! {
    #[test]
    fn any_cut_of_tags_gives_the_same_events(
        input in tagged_inputs(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let pieces = cut(&input, &cuts);
        prop_assert_eq!(events(tagged_parser(), &pieces), events(tagged_parser(), &[&input]));
        let each: Vec<_> = input.char_indices().map(|(at, c)| &input[at..at + c.len_utf8()]).collect();
        prop_assert_eq!(events(tagged_parser(), &each), events(tagged_parser(), &[&input]));
    }

    #[test]
    fn any_cut_gives_the_same_events(input in inputs(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let pieces = cut(&input, &cuts);
        prop_assert_eq!(events(parser(), &pieces), events(parser(), &[&input]));
    }

    #[test]
    fn without_calls_the_text_is_all_there(input in "[ab<tol_c{>\n\"]{0,40}") {
        prop_assert_eq!(events(parser(), &[&input]).len(), usize::from(!input.is_empty()));
    }
}
