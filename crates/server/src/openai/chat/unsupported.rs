//! Parameters of the OpenAI wire that this server knows and cannot obey. A value that asks for nothing is let pass.

use crate::fields::{Refused, is_one, never};
use serde_json::json;

const NEWER: &str = "use `tools` and `tool_choice`";
const NO_TOOLS: &str = "the only tools are the caller's own, in `tools`";
const TEXT: &str = "answers are plain text";
const NOT_KEPT: &str = "nothing is stored";
const NO_LENGTH: &str = "there is no control over length but max_tokens and stop";
const ONE_MODEL: &str = "the model is served as it is";

pub(super) const UNSUPPORTED: &[Refused] = &[
    ("audio", never, TEXT),
    ("best_of", is_one, "every answer that is made is given: use `n`"),
    ("function_call", |value| value == "none", NEWER),
    ("functions", never, NEWER),
    ("modalities", |value| *value == json!(["text"]), TEXT),
    ("prediction", never, ONE_MODEL),
    ("prompt_cache_key", never, ONE_MODEL),
    ("safety_identifier", never, "use `user`"),
    ("service_tier", |value| value == "auto" || value == "default", ONE_MODEL),
    ("store", |value| *value == json!(false), NOT_KEPT),
    ("verbosity", never, NO_LENGTH),
    ("web_search_options", never, NO_TOOLS),
];
