//! Formats of templates of ours, written like those in use: what is read off, what conversations become, grammars.

use super::*;
use crate::{ChatMessage, RenderOptions, ToolCall, ToolEvent, ToolParser, ToolSpec};
use serde_json::{Value, json};

/// Lists tools and shows their answers; `$CALLS` shows `message.tool_calls`.
const FRAME: &str = "{%- if tools %}<sys>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</sys>\n{% endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}<tool>{{ message.name }}/{{ message.tool_call_id }}: {{ message.content }}</tool>
    {%- else %}<turn>{{ message.role }}\n{{ message.content }}
        {%- if message.tool_calls %}$CALLS{% endif %}<end>{{ '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<turn>assistant\n{% endif %}";

const HERMES: &str = "{% for call in message.tool_calls %}{% if not loop.first %}{{ '\\n' }}{% endif %}\
    {{ '<tool_call>\\n{\"name\": \"' ~ call.function.name ~ '\", \"arguments\": ' ~ (call.function.arguments | tojson) \
    ~ '}\\n</tool_call>' }}{% endfor %}";
const LLAMA: &str = "{% if message.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}\
    {{ '{\"name\": \"' ~ message.tool_calls[0].function.name ~ '\", \"parameters\": ' \
    ~ (message.tool_calls[0].function.arguments | tojson) ~ '}' }}";
const MISTRAL: &str = "[TOOL_CALLS][{% for call in message.tool_calls %}{% if call.id | length != 9 %}\
    {{ raise_exception('identifiers have nine letters') }}{% endif %}\
    {{ '{\"name\": \"' ~ call.function.name ~ '\", \"arguments\": ' ~ (call.function.arguments | tojson) \
    ~ ', \"id\": \"' ~ call.id ~ '\"}' }}{% if not loop.last %}, {% endif %}{% endfor %}]";
const FENCED: &str = "<calls>{% for call in message.tool_calls %}<call>function<sep>{{ call.function.name }}\n```json\n\
    {{ call.function.arguments }}\n```</call>{% endfor %}</calls>";
const TAGS: &str = "{% for call in message.tool_calls %}<function={{ call.function.name }}>\
    {{ call.function.arguments | tojson }}</function>{% endfor %}";
const NUMBERED: &str = "<calls>{% for call in message.tool_calls %}<call>functions.{{ call.function.name }}:\
    {{ loop.index0 }}<args>{{ call.function.arguments | tojson }}</call>{% endfor %}</calls>";
const XML: &str = "{% for call in message.tool_calls %}<function={{ call.function.name }}>\
    {% for key, value in call.function.arguments | items %}<parameter={{ key }}>{{ value }}</parameter>{% endfor %}\
    </function>{% endfor %}";
/// As Qwen3-Coder writes them.
const BLOCKS: &str = "{% for call in message.tool_calls %}{{ '\\n<tool_call>\\n<function=' ~ call.function.name ~ '>\\n' }}\
    {% for key, value in call.function.arguments | items %}{{ '<parameter=' ~ key ~ '>\\n' ~ value ~ '\\n</parameter>\\n' }}\
    {% endfor %}{{ '</function>\\n</tool_call>' }}{% endfor %}";
/// As GLM writes them.
const PAIRS: &str = "{% for call in message.tool_calls %}{{ '\\n<tool_call>' ~ call.function.name ~ '\\n' }}\
    {% for key, value in call.function.arguments | items %}{{ '<arg_key>' ~ key ~ '</arg_key>\\n<arg_value>' }}\
    {{ value if value is string else value | tojson }}{{ '</arg_value>\\n' }}{% endfor %}</tool_call>{% endfor %}";
/// Other values than strings stand between other tags.
const MARKED: &str = "{% for call in message.tool_calls %}<function={{ call.function.name }}>\
    {% for key, value in call.function.arguments | items %}<parameter={{ key }} string={{ value is string }}>{{ value }}\
    </parameter>{% endfor %}</function>{% endfor %}";
/// Strings are not written as they are.
const ESCAPED: &str = "{% for call in message.tool_calls %}<function={{ call.function.name }}>\
    {% for key, value in call.function.arguments | items %}<parameter={{ key }}>{{ value | string | replace('<', '&lt;') }}\
    </parameter>{% endfor %}</function>{% endfor %}";
const BARE: &str = "{% for call in message.tool_calls %}{{ call.function.name }}\n{{ call.function.arguments | tojson }}\
    {% endfor %}";

fn template(calls: &str) -> ChatTemplate {
    ChatTemplate::new(&FRAME.replace("$CALLS", calls), "<s>", "</s>").expect("the template parses")
}

fn format(calls: &str) -> Result<ToolFormat, ToolFormatError> {
    ToolFormat::of(&template(calls))
}

fn plain_template() -> ChatTemplate {
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}";
    ChatTemplate::new(source, "", "").expect("the template parses")
}

fn spec(name: &str) -> ToolSpec {
    ToolSpec { name: name.to_owned(), description: String::new(), parameters: Some(json!({"type": "object"})) }
}

fn call(id: &str, name: &str, arguments: Value) -> ToolCall {
    let arguments = arguments.as_object().expect("arguments are an object").clone();
    ToolCall { id: id.to_owned(), name: name.to_owned(), arguments }
}

#[test]
fn formats_are_read_off_templates() {
    let two = [("a", "{\"x\": 1}"), ("b", "{}")];
    let hermes = "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": 1}}\n</tool_call>\n\
        <tool_call>\n{\"name\": \"b\", \"arguments\": {}}\n</tool_call>";
    let mistral = "[TOOL_CALLS][{\"name\": \"a\", \"arguments\": {\"x\": 1}, \"id\": \"abcdefgh1\"}, \
        {\"name\": \"b\", \"arguments\": {}, \"id\": \"abcdefgh1\"}]";
    let fenced = "<calls><call>function<sep>a\n```json\n{\"x\": 1}\n```</call><call>function<sep>b\n```json\n{}\n```</call></calls>";
    let numbered = "<calls><call>functions.a:0<args>{\"x\": 1}</call><call>functions.b:1<args>{}</call></calls>";
    let blocks = "<tool_call>\n<function=a>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>\n\
        <tool_call>\n<function=b>\n</function>\n</tool_call>";
    let pairs =
        "<tool_call>a\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n</tool_call>\n<tool_call>b\n</tool_call>";
    let cases = [
        ("blocks", BLOCKS, blocks),
        ("pairs", PAIRS, pairs),
        ("xml", XML, "<function=a><parameter=x>1</parameter></function><function=b></function>"),
        ("hermes", HERMES, hermes),
        ("mistral", MISTRAL, mistral),
        ("fenced", FENCED, fenced),
        ("tags", TAGS, "<function=a>{\"x\": 1}</function><function=b>{}</function>"),
        ("numbered", NUMBERED, numbered),
    ];
    for (name, calls, expected) in cases {
        let format = format(calls).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(format.write(&two), expected, "{name}");
        assert!(format.takes_several(), "{name}");
    }
    let llama = format(LLAMA).unwrap();
    assert_eq!(llama.write(&two[..1]), "{\"name\": \"a\", \"parameters\": {\"x\": 1}}");
    assert!(!llama.takes_several() && llama.is_only_at_beginning());
}

