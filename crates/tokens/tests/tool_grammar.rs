//! Answers with tools, taken through the grammar of a format: what may be said, and where it may end.
#![expect(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]

#[path = "constraint/walk.rs"]
mod walk;

use ballast_tokens::{CallCount, CallNeed, ChatTemplate, Constraint, ToolFormat, ToolGrammar, ToolSpec};
use serde_json::{Value, json};
use walk::{Verdict, verdict};

/// A template that writes calls as `{{ calls }}` says.
fn format(calls: &str) -> ToolFormat {
    let template = "{{ tools | tojson }}{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}\
        {% if m.tool_calls %}CALLS{% endif %}<end>{% endfor %}{% if add_generation_prompt %}<turn>assistant\n{% endif %}";
    let template = ChatTemplate::new(&template.replace("CALLS", calls), "", "").unwrap();
    ToolFormat::of(&template).unwrap()
}

fn generic() -> ToolFormat {
    ToolFormat::generic(ballast_tokens::ToolFormatOrigin::Generic)
}

fn tools() -> Vec<ToolSpec> {
    let tool = |name: &str, parameters: Value| ToolSpec {
        name: name.to_owned(),
        description: String::new(),
        parameters: Some(parameters),
    };
    let at = json!({"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"], "additionalProperties": false});
    vec![tool("look", at), tool("go", json!({"type": "object", "properties": {}, "additionalProperties": false}))]
}

fn constraint(format: &ToolFormat, need: CallNeed, count: CallCount) -> Constraint {
    let tools = tools();
    Constraint::Lark(format.grammar(&ToolGrammar { tools: &tools, need, count, control_tokens: &[] }))
}

const LOOK: &str = "<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": \"x\"}}\n</tool_call>";
const GO: &str = "<tool_call>\n{\"name\": \"go\", \"arguments\": {}}\n</tool_call>";

#[test]
fn text_may_end_anywhere_and_calls_only_where_they_are_whole() {
    let auto = constraint(&generic(), CallNeed::Optional, CallCount::Many);
    let required = constraint(&generic(), CallNeed::Required, CallCount::Many);
    let one = constraint(&generic(), CallNeed::Optional, CallCount::One);
    let two = format!("{LOOK}\n{GO}");
    let text = "Just <b>text</b> of any <tool kind";
    let after = |text: &str, prefix: &str| Verdict::Wrong(text.len() + prefix.len());
    let cases = [
        (&auto, text.to_owned(), Verdict::Complete),
        (&auto, String::new(), Verdict::Complete),
        (&auto, LOOK.to_owned(), Verdict::Complete),
        (&auto, two.clone(), Verdict::Complete),
        (&auto, format!("{text}\n{two}"), Verdict::Complete),
        (&auto, format!("{LOOK}{GO}"), Verdict::Wrong(LOOK.len())),
        (&auto, format!("{LOOK}."), Verdict::Wrong(LOOK.len())),
        (&auto, format!("{text}<tool_call>"), Verdict::Partial),
        (&auto, format!("{text}<tool_call> "), after(text, "<tool_call>")),
        (&auto, "<tool_call>\n{\"name\": \"fly".to_owned(), after("", "<tool_call>\n{\"name\": \"")),
        (&auto, LOOK.replace("at", "of"), after("", "<tool_call>\n{\"name\": \"look\", \"arguments\": {\"")),
        (&required, "x".to_owned(), Verdict::Wrong(0)),
        (&required, LOOK.to_owned(), Verdict::Complete),
        (&required, two.clone(), Verdict::Complete),
        (&required, LOOK[..LOOK.len() - 1].to_owned(), Verdict::Partial),
        (&one, LOOK.to_owned(), Verdict::Complete),
        (&one, two, Verdict::Wrong(LOOK.len())),
    ];
    for (constraint, text, expected) in cases {
        assert_eq!(verdict(constraint, &text), expected, "{text}");
    }
}

