//! The routes of the Open Inference Protocol.

use super::operation::Operation;
use super::schema::{any, boolean, bounded, count, either, given, integer, list, one_of, only, said, sent, string};
use crate::routes::RouteMethod::{Get, Post};
use serde_json::{Value, json};

const UNKNOWN: &str = "There is no such model, or no such version.";
const NOT_READY: &str = "The model is not ready.";
const NEVER: &str = "It is not served here: the error says what is.";

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![
        Operation::get("/v2", "What the server is.", about()),
        Operation::get("/v2/health/live", "Whether it lives.", given(vec![("live", only(true))])),
        Operation::get("/v2/health/ready", "Whether to send requests here.", given(vec![("ready", boolean())]))
            .otherwise(given(vec![("ready", boolean())]))
            .fails(400, "It is not ready."),
        Operation::get("/v2/models/stats", "What was counted of every model.", statistics()),
    ];
    for [model, ready, config, stats, infer] in [
        [
            "/v2/models/{model}",
            "/v2/models/{model}/ready",
            "/v2/models/{model}/config",
            "/v2/models/{model}/stats",
            "/v2/models/{model}/infer",
        ],
        [
            "/v2/models/{model}/versions/{version}",
            "/v2/models/{model}/versions/{version}/ready",
            "/v2/models/{model}/versions/{version}/config",
            "/v2/models/{model}/versions/{version}/stats",
            "/v2/models/{model}/versions/{version}/infer",
        ],
    ] {
        operations.extend([
            reading(model, "What a model takes and gives.", metadata()),
            reading(ready, "Whether a model can be asked.", given(vec![("name", string()), ("ready", boolean())])),
            reading(config, "How a model is served.", configuration()),
            reading(stats, "What was counted of a model.", statistics()),
            Operation::post(infer, "Run a model on tensors.", (question(), answer()))
                .also("application/octet-stream")
                .works(),
        ]);
    }
    operations.extend(repository());
    operations.extend(refused());
    operations
}

fn reading(path: &'static str, summary: &'static str, answer: Value) -> Operation {
    Operation::get(path, summary, answer).fails(400, "The version is none.").fails(404, UNKNOWN).fails(503, NOT_READY)
}

fn repository() -> Vec<Operation> {
    let row = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": string(), "version": string(), "reason": string(),
            "state": one_of(&["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]),
        },
    });
    let managed = |path, summary, parameter| {
        let parameters = sent(vec![], vec![parameter]);
        Operation::post(path, summary, (sent(vec![], vec![("parameters", parameters)]), any()))
            .may_lack_body()
            .fails(500, "The model cannot be served.")
            .fails(501, "The server has nobody who loads models.")
            .fails(503, "The model is being loaded or unloaded.")
    };
    vec![
        Operation::post(
            "/v2/repository/index",
            "The models, and where each is.",
            (sent(vec![], vec![("ready", said(boolean(), "Only those that are."))]), list(row)),
        )
        .may_lack_body(),
        managed(
            "/v2/repository/models/{model}/load",
            "Load a model, or load it again.",
            ("config", super::schema::null()),
        ),
        managed(
            "/v2/repository/models/{model}/unload",
            "Unload a model once its requests have ended.",
            ("unload_dependents", only(false)),
        ),
    ]
}

fn refused() -> Vec<Operation> {
    let paths = [
        "/v2/systemsharedmemory/{*rest}",
        "/v2/cudasharedmemory/{*rest}",
        "/v2/trace/setting",
        "/v2/models/{model}/trace/setting",
        "/v2/logging",
    ];
    let of = |path: &'static str| {
        [Get, Post].map(|method| Operation::bare(method, path, "Refused, by name.", any()).fails(501, NEVER))
    };
    paths.into_iter().flat_map(of).collect()
}

fn about() -> Value {
    given(vec![("name", string()), ("version", string()), ("extensions", list(string()))])
}

fn metadata() -> Value {
    let tensor = || given(vec![("name", string()), ("datatype", datatype()), ("shape", list(integer()))]);
    given(vec![
        ("name", string()),
        ("versions", list(string())),
        ("platform", string()),
        ("inputs", list(tensor())),
        ("outputs", list(tensor())),
    ])
}

fn configuration() -> Value {
    let tensor = || given(vec![("name", string()), ("data_type", string()), ("dims", list(integer()))]);
    given(vec![
        ("name", string()),
        ("platform", string()),
        ("backend", string()),
        ("max_batch_size", integer()),
        ("input", list(tensor())),
        ("output", list(tensor())),
        ("instance_group", list(given(vec![("kind", string()), ("count", integer())]))),
    ])
}

fn statistics() -> Value {
    given(vec![(
        "model_stats",
        list(given(vec![
            ("name", string()),
            ("version", string()),
            ("last_inference", integer()),
            ("inference_count", integer()),
            ("execution_count", integer()),
            ("inference_stats", any()),
            ("batch_stats", list(any())),
        ])),
    )])
}

fn datatype() -> Value {
    one_of(&[
        "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32",
        "FP64", "BYTES",
    ])
}

fn question() -> Value {
    let content_type = || ("content_type", one_of(&["np", "str"]));
    let input = sent(
        vec![
            ("name", string()),
            ("datatype", datatype()),
            ("shape", json!({ "type": "array", "items": count(0, i64::MAX), "maxItems": 8 })),
        ],
        vec![
            ("data", said(list(any()), "Values, in one list or in lists as the shape says.")),
            (
                "parameters",
                sent(
                    vec![],
                    vec![
                        ("binary_data_size", said(count(0, i64::MAX), "Bytes of its values behind the JSON.")),
                        content_type(),
                    ],
                ),
            ),
        ],
    );
    let output = sent(
        vec![("name", string())],
        vec![(
            "parameters",
            sent(vec![], vec![("binary_data", boolean()), ("classification", count(0, 65_536)), content_type()]),
        )],
    );
    let parameters = sent(
        vec![],
        vec![
            ("priority", said(count(0, 21), "1 is served first; 0 is usual.")),
            ("timeout", said(count(0, i64::MAX), "Microseconds; 0: as long as requests have.")),
            ("binary_data_output", boolean()),
            ("sequence_id", either(&[only(0), only("")])),
            ("sequence_start", only(false)),
            ("sequence_end", only(false)),
            content_type(),
        ],
    );
    sent(
        vec![("inputs", list(input))],
        vec![("id", bounded(1024)), ("outputs", list(output)), ("parameters", parameters)],
    )
}

fn answer() -> Value {
    let output = given(vec![("name", string()), ("datatype", datatype()), ("shape", list(integer()))]);
    given(vec![("model_name", string()), ("model_version", string()), ("outputs", list(output))])
}

/// An error of this wire.
pub(super) fn error() -> Value {
    given(vec![("error", string())])
}