#[test]
fn formats_without_a_name_and_json_are_not_guessed() {
    let without_tools = ChatTemplate::new("{{ messages[-1].content }}", "", "").unwrap();
    let cases = [
        (format(MARKED), ToolFormatError::NotReproduced),
        (format(ESCAPED), ToolFormatError::NotReproduced),
        (format(BARE), ToolFormatError::NoMarker),
        (format(""), ToolFormatError::CallsNotShown),
        (ToolFormat::of(&without_tools), ToolFormatError::ToolsNotListed),
        (ToolFormat::of(&plain_template()), ToolFormatError::ToolsNotListed),
    ];
    for (got, expected) in cases {
        assert_eq!(got, Err(expected));
    }
    let deaf = FRAME.replace("$CALLS", HERMES).replace("{{ message.content }}</tool>", "</tool>");
    let deaf = ChatTemplate::new(&deaf, "", "").unwrap();
    assert_eq!(ToolFormat::of(&deaf), Err(ToolFormatError::AnswersNotShown));
    assert_eq!(ToolFormat::of_or_generic(&deaf).origin(), ToolFormatOrigin::Generic);
}

#[test]
fn thoughts_and_other_ends_of_turn_are_no_part_of_calls() {
    let thinking = FRAME.replace("$CALLS", &format!("<think>\n\n</think>\n\n{HERMES}"));
    let format = ToolFormat::of(&ChatTemplate::new(&thinking, "", "").unwrap()).unwrap();
    assert_eq!(format.start.then(&format.before_name), Literal::text("<tool_call>\n{\"name\": \""));
    let other_end =
        FRAME.replace("$CALLS", TAGS).replace("<end>", "{% if message.tool_calls %}<more>{% else %}<end>{% endif %}");
    let format = ToolFormat::of(&ChatTemplate::new(&other_end, "", "").unwrap()).unwrap();
    assert_eq!((format.after_arguments, format.end), (Literal::text("</function>"), Literal::default()));
}

