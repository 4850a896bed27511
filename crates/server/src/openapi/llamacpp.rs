//! The routes of llama.cpp's server.

use super::openai::{any_object, chat_answer, chat_body, messages, models, stop, telling};
use super::operation::{Operation, Served};
use super::schema::{
    Field, any, boolean, bounded, count, either, given, integer, list, number, one_of, only, said, sent, signed, some,
    string, tokens_or_all, within,
};
use crate::stream::EVENT_STREAM;
use crate::{PROMPTS_MAX, SLOT_FILE_NAME_BYTES_MAX};
use ballast_tokens::{LOGPROBS_MAX, PENALTY_WINDOW_MAX, TEMPERATURE_MAX};
use serde_json::{Value, json};

pub(super) fn operations(served: &Served) -> Vec<Operation> {
    let named = || -> Vec<Field> { vec![("model", said(string(), "Where there is one model, any name means it."))] };
    let with = |fields: Vec<Field>| [fields, named()].concat();
    let tokenized = sent(
        vec![("content", string())],
        with(vec![("add_special", boolean()), ("parse_special", boolean()), ("with_pieces", boolean())]),
    );
    let rendered = sent(
        vec![("messages", messages())],
        with(vec![
            ("add_generation_prompt", boolean()),
            ("continue_final_message", boolean()),
            ("chat_template_kwargs", any_object()),
            ("tools", list(any_object())),
        ]),
    );
    let count_tokens = |path| {
        let body = sent(
            vec![("messages", messages())],
            with(vec![
                ("continue_final_message", boolean()),
                ("add_generation_prompt", boolean()),
                ("chat_template_kwargs", any_object()),
                ("tools", list(any_object())),
            ]),
        );
        let answer = given(vec![("object", only("response.input_tokens")), ("input_tokens", integer())]);
        Operation::post(path, "How many tokens a conversation has.", (body, answer))
    };
    let completion = |path| {
        Operation::post(path, "Go on from a prompt.", (completion_body(served, named()), completion_answer()))
            .works()
            .also(EVENT_STREAM)
    };
    let changing = |path, summary| {
        let named = sent(vec![("model", served.model())], Vec::new());
        Operation::post(path, summary, (named, given(vec![("success", boolean())]))).works()
    };
    let mut operations = vec![
        completion("/completion"),
        completion("/completions"),
        Operation::post(
            "/chat/completions",
            "Answer a conversation.",
            (chat_body(&served.model(), served), chat_answer()),
        )
        .works()
        .also(EVENT_STREAM),
        count_tokens("/chat/completions/input_tokens"),
        count_tokens("/v1/chat/completions/input_tokens"),
        Operation::post("/infill", "Fill a gap.", (infill_body(served, named()), completion_answer()))
            .works()
            .also(EVENT_STREAM)
            .fails(501, "The model cannot fill gaps."),
        Operation::post("/tokenize", "Text to tokens.", (tokenized, given(vec![("tokens", list(any()))]))),
        Operation::post(
            "/detokenize",
            "Tokens to text.",
            (sent(vec![("tokens", list(served.token()))], named()), given(vec![("content", string())])),
        ),
        Operation::post(
            "/apply-template",
            "A conversation to a prompt.",
            (rendered, given(vec![("prompt", string())])),
        ),
        Operation::get("/models", "The models, and which are loaded.", models()),
        changing("/models/load", "Begin to load a model."),
        changing("/models/unload", "Unload a model once its answers in progress have ended."),
        Operation::get("/props", "What the server is.", props())
            .query(("model", string()))
            .fails(404, "There is no such model."),
    ];
    operations.extend(slots());
    operations
}

/// What is told of the places for sequences, and done with them.
fn slots() -> Vec<Operation> {
    vec![
        Operation::get("/slots", "What the places for sequences are doing.", list(any()))
            .query(("model", string()))
            .query(("fail_on_no_slot", string()))
            .fails(404, "There is no such model.")
            .fails(501, "The server does not tell.")
            .fails(503, "Every place is taken, and the caller would rather not wait."),
        Operation::post(
            "/slots/{id_slot}",
            "Save, restore or erase a place.",
            (slot_body(), given(vec![("id_slot", integer())])),
        )
        .works()
        .query(("action", one_of(&["save", "restore", "erase"])))
        .query(("model", string()))
        .fails(501, "The server has no folder for them."),
    ]
}

