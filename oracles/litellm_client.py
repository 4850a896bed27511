"""litellm against `ballast serve`: completion, streaming, tools, JSON schema and embedding, on three wires.

usage: litellm_client.py --model FILE [--encoder FOLDER]   starts the server itself
       litellm_client.py --url URL --key KEY               uses one that runs
"""

import json
import os

from clients import (
    LIGHT_QUESTION, LIGHT_SCHEMA, TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION, TOOL_SCHEMA, light_fault, main,
    models, run, tool_fault)

# Prices come with the package: nothing is to be fetched from, or told to, anybody.
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}

try:
    import litellm
    litellm.suppress_debug_info = True
except ImportError:
    litellm = None

MESSAGES = [{"role": "user", "content": "Say in one sentence what a lighthouse is for."}]
TOOLS = [{"type": "function", "function": {
    "name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA}}]


def text(ask):
    """An answer has the same text in one piece and streamed, and counts its tokens."""
    whole = litellm.completion(**ask, messages=MESSAGES, max_tokens=24)
    stream = litellm.completion(**ask, messages=MESSAGES, max_tokens=24, stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
    content, usage = whole.choices[0].message.content, whole.usage
    if not content or len(pieces) < 2 or "".join(pieces) != content:
        return f"{content!r} in one piece, {pieces} streamed"
    return None if usage.total_tokens == usage.prompt_tokens + usage.completion_tokens else f"usage {usage}"


def called(ask, **more):
    """The calls of an answer, whole and streamed."""
    ask = ask | {"messages": [{"role": "user", "content": TOOL_QUESTION}], "tools": TOOLS, "max_tokens": 200} | more
    whole = litellm.completion(**ask).choices[0].message
    streamed = litellm.stream_chunk_builder(list(litellm.completion(**ask, stream=True))).choices[0].message
    told = [[(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
            for message in (whole, streamed)]
    return whole, told


def tools(ask):
    """A tool that must be called is, whole and streamed, and its answer goes back."""
    whole, told = called(ask, tool_choice="required")
    if told[0] != told[1] or not told[0]:
        return f"{told[0]} in one piece, {told[1]} streamed"
    if fault := tool_fault(*told[0][0]):
        return fault
    answers = [{"role": "tool", "tool_call_id": call.id, "content": TOOL_ANSWER} for call in whole.tool_calls]
    messages = [{"role": "user", "content": TOOL_QUESTION}, whole, *answers]
    back = litellm.completion(**ask, messages=messages, tools=TOOLS, max_tokens=24)
    return None if back.choices[0].message.content else f"after the tool's answer {back}"


def tools_if_wanted(ask):
    """Where no wire demands a call, answers in one piece and streamed make the same ones."""
    _, told = called(ask)
    return None if told[0] == told[1] else f"{told[0]} in one piece, {told[1]} streamed"


def structured(ask):
    """An answer that must keep to a schema does."""
    form = {"type": "json_schema", "json_schema": {"name": "light", "schema": LIGHT_SCHEMA, "strict": True}}
    asked = [{"role": "user", "content": LIGHT_QUESTION}]
    answer = litellm.completion(**ask, messages=asked, max_tokens=80, response_format=form)
    return light_fault(json.loads(answer.choices[0].message.content))


def embeddings(ask):
    """Texts have vectors of unit length. On Ollama's wire this client sends no key, so it is not asked there."""
    vectors = [item["embedding"] for item in litellm.embedding(**ask, input=["A lighthouse.", "A ship at sea."]).data]
    lengths = [sum(number * number for number in vector) for vector in vectors]
    return None if len(lengths) == 2 and all(abs(length - 1) < 1e-4 for length in lengths) else f"lengths {lengths}"


def refused(ask):
    """What is wrong comes as the client's own error."""
    try:
        litellm.completion(**ask | {"api_key": "not-the-key"}, messages=MESSAGES, max_tokens=1)
    except litellm.AuthenticationError:
        return None
    return "a wrong key was let in"


def compare(report, url, key):
    model, encoder = models(url, key)
    bases = {"openai": f"{url}/v1", "anthropic": url, "ollama_chat": url, "ollama": url}
    more = {"api_key": key, "max_retries": 0}
    checks = {}
    for provider, base in bases.items():
        ask = more | {"model": f"{provider}/{model}", "api_base": base, "temperature": 0}
        checks |= {f"{provider}: text": lambda ask=ask: text(ask),
                   f"{provider}: JSON schema": lambda ask=ask: structured(ask),
                   f"{provider}: tools": lambda ask=ask, provider=provider:
                       tools_if_wanted(ask) if provider.startswith("ollama") else tools(ask),
                   f"{provider}: a wrong key": lambda ask=ask: refused(ask)}
    if encoder:
        ask = more | {"model": f"openai/{encoder}", "api_base": bases["openai"], "encoding_format": "float"}
        checks["openai: embedding"] = lambda: embeddings(ask)
    run(report, checks, Exception)


if __name__ == "__main__":
    main("litellm", litellm, compare)
