//! The OpenAI wire's responses.

use super::openai::{efforts, logit_bias, metadata, priority, sampling, stop, timings};
use super::operation::{Operation, Served};
use super::schema::{
    any, at_least, boolean, bounded, count, either, given, integer, list, number, one_of, only, or_null, said, seed,
    sent, some, string, within,
};
use crate::TOOLS_MAX;
use crate::openai::{INCLUDABLE, LABEL_CHARS_MAX, MESSAGES_MAX, PARTS_MAX};
use crate::routes::RouteMethod::{Delete, Post};
use crate::stream::EVENT_STREAM;
use ballast_tokens::LOGPROBS_MAX;
use serde_json::{Value, json};

const GONE: &str = "There is no such response, or it is kept no longer.";

pub(super) fn operations(served: &Served) -> Vec<Operation> {
    let deleted = given(vec![("id", string()), ("object", only("response")), ("deleted", only(true))]);
    let create = |path| {
        Operation::post(path, "Answer, and keep the answer.", (body(served), response())).works().also(EVENT_STREAM)
    };
    vec![
        create("/v1/responses"),
        create("/responses"),
        Operation::get("/v1/responses/{id}", "A response that is kept.", response())
            .also(EVENT_STREAM)
            .query(("stream", said(boolean(), "Its events, of one that was made in the background as a stream.")))
            .query(("starting_after", said(at_least(0), "The number of the last event that is known.")))
            .query(("include", included()))
            .query(("include_obfuscation", only(false)))
            .fails(400, "What was asked for cannot be obeyed: the error names it.")
            .fails(404, GONE),
        Operation::bare(Delete, "/v1/responses/{id}", "Delete a response; work on it ends.", deleted).fails(404, GONE),
        Operation::bare(Post, "/v1/responses/{id}/cancel", "End the work in the background.", response())
            .fails(400, "It is not in the background.")
            .fails(404, GONE),
        Operation::get("/v1/responses/{id}/input_items", "What a response answers.", items())
            .query(("limit", count(1, 100)))
            .query(("order", one_of(&["asc", "desc"])))
            .query(("after", said(string(), "The item after which the page begins.")))
            .query(("include", included()))
            .fails(400, "What was asked for cannot be obeyed: the error names it.")
            .fails(404, GONE),
    ]
}

fn included() -> Value {
    list(one_of(&INCLUDABLE))
}

fn body(served: &Served) -> Value {
    let mut others = vec![
        ("instructions", said(string(), "What the system says first; not carried over to the next response.")),
        ("previous_response_id", said(string(), "The response that the conversation goes on from.")),
        ("store", boolean()),
        ("stream", said(boolean(), "As server-sent events.")),
        ("stream_options", said(sent(vec![], vec![("include_obfuscation", only(false))]), "Only with stream.")),
        ("background", said(boolean(), "Answer at once, and work on whoever waits.")),
        ("max_output_tokens", at_least(1)),
        ("text", text()),
        ("reasoning", sent(vec![], vec![("effort", efforts())])),
        ("tools", some(&tool(), 0, TOOLS_MAX)),
        ("tool_choice", choice()),
        ("parallel_tool_calls", boolean()),
        ("include", either(&[one_of(&INCLUDABLE), included()])),
        ("top_logprobs", count(0, i64::try_from(LOGPROBS_MAX).unwrap_or(0))),
        ("metadata", metadata()),
        ("user", bounded(LABEL_CHARS_MAX)),
        ("prompt_cache_key", bounded(LABEL_CHARS_MAX)),
        ("safety_identifier", bounded(LABEL_CHARS_MAX)),
        ("timings_per_token", boolean()),
        ("return_progress", boolean()),
        ("stop", stop()),
        ("logit_bias", logit_bias()),
        ("seed", seed()),
        ("frequency_penalty", within(-2.0, 2.0)),
        ("presence_penalty", within(-2.0, 2.0)),
        ("repetition_penalty", within(0.1, 10.0)),
        ("ignore_eos", boolean()),
        ("timeout", served.timeout()),
        ("priority", priority()),
    ];
    others.extend(sampling());
    sent(vec![("model", served.model()), ("input", input())], others)
}

