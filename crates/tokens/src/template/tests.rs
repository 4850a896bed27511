//! Tests of chat templates: small templates of our own, Python's ways, bounds and hostile sources.

use super::*;
use ballast_backend::ErrorKind;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const CHATML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\\n' + message.content | trim + '<|im_end|>\\n' }}\
    {% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const HEADERS: &str = "{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set rest = messages[1:] %}
    {%- set system = messages[0].content %}
{%- else %}
    {%- set rest = messages %}
    {%- set system = 'Today is ' ~ strftime_now('%d %b %Y') ~ '.' %}
{%- endif %}
{{- '<|header|>system<|/header|>\\n\\n' + system + eos_token }}
{%- for message in rest %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate') }}
    {%- endif %}
    {{- '<|header|>' + message.role + '<|/header|>\\n\\n' + message.content + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|header|>assistant<|/header|>\\n\\n' }}
{%- endif %}
";

fn messages(turns: &[(&str, &str)]) -> Vec<ChatMessage> {
    turns.iter().map(|&(role, content)| ChatMessage::text(role, content)).collect()
}

fn prompted() -> RenderOptions {
    RenderOptions { add_generation_prompt: true, now: Some(1_763_715_600), ..RenderOptions::default() }
}

/// Renders with `x` set, no messages.
fn render_x(source: &str, x: &Json) -> Result<String, TemplateError> {
    let extra = [("x".to_owned(), x.clone())].into_iter().collect();
    let options = RenderOptions { extra, ..RenderOptions::default() };
    ChatTemplate::new(source, "<s>", "</s>")?.render(&[], &options)
}

#[test]
fn template_renders_conversations() {
    let turns = messages(&[("system", "Be brief."), ("user", " Hé? 🦙 "), ("assistant", "Yes.")]);
    let user = messages(&[("user", "Hi")]);
    let cases = [
        (
            CHATML,
            &turns,
            RenderOptions::default(),
            concat!(
                "<|im_start|>system\nBe brief.<|im_end|>\n",
                "<|im_start|>user\nHé? 🦙<|im_end|>\n",
                "<|im_start|>assistant\nYes.<|im_end|>\n",
            ),
        ),
        (CHATML, &user, prompted(), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        (
            HEADERS,
            &turns,
            RenderOptions::default(),
            concat!(
                "<s><|header|>system<|/header|>\n\nBe brief.</s>",
                "<|header|>user<|/header|>\n\n Hé? 🦙 </s>",
                "<|header|>assistant<|/header|>\n\nYes.</s>",
            ),
        ),
        (
            HEADERS,
            &user,
            prompted(),
            concat!(
                "<s><|header|>system<|/header|>\n\nToday is 21 Nov 2025.</s>",
                "<|header|>user<|/header|>\n\nHi</s>",
                "<|header|>assistant<|/header|>\n\n",
            ),
        ),
    ];
    for (source, messages, options, expected) in cases {
        let template = ChatTemplate::new(source, "<s>", "</s>").unwrap();
        assert_eq!(template.render(messages, &options).as_deref(), Ok(expected));
    }
}

#[test]
fn template_speaks_python() {
    let data = json!({"b": [1, 2.0, null, true, "é\"\n<&>'"], "a": {}, "c": []});
    let cases = [
        ("{{ x }}", json!(true), "True"),
        ("{{ x }}", json!(null), "None"),
        ("{{ x }}", json!({"a": ["b", 1.5, null]}), "{'a': ['b', 1.5, None]}"),
        ("{{ x | tojson }}", data.clone(), r#"{"b": [1, 2.0, null, true, "é\"\n<&>'"], "a": {}, "c": []}"#),
        ("{{ x.b | tojson(indent=2) }}", json!({"b": [1, {"c": []}]}), "[\n  1,\n  {\n    \"c\": []\n  }\n]"),
        ("{{ x | tojson(ensure_ascii=true) }}", json!("é🦙\u{7f}"), r#""\u00e9\ud83e\udd99\u007f""#),
        (
            "{{ x | tojson(separators=(',', ':'), sort_keys=true) }}",
            json!({"b": [1, 2], "a": 3}),
            r#"{"a":3,"b":[1,2]}"#,
        ),
        ("{{ x | tojson(indent='> ') }}", json!([1]), "[\n> 1\n]"),
        ("{{ '%s-%s' | format(x, x) }}", json!(1), "1-1"),
        ("{{ x.strip().split(' ')[-1].upper() }}", json!(" a bc "), "BC"),
        ("{% for k, v in x.items() %}{{ k }}={{ v }};{% endfor %}", json!({"z": 1, "a": 2}), "z=1;a=2;"),
        (
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            json!(0),
            "013",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for i in x %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            json!([1, 2]),
            "3",
        ),
        ("a\n  {% if true %}\nb\n  {% endif %}\nc\n", json!(0), "a\nb\nc"),
        ("{%- generation -%} a {% set y = 1 %}{%- endgeneration %}{{ y is defined }}", json!(0), "a False"),
        (
            "{{ missing is defined }}{{ missing }}{{ missing | length }}{{ tools is none }}{{ documents is none }}",
            json!(0),
            "False0TrueTrue",
        ),
        ("{{ none is iterable }}{{ x is iterable }}{{ x | length }}{{ x | count }}", json!("né"), "FalseTrue22"),
        ("{{ x[::-1] }}{{ x[1:] }}{{ 'b' in x }}", json!("abc"), "cbabcTrue"),
        ("{{ 7 // 2 }}{{ 7 / 2 }}{{ -7 % 3 }}{{ 2 ** 3 }}", json!(0), "33.528"),
    ];
    for (source, x, expected) in cases {
        assert_eq!(render_x(source, &x).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn template_errors_name_their_line() {
    let syntax = ChatTemplate::new("a\nb\n{% if %}", "", "").unwrap_err();
    assert!(matches!(&syntax, TemplateError::Syntax { line: Some(3), .. }), "{syntax:?}");
    let raised = render_x("\n{{ raise_exception('no ' ~ x) }}", &json!("way")).unwrap_err();
    assert_eq!(raised, TemplateError::Raised { line: Some(2), message: "no way".to_owned() });
    let in_macro = render_x("{% macro m() %}\n{{ raise_exception('deep') }}\n{% endmacro %}{{ m() }}", &json!(0));
    assert!(matches!(&in_macro, Err(TemplateError::Raised { message, .. }) if message == "deep"), "{in_macro:?}");
    let cases = [
        ("\n\n{{ x.y.z }}", Some(3)),
        ("{{ strftime_now('%Y') }}", Some(1)),
        ("\n{{ x | nofilter }}", Some(2)),
        ("{{ nofunction() }}", Some(1)),
        ("{{ x + 1 }}", Some(1)),
        ("{% include 'other' %}", Some(1)),
        ("{{ missing | tojson }}", Some(1)),
    ];
    for (source, line) in cases {
        let error = render_x(source, &json!("text")).unwrap_err();
        assert!(matches!(error, TemplateError::Render { .. } | TemplateError::Syntax { .. }), "{source}: {error:?}");
        assert_eq!(error.line(), line, "{source}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn template_without_the_time_says_so() {
    let error = render_x("{{ strftime_now('%Y') }}", &json!(0)).unwrap_err();
    assert!(error.to_string().contains("strftime_now: expected the time to be given"), "{error}");
}

#[test]
fn template_extra_variables_cannot_replace_those_that_are_set() {
    for name in ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"] {
        let extra = [(name.to_owned(), json!(1))].into_iter().collect();
        let template = ChatTemplate::new("", "", "").unwrap();
        let error = template.render(&[], &RenderOptions { extra, ..RenderOptions::default() }).unwrap_err();
        assert_eq!(error, TemplateError::ReservedName { name });
    }
}

#[test]
fn template_work_and_sizes_are_bounded() {
    let long = " ".repeat(TEMPLATE_SOURCE_BYTES_MAX + 1);
    let error = ChatTemplate::new(&long, "", "").unwrap_err();
    assert_eq!(error, TemplateError::SourceTooLong { max: TEMPLATE_SOURCE_BYTES_MAX, got: long.len() });
    let nested = (0..200).fold(json!(1), |inner, _| json!([inner]));
    type Case<'a> = (&'a str, &'a Json, fn(&TemplateError) -> bool);
    let cases: [Case<'_>; 5] = [
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", &json!(0), |error| {
            matches!(error, TemplateError::OutOfFuel { line: Some(1), .. })
        }),
        ("{% for a in range(9999) %}{{ x * 9999 }}{% endfor %}", &json!("long"), |error| {
            matches!(error, TemplateError::OutputTooLong { .. })
        }),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", &json!(0), |error| {
            matches!(error, TemplateError::Render { .. })
        }),
        ("{{ x }}", &nested, |error| matches!(error, TemplateError::NestedTooDeep { .. })),
        ("{{ x[::-1] }}", &json!(""), |error| matches!(error, TemplateError::EngineFault)),
    ];
    for (source, x, is_expected) in cases {
        let error = render_x(source, x).unwrap_err();
        assert!(is_expected(&error), "{source}: {error:?}");
    }
}

#[test]
fn template_nesting_never_overflows_the_stack() {
    let cases = [
        ("{{ ", "-", "1 }}"),
        ("{{ x", ".y", " }}"),
        ("{{ x", "|e", " }}"),
        ("{{ 1", "+1", " }}"),
        ("{{ 1", "~1", " }}"),
        ("{{ x", " if x else x", " }}"),
        ("{% if x %}", "{% elif x %}", "{% endif %}"),
        ("{{ ", "(", ""),
        ("", "{% if x %}", ""),
        ("{% set x = ", "[", " %}"),
    ];
    for (start, repeated, end) in cases {
        let n = (TEMPLATE_SOURCE_BYTES_MAX - start.len() - end.len()) / repeated.len();
        let source = [start, &repeated.repeat(n), end].concat();
        // Whether it renders is not the point: an overflow would end the process.
        drop(render_x(&source, &json!(1)));
    }
    let (open, close) = ("[".repeat(50), "]".repeat(50));
    let source = format!(
        "{{% set ns = namespace(x=[]) %}}{{% for i in range(99999) %}}{{% set ns.x = {open}ns.x{close} %}}{{% endfor %}}"
    );
    assert!(matches!(render_x(&source, &json!(0)), Err(TemplateError::OutOfFuel { max: FUEL_BASE, .. })));
}

#[test]
fn template_may_look_through_all_messages_for_each_one() {
    let source = "{% for a in messages %}{% for b in messages %}{% endfor %}{% endfor %}done";
    let turns = vec![ChatMessage::text("user", ""); 1000];
    let rendered = ChatTemplate::new(source, "", "").unwrap().render(&turns, &RenderOptions::default());
    assert_eq!(rendered.as_deref(), Ok("done"));
}

/// What templates are made of.
const WORDS: &str = "{% %} {{ }} {# #} - + ~ * | . [ ] ( ) : , = ' \" \\ x messages 1 2 -1 none true if else endif for in \
    endfor set endset macro m endmacro m() raw endraw generation endgeneration break loop tojson indent range(3) \
    namespace() filter endfilter upper items() split é";
/// Parts of templates that parse by themselves or beside each other.
const PARTS: [&str; 11] = [
    " ",
    "\n",
    "{% for m in messages %}",
    "{% endfor %}",
    "{{ x | tojson }}",
    "{% if x %}",
    "{% endif %}",
    "{% set x = [x, x] %}",
    "{{ messages[0] }}",
    "{% generation %}",
    "{% endgeneration %}",
];

/// Text made of what templates are made of, so that some of it parses.
fn some_source() -> impl Strategy<Value = String> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let piece = prop_oneof![prop::sample::select(words), prop::sample::select(PARTS.to_vec())];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn template_text_of_any_kind_renders_or_fails(source in prop_oneof![some_source(), any::<String>()]) {
        if let Ok(template) = ChatTemplate::new(&source, "<s>", "</s>") {
            let extra = [("x".to_owned(), json!({"a": [1, "b"]}))].into_iter().collect();
            let options = RenderOptions { extra, ..prompted() };
            let rendered = template.render(&messages(&[("user", "é")]), &options);
            prop_assert!(!matches!(rendered, Ok(text) if text.len() > TEMPLATE_OUTPUT_BYTES_MAX));
        }
    }
}