#[test]
fn what_a_format_writes_is_read_again() {
    for calls in [HERMES, LLAMA, MISTRAL, FENCED, TAGS, NUMBERED, XML, BLOCKS, PAIRS] {
        let format = format(calls).unwrap();
        let two = [("first", "{\"a\": \"}]\\\"\"}"), ("second", "{}")];
        let wanted = &two[..if format.takes_several() { 2 } else { 1 }];
        let mut parser = ToolParser::new(&format, ["first", "second"].map(spec).to_vec());
        let mut events = parser.push(&format.write(wanted));
        events.extend(parser.finish());
        let mut read: Vec<(String, String)> = Vec::new();
        for event in events {
            match event {
                ToolEvent::CallStarted { name, .. } => read.push((name, String::new())),
                ToolEvent::Arguments { index, text } => read[index].1 += &text,
                ToolEvent::CallEnded { .. } => {}
                ToolEvent::Text(text) => panic!("{calls}: {text:?}"),
            }
        }
        let wanted: Vec<_> = wanted.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(read, wanted, "{calls}");
    }
}

#[test]
fn conversations_go_to_the_template_with_names_and_identifiers_it_takes() {
    let messages = [
        ChatMessage::text("user", "?"),
        ChatMessage {
            tool_calls: vec![call("call_0123456789", "look", json!({"at": "x"}))],
            ..ChatMessage::text("assistant", "")
        },
        ChatMessage { tool_call_id: Some("call_0123456789".to_owned()), ..ChatMessage::text("tool", "seen") },
    ];
    let format = format(MISTRAL).unwrap();
    let text = format.render(&template(MISTRAL), &messages, &RenderOptions::default()).unwrap();
    let id = text.split("\"id\": \"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(id.len(), 9);
    assert!(text.ends_with(&format!("<tool>look/{id}: seen</tool>")), "{text}");
    let by_name =
        [messages[1].clone(), ChatMessage { name: Some("look".to_owned()), ..ChatMessage::text("tool", "seen") }];
    let text = format.render(&template(MISTRAL), &by_name, &RenderOptions::default()).unwrap();
    assert!(text.ends_with(&format!("<tool>look/{id}: seen</tool>")), "{text}");
}

#[test]
fn a_template_without_tools_gets_them_as_text() {
    let tool = ToolSpec { name: "look".to_owned(), description: "Looks.".to_owned(), parameters: None };
    let options = RenderOptions { tools: Some(json!([tool.to_json()])), ..RenderOptions::default() };
    let calls = vec![call("1", "look", json!({"at": "x"})), call("2", "look", json!({}))];
    let messages = [
        ChatMessage::text("user", "?"),
        ChatMessage { tool_calls: calls, ..ChatMessage::text("assistant", "Wait.") },
        ChatMessage { tool_call_id: Some("1".to_owned()), ..ChatMessage::text("tool", "seen") },
        ChatMessage { tool_call_id: Some("2".to_owned()), ..ChatMessage::text("tool", "nothing") },
    ];
    let format = ToolFormat::of_or_generic(&plain_template());
    let text = format.render(&plain_template(), &messages, &options).unwrap();
    let told = GENERIC_INSTRUCTIONS.join(
        "{\"type\": \"function\", \"function\": {\"name\": \"look\", \"description\": \"Looks.\", \
         \"parameters\": {\"type\": \"object\", \"properties\": {}}}}\n",
    );
    let called = "Wait.\n<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": \"x\"}}\n</tool_call>\n\
        <tool_call>\n{\"name\": \"look\", \"arguments\": {}}\n</tool_call>";
    let answered = "<tool_response>\nseen\n</tool_response>\n<tool_response>\nnothing\n</tool_response>";
    assert_eq!(text, format!("<system>{told}</><user>?</><assistant>{called}</><user>{answered}</>"));
    let no_system = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}\
        <{{ m.role }}>{{ m.content }}</>{% endfor %}";
    let no_system = ChatTemplate::new(no_system, "", "").unwrap();
    let format = ToolFormat::of_or_generic(&no_system);
    assert_eq!(format.origin(), ToolFormatOrigin::GenericWithoutSystem);
    let text = format.render(&no_system, &messages[..1], &options).unwrap();
    assert_eq!(text, format!("<user>{told}\n\n?</>"));
}