fn input() -> Value {
    let part = |kind: &str| {
        let others = if kind == "output_text" { vec![("annotations", any()), ("logprobs", any())] } else { vec![] };
        sent(vec![("type", only(kind)), ("text", string())], others)
    };
    let message = |roles: &[&str], parts: &[Value]| {
        let content = either(&[string(), some(&either(parts), 1, PARTS_MAX)]);
        let others = vec![
            ("type", only("message")),
            ("id", json!({ "type": "string", "minLength": 1, "maxLength": LABEL_CHARS_MAX })),
            ("status", one_of(&["in_progress", "completed", "incomplete"])),
        ];
        sent(vec![("role", one_of(roles)), ("content", content)], others)
    };
    let said = message(&["assistant"], &[part("input_text"), part("output_text")]);
    let asked = message(&["system", "developer", "user"], &[part("input_text")]);
    let label = || json!({ "type": "string", "minLength": 1, "maxLength": LABEL_CHARS_MAX });
    let state = one_of(&["in_progress", "completed", "incomplete"]);
    let call = sent(
        vec![("type", only("function_call")), ("call_id", label()), ("name", string()), ("arguments", string())],
        vec![("id", label()), ("status", state.clone())],
    );
    let output = either(&[string(), some(&part("input_text"), 1, PARTS_MAX)]);
    let answer = sent(
        vec![("type", only("function_call_output")), ("call_id", label()), ("output", output)],
        vec![("id", label()), ("status", state)],
    );
    either(&[string(), some(&either(&[asked, said, call, answer]), 1, MESSAGES_MAX)])
}

fn name() -> Value {
    json!({ "type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$" })
}

fn tool() -> Value {
    sent(
        vec![("type", only("function")), ("name", name())],
        vec![("description", string()), ("parameters", json!({ "type": "object" })), ("strict", boolean())],
    )
}

fn choice() -> Value {
    let one = || sent(vec![("type", only("function")), ("name", name())], vec![]);
    let allowed = sent(
        vec![
            ("type", only("allowed_tools")),
            ("mode", one_of(&["auto", "required"])),
            ("tools", some(&one(), 0, TOOLS_MAX)),
        ],
        vec![],
    );
    either(&[one_of(&["none", "auto", "required"]), one(), allowed])
}

fn text() -> Value {
    let schema = either(&[json!({ "type": "object" }), boolean()]);
    let name = json!({ "type": "string", "minLength": 1, "maxLength": 64 });
    let named = sent(
        vec![("type", only("json_schema")), ("name", name), ("schema", schema)],
        vec![("description", string()), ("strict", boolean())],
    );
    let plain = sent(vec![("type", one_of(&["text", "json_object"]))], vec![]);
    sent(vec![], vec![("format", either(&[plain, named])), ("verbosity", only("medium"))])
}

fn response() -> Value {
    let states = ["completed", "incomplete", "failed", "cancelled", "in_progress", "queued"];
    let usage = given(vec![
        ("input_tokens", integer()),
        ("input_tokens_details", given(vec![("cached_tokens", integer())])),
        ("output_tokens", integer()),
        ("output_tokens_details", given(vec![("reasoning_tokens", integer())])),
        ("total_tokens", integer()),
    ]);
    let mut response = given(vec![
        ("id", string()),
        ("object", only("response")),
        ("created_at", integer()),
        ("status", one_of(&states)),
        ("model", string()),
        ("output", list(item())),
        ("error", or_null(given(vec![("code", string()), ("message", string())]))),
        ("incomplete_details", or_null(given(vec![("reason", string())]))),
        ("usage", or_null(usage)),
        ("metadata", metadata()),
        ("temperature", number()),
        ("store", boolean()),
        ("background", boolean()),
        ("previous_response_id", or_null(string())),
    ]);
    response["properties"]["timings"] = timings();
    response
}

fn item() -> Value {
    let message = given(vec![
        ("type", only("message")),
        ("id", string()),
        ("status", string()),
        ("role", string()),
        ("content", list(given(vec![("type", string()), ("text", string())]))),
    ]);
    let of_call =
        |kind: &str| vec![("type", only(kind)), ("id", string()), ("status", string()), ("call_id", string())];
    let mut call = of_call("function_call");
    call.extend([("name", string()), ("arguments", string())]);
    let mut answer = of_call("function_call_output");
    answer.push(("output", string()));
    either(&[message, given(call), given(answer)])
}

fn items() -> Value {
    given(vec![
        ("object", only("list")),
        ("data", list(item())),
        ("first_id", or_null(string())),
        ("last_id", or_null(string())),
        ("has_more", boolean()),
    ])
}
