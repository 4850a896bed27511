//! Parameters of this wire that the server knows and cannot obey. A value that asks for nothing is let pass.

use crate::fields::{Refused, is_empty, never};

const BY_CLIENT: &str = "continue with `previous_response_id` or send the items";
const AS_IT_IS: &str = "the model is served as it is";

pub(super) const UNSUPPORTED: &[Refused] = &[
    ("access_programs", never, AS_IT_IS),
    ("context_management", is_empty, BY_CLIENT),
    ("conversation", never, BY_CLIENT),
    ("image", never, "answers are text"),
    ("max_tool_calls", never, "there are no built-in tools"),
    ("moderation", never, AS_IT_IS),
    ("prompt", never, "prompts are not stored: use `instructions` and `input`"),
    ("prompt_cache_options", never, "prefixes are cached without being asked"),
    ("prompt_cache_retention", |value| value == "in_memory", "prefixes are cached in memory only"),
    ("service_tier", |value| value == "auto" || value == "default", AS_IT_IS),
    ("truncation", |value| value == "disabled", "a conversation that does not fit is refused, never cut"),
];
