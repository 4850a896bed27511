//! Text and calls told apart, in every cut.

use super::*;
use crate::ToolFormatOrigin;
use proptest::prelude::*;

fn parser() -> ToolParser {
    ToolParser::new(&ToolFormat::generic(ToolFormatOrigin::Generic), vec!["look".to_owned(), "go".to_owned()])
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
    let of = |input: &str| events(ToolParser::new(&format, vec!["go".to_owned()]), &[input]);
    let called = "{\"name\": \"go\", \"parameters\": {}}";
    assert_eq!(of(&format!("\n{called}")), call(0, "go", "{}", Completeness::Whole));
    let after = format!("Such as {called}");
    assert_eq!(of(&after), [text(&after)]);
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

proptest! {
    #[test]
    fn any_cut_gives_the_same_events(input in inputs(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        ends.retain(|&end| input.is_char_boundary(end));
        ends.extend([0, input.len()]);
        ends.sort_unstable();
        let pieces: Vec<&str> = ends.windows(2).map(|window| &input[window[0]..window[1]]).collect();
        prop_assert_eq!(events(parser(), &pieces), events(parser(), &[&input]));
    }

    #[test]
    fn without_calls_the_text_is_all_there(input in "[ab<tol_c{>\n\"]{0,40}") {
        prop_assert_eq!(events(parser(), &[&input]).len(), usize::from(!input.is_empty()));
    }
}
