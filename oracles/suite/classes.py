"""Which of llama.cpp's server tests apply to our server, and why the others do not."""

# Whole files about something that our server has not; they are run against neither server.
FEATURES = {
    "test_lora.py": "adapters (LoRA)",
    "test_mcp_servers.py": "tools of MCP servers run by the inference server",
    "test_proxy.py": "a proxy for browsers",
    "test_router.py": "a process for each model behind a router",
    "test_sleep.py": "unloading the only model by --sleep-idle-seconds",
    "test_speculative.py": "speculative decoding by a second model file",
    "test_stream.py": "streams that are taken up again by another connection",
    "test_tools_builtin.py": "tools that the inference server runs itself",
    "test_vision_api.py": "images",
    "test_compat_gcp.py": "the prediction route of one cloud vendor",
}

# Single tests: part of the name (the longest that fits counts) and what they ask for that our server has not.
TESTS = {
    "test_no_ui": "a web page",
    "test_access_static_assets_without_api_key": "a web page",
    "test_cors_proxy": "a proxy for browsers",
    "test_cors_origins_defaults_to_localhost_with_tools_enabled": "tools that the inference server runs itself",
    "test_n_probs_post_backend_sampling": "sampling on an accelerator",
    "test_kv_keep_only_active.py": "lines that the other server's log has",
    "test_slot_restore_legacy_token_list": "the format of the other server's own files of slots",
    "test_server_multiple_addresses": "several addresses to listen on",
    "test_server_model_aliases_and_tags": "tags of models",
    "test_anthropic_vision": "images",
    "test_anthropic_tool_result_with_image": "images",
    "test_slot_save_restore_with": "images",
    "test_slot_save_restore_image": "images",
    "test_slot_save_restore_text_only_on_multimodal": "images",
}

WHOLE_BLOCKS = "expects the count of a cache that knows each token; ours is shared by all requests, in blocks of 32 tokens and tails"

# Single tests that expect what our server does otherwise on purpose, and why.
TESTS_OTHERWISE = {
    "test_metrics_disabled": "metrics need a key and no switch",
    "test_anthropic_empty_messages": "a conversation without messages is refused",
    "test_invalid_chat_completion_req[messages7]": "of two messages of the assistant at the end, the last is how the answer begins",
    "test_responses_stream_with_llama_telemetry": "an answer that its length cuts ends with response.incomplete, as OpenAI has it",
    "test_ctx_shift_enabled": "a conversation that is too long is refused, its beginning never forgotten; the option is refused by name",
    "test_chat_completion_cached_tokens": WHOLE_BLOCKS,
    "test_slot_save_restore": WHOLE_BLOCKS,
    "Access-Control-Allow-Credentials": "pages of any origin never get to use what a browser sends by itself: they must know a key",
    "Access-Control-Allow-Headers": "headers are named: browsers do not count Authorization to `*`",
}

APPLICABLE, WEIGHTS, FEATURE, OTHERWISE, MODEL = "applicable", "weights", "feature", "otherwise", "model"
EXPLAINED = {
    APPLICABLE: "passes with llama-server on the same file, so it must with ours",
    WEIGHTS: "fails with llama-server on the same file: it expects what only the original weights say",
    FEATURE: "asks for something that Ballast has not",
    OTHERWISE: "expects what Ballast does otherwise on purpose",
    MODEL: "its model cannot be had",
}


def feature(test):
    """What the test asks for that our server has not, or None."""
    file = test.split("::")[0].rsplit("/", 1)[-1]
    if file in FEATURES:
        return FEATURES[file]
    return longest(TESTS, test)


def longest(table, test):
    """What the table says of the longest name that is a part of the test's, or None."""
    fits = [name for name in table if name in test]
    return table[max(fits, key=len)] if fits else None


def classify(test, theirs):
    """The class of a test and what is to be said about it; `theirs` is its result with llama-server."""
    wanted = feature(test)
    if wanted:
        return FEATURE, wanted
    if longest(TESTS_OTHERWISE, test):
        return OTHERWISE, longest(TESTS_OTHERWISE, test)
    if theirs["outcome"] == "skipped":
        return MODEL, theirs["message"]
    return (APPLICABLE, "") if theirs["outcome"] == "passed" else (WEIGHTS, theirs["message"])