#[test]
fn formats_of_templates_are_kept_to() {
    let array = format(
        "[CALLS][{% for c in m.tool_calls %}{{ '{\"name\": \"' ~ c.function.name ~ '\", \"arguments\": ' \
         ~ (c.function.arguments | tojson) ~ ', \"id\": \"' ~ c.id ~ '\"}' }}{% if not loop.last %}, {% endif %}{% endfor %}]",
    );
    let bare = format(
        "{% if m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}{{ '{\"name\": \"' \
         ~ m.tool_calls[0].function.name ~ '\", \"parameters\": ' ~ (m.tool_calls[0].function.arguments | tojson) ~ '}' }}",
    );
    let go = "{\"name\": \"go\", \"arguments\": {}, \"id\": \"abcdefgh1\"}";
    let bare_go = "{\"name\": \"go\", \"parameters\": {}}";
    let cases = [
        (&array, format!("[CALLS][{go}]"), Verdict::Complete),
        (&array, format!("Well. [CALLS][{go}, {go}]"), Verdict::Complete),
        (&array, format!("[CALLS][{go}]x"), Verdict::Wrong(9 + go.len())),
        (&array, "[CALL] of [text]".to_owned(), Verdict::Complete),
        (&bare, bare_go.to_owned(), Verdict::Complete),
        (&bare, format!("{bare_go}x"), Verdict::Wrong(bare_go.len())),
        (&bare, "{\"other\"".to_owned(), Verdict::Wrong(2)),
        (&bare, "Text with {\"name\": 1}".to_owned(), Verdict::Complete),
    ];
    for (format, text, expected) in cases {
        let auto = constraint(format, CallNeed::Optional, CallCount::Many);
        assert_eq!(verdict(&auto, &text), expected, "{text}");
    }
}

/// Writes calls as Qwen3-Coder does.
const TAGS: &str = "{% for c in m.tool_calls %}{{ '\\n<tool_call>\\n<function=' ~ c.function.name ~ '>\\n' }}\
    {% for key, value in c.function.arguments | items %}{{ '<parameter=' ~ key ~ '>\\n' ~ value ~ '\\n</parameter>\\n' }}\
    {% endfor %}{{ '</function>\\n</tool_call>' }}{% endfor %}";

#[test]
fn arguments_in_tags_are_of_their_schemas() {
    let properties = json!({
        "text": {"type": "string"},
        "n": {"$ref": "#/$defs/count"},
        "kind": {"enum": ["one", "two"]},
    });
    let defs = json!({"count": {"type": "integer"}});
    let parameters = json!({"type": "object", "properties": properties, "required": ["text"], "$defs": defs});
    let spec = |name: &str, parameters| ToolSpec { name: name.to_owned(), description: String::new(), parameters };
    let tools = [spec("look", Some(parameters)), spec("go", None), spec("free", Some(json!({"type": "object"})))];
    let grammar = |need| {
        let wanted = ToolGrammar { tools: &tools, need, count: CallCount::Many, control_tokens: &[] };
        Constraint::Lark(format(TAGS).grammar(&wanted))
    };
    let call = |name: &str, pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(key, value)| format!("<parameter={key}>\n{value}\n</parameter>\n"));
        format!("<tool_call>\n<function={name}>\n{}</function>\n</tool_call>", pairs.collect::<String>())
    };
    let wrong = |text: &str, before: &str| Verdict::Wrong(text.find(before).unwrap() + before.len());
    let go = call("go", &[]);
    let look = call("look", &[("text", "a <b>\n\"c\""), ("n", "17"), ("kind", "two")]);
    let (no_number, no_kind) = (look.replace("17", "many"), look.replace("two", "three"));
    let (no_text, other) = (call("look", &[("n", "17")]), call("go", &[("text", "x")]));
    let cases = [
        (look.clone(), Verdict::Complete),
        (format!("{look}\n{go}"), Verdict::Complete),
        (call("look", &[("text", "")]), Verdict::Complete),
        (call("free", &[("any", "thing"), ("more", "1")]), Verdict::Complete),
        (call("free", &[]), Verdict::Complete),
        (look[..look.len() - 1].to_owned(), Verdict::Partial),
        (format!("{go}x"), Verdict::Wrong(go.len())),
        (no_number.clone(), wrong(&no_number, "<parameter=n>\n")),
        (no_kind.clone(), wrong(&no_kind, "<parameter=kind>\nt")),
        (no_text.clone(), wrong(&no_text, "<parameter=")),
        (other.clone(), wrong(&other, "<function=go>\n<")),
    ];
    for (text, expected) in cases {
        assert_eq!(verdict(&grammar(CallNeed::Required), &text), expected, "{text}");
        assert_eq!(verdict(&grammar(CallNeed::Optional), &text), expected, "{text}");
    }
}