#[test]
fn grammars_say_what_an_answer_may_be() {
    let tools = [spec("a"), spec("b")];
    let wanted = ToolGrammar { tools: &tools, need: CallNeed::Required, count: CallCount::Many, control_tokens: &[] };
    let rules = "args_0: %json {\"type\":\"object\"}\nargs_1: %json {\"type\":\"object\"}\n";
    let tags = format(TAGS).unwrap();
    let expected = format!(
        "start: first further{{0,63}}\n{rules}first: \"<function=a>\" args_0 \"</function>\" | \"<function=b>\" args_1 \"</function>\"\n\
         further: \"<function=a>\" args_0 \"</function>\" | \"<function=b>\" args_1 \"</function>\"\n"
    );
    assert_eq!(tags.grammar(&wanted), expected);
    let one = ToolGrammar { tools: &tools[..1], need: CallNeed::Optional, count: CallCount::One, ..wanted.clone() };
    let fenced = format(FENCED).unwrap().grammar(&one);
    assert_eq!(
        fenced,
        "start: TEXT | lead first end?\nlead[lazy]: TEXT \"<calls>\"\nTEXT: /(?s:.*)/\nargs_0: %json {\"type\":\"object\"}\n\
         first: \"<call>function<sep>a\\n```json\\n\" args_0 \"\\n```</call>\"\nend: \"</calls>\"\n"
    );
    let control_tokens = [("<calls>".to_owned(), ballast_backend::TokenId(7))];
    let control = ToolGrammar { control_tokens: &control_tokens, ..one.clone() };
    assert!(format(FENCED).unwrap().grammar(&control).contains("lead: TEXT <[7]>\n"));
    let llama = format(LLAMA).unwrap().grammar(&one);
    assert!(llama.starts_with("start: TEXT | first\nTEXT: /(?s:[ \\t\\r\\n]*([^\\{ \\t\\r\\n].*)?)/\n"), "{llama}");
}