fn infill_body(served: &Served, named: Vec<Field>) -> Value {
    let others = list(given(vec![("text", string())]));
    let fields = [shared_fields(served), named, vec![("prompt", string()), ("input_extra", others)]].concat();
    sent(vec![("input_prefix", string()), ("input_suffix", string())], fields)
}

fn slot_body() -> Value {
    sent(Vec::new(), vec![("filename", bounded(SLOT_FILE_NAME_BYTES_MAX))])
}

fn completion_body(served: &Served, named: Vec<Field>) -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let mixed = some(&either(&[served.token(), string()]), 1, 4096);
    let many = some(&either(&[text.clone(), mixed.clone()]), 1, PROMPTS_MAX);
    sent(vec![("prompt", either(&[text, mixed, many]))], [shared_fields(served), named].concat())
}

/// What completions and infills take alike.
fn shared_fields(served: &Served) -> Vec<Field> {
    let pair = either(&[number(), only(false)]);
    let biased = either(&[served.token(), string()]);
    let bias = json!({ "type": "array", "prefixItems": [biased, pair], "items": false, "minItems": 2 });
    let biases = json!({ "type": "object", "additionalProperties": pair });
    let mut fields = penalties();
    fields.extend(telling());
    fields.extend([
        ("stream", said(boolean(), "As server-sent events.")),
        ("return_tokens", boolean()),
        ("response_fields", either(&[string(), list(string())])),
        ("id_slot", said(signed(), "Below 0 is wherever there is room.")),
        ("cache_prompt", boolean()),
        ("temperature", within(0.0, f64::from(TEMPERATURE_MAX))),
        ("top_k", signed()),
        ("top_p", within(0.0, 1.0)),
        ("min_p", within(0.0, 1.0)),
        ("seed", signed()),
        ("stop", stop()),
        ("n_predict", tokens_or_all()),
        ("n_probs", count(0, i64::try_from(LOGPROBS_MAX).unwrap_or(0))),
        ("logit_bias", either(&[list(bias), biases])),
        ("ignore_eos", boolean()),
        ("post_sampling_probs", said(boolean(), "Of what tokens are drawn from, not of the model.")),
        ("t_max_predict_ms", signed()),
        ("timeout", served.timeout()),
    ]);
    fields
}

/// Penalties by the names that Ollama has from llama.cpp.
pub(super) fn penalties() -> Vec<Field> {
    vec![
        ("repeat_penalty", within(0.1, 10.0)),
        ("repeat_last_n", count(i64::MIN, i64::try_from(PENALTY_WINDOW_MAX).unwrap_or(0))),
        ("frequency_penalty", within(-2.0, 2.0)),
        ("presence_penalty", within(-2.0, 2.0)),
    ]
}

/// An answer, or one for each of several prompts. It has only the fields that `response_fields` names.
fn completion_answer() -> Value {
    let mut answer = given(vec![
        ("index", integer()),
        ("content", string()),
        ("tokens", list(integer())),
        ("stop", boolean()),
        ("id_slot", integer()),
        ("prompt", string()),
        ("has_new_line", boolean()),
        ("generation_settings", any()),
        ("model", string()),
        ("stop_type", one_of(&["limit", "word", "eos", "none"])),
        ("stopping_word", string()),
        ("tokens_predicted", integer()),
        ("tokens_evaluated", integer()),
        ("tokens_cached", integer()),
        ("truncated", boolean()),
        ("timings", any()),
    ]);
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("required");
    }
    either(&[answer.clone(), list(answer)])
}

fn props() -> Value {
    given(vec![
        ("default_generation_settings", given(vec![("n_ctx", integer())])),
        ("total_slots", integer()),
        ("model_alias", string()),
        ("model_path", string()),
        ("chat_template", any()),
        ("build_info", string()),
    ])
}
