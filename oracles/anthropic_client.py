"""The official Anthropic client against `ballast serve`: messages, streams, counting, stop sequences, thinking, errors.

usage: anthropic_client.py --model FILE           starts the server itself
       anthropic_client.py --url URL --key KEY    uses one that runs
"""

import contextlib
import tempfile

from clients import TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION, TOOL_SCHEMA, main, run, tool_fault
from programs import call, serving_ballast

try:
    import anthropic
except ImportError:
    anthropic = None

MESSAGES = [{"role": "user", "content": "Say in one sentence what a lighthouse is for."}]
GREEDY = {"temperature": 0}
ASK = {"messages": MESSAGES, "max_tokens": 24, "extra_body": GREEDY}

# Opens thoughts itself, so that there are thoughts for certain, and a budget ends them.
THINKING_TEMPLATE = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking %}<think>
{% endif %}{% endif %}"""
BUDGET = 8
THINK = ASK | {"thinking": {"type": "enabled", "budget_tokens": BUDGET}, "max_tokens": 40}


def whole(client, model):
    """A message has text, a reason and a usage; counting its prompt gives the same number."""
    message = client.messages.create(model=model, **ASK)
    counted = client.messages.count_tokens(model=model, messages=MESSAGES).input_tokens
    usage = message.usage
    if message.content[0].type != "text" or not message.content[0].text:
        return f"content {message.content}"
    if message.stop_reason not in ("end_turn", "max_tokens"):
        return f"stop reason {message.stop_reason!r}"
    n_prompt = usage.input_tokens + usage.cache_read_input_tokens
    return None if counted == n_prompt else f"counted {counted}, read {n_prompt}"


def streamed(client, model):
    """The client puts a stream together to the same message as the one in one piece."""
    message = client.messages.create(model=model, **ASK)
    with client.messages.stream(model=model, **ASK) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    if len(pieces) < 2:
        return f"{len(pieces)} pieces of text"
    if "".join(pieces) != message.content[0].text or final.content[0].text != message.content[0].text:
        return f"{message.content[0].text!r} in one piece, {pieces} streamed"
    if (final.stop_reason, final.usage.output_tokens) != (message.stop_reason, message.usage.output_tokens):
        return f"{message.stop_reason}, {message.usage} in one piece, {final.stop_reason}, {final.usage} streamed"
    return None


def stopped(client, model):
    """A stop sequence ends a message before itself, and is told."""
    text = client.messages.create(model=model, **ASK).content[0].text
    stop = text.split()[3]
    message = client.messages.create(model=model, stop_sequences=["never said", stop], **ASK)
    if message.stop_reason != "stop_sequence" or message.stop_sequence != stop:
        return f"{message.stop_reason!r}, {message.stop_sequence!r}: {message.content}"
    before = text[:text.index(stop)]
    return None if message.content[0].text == before else f"{message.content[0].text!r}, expected {before!r}"


def told(client, model):
    """What is wrong comes as the client's own errors."""
    cases = [
        (anthropic.NotFoundError, lambda: client.messages.create(model="other", **ASK)),
        (anthropic.BadRequestError, lambda: client.messages.create(model=model, messages=MESSAGES, max_tokens=0)),
        (anthropic.AuthenticationError, lambda: client.with_options(api_key="not-the-key").messages.create(model=model, **ASK)),
    ]
    for expected, ask in cases:
        try:
            ask()
        except expected:
            continue
        except anthropic.AnthropicError as error:
            return f"expected {expected.__name__}, got {type(error).__name__}: {error}"
        return f"expected {expected.__name__}, got an answer"
    return None


def tools(client, model):
    """A tool that must be called is called by its schema, whole and streamed, and its answer goes back."""
    offered = [{"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "input_schema": TOOL_SCHEMA}]
    messages = [{"role": "user", "content": TOOL_QUESTION}]
    ask = {"model": model, "max_tokens": 300, "tools": offered, "messages": messages, "extra_body": GREEDY}
    for kind in ({"type": "any"}, {"type": "tool", "name": TOOL_NAME}):
        choice = kind | {"disable_parallel_tool_use": True}
        message = client.messages.create(**ask, tool_choice=choice)
        if message.stop_reason != "tool_use" or [block.type for block in message.content] != ["tool_use"]:
            return f"{message.stop_reason!r}, content {message.content}"
        call = message.content[0]
        if fault := tool_fault(call.name, call.input):
            return fault
        with client.messages.stream(**ask, tool_choice=choice) as stream:
            final = stream.get_final_message()
        streamed = [(block.name, block.input) for block in final.content]
        if streamed != [(call.name, call.input)] or final.stop_reason != "tool_use":
            return f"{call} in one piece, {final.content} streamed, {final.stop_reason!r}"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": TOOL_ANSWER}
    messages = [*messages, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    back = client.messages.create(**(ask | {"messages": messages}), tool_choice={"type": "none"})
    return None if [block.type for block in back.content] == ["text"] else f"after the tool's answer {back.content}"


def parts(message):
    """The blocks of a message, as thoughts and texts."""
    return [(block.type, block.thinking if block.type == "thinking" else block.text) for block in message.content]


def thought(client, model, n_tokens):
    """Thoughts come first, signed, within their budget, and the answer after them; streamed they are the same."""
    message = client.messages.create(model=model, **THINK)
    if [kind for kind, text in parts(message) if text.strip()] != ["thinking", "text"] or not message.content[0].signature:
        return f"content {message.content}"
    if not 0 < n_tokens(message.content[0].thinking) <= BUDGET:
        return f"a budget of {BUDGET} tokens, and {message.content[0]}"
    if "think>" in str(parts(message)):
        return f"marks in {message.content}"
    with client.messages.stream(model=model, **THINK) as stream:
        events = list(stream)
        final = stream.get_final_message()
    if (parts(final), final.content[0].signature) != (parts(message), message.content[0].signature):
        return f"{message.content} in one piece, {final.content} streamed"
    if final.usage.output_tokens != message.usage.output_tokens:
        return f"{message.usage} in one piece, {final.usage} streamed"
    kinds = [event.type for event in events if event.type in ("thinking", "signature", "text")]
    n_thoughts = kinds.index("signature")
    expected = ["thinking"] * n_thoughts + ["signature"] + ["text"] * (len(kinds) - n_thoughts - 1)
    return None if kinds == expected and n_thoughts > 1 else f"streamed {kinds}"


def taken_back(client, model):
    """What was thought goes back as it came, and the template shows it to the model."""
    message = client.messages.create(model=model, **THINK)
    counts = []
    for blocks in (message.content, message.content[1:]):
        messages = [*MESSAGES, {"role": "assistant", "content": blocks}, {"role": "user", "content": "And then?"}]
        client.messages.create(model=model, **(THINK | {"messages": messages}))
        counts.append(client.messages.count_tokens(model=model, messages=messages).input_tokens)
    return None if counts[0] > counts[1] else f"{counts[0]} tokens with thoughts, {counts[1]} without"


def thoughtless(client, model):
    """Who does not ask for thoughts, or asks for none, gets none."""
    for ask in (ASK, ASK | {"thinking": {"type": "disabled"}}):
        kinds = [kind for kind, _ in parts(client.messages.create(model=model, **ask))]
        if kinds != ["text"]:
            return f"blocks {kinds}"
    return None


def without_room(client, model):
    """A budget leaves room for an answer."""
    try:
        client.messages.create(model=model, **(THINK | {"max_tokens": BUDGET}))
    except anthropic.BadRequestError as error:
        return None if "budget_tokens" in str(error) else str(error)
    return "expected an error, got an answer"


@contextlib.contextmanager
def serving_thinking(model):
    """Our server on a model whose template opens thoughts."""
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
        template.write(THINKING_TEMPLATE)
        template.flush()
        with serving_ballast(model, "--chat-template-file", template.name) as server:
            yield server


def compare_thinking(report, url, key):
    client, model = connect(url, key)
    n_tokens = lambda text: len(call(f"{url}/tokenize", {"content": text}, key)["tokens"])
    checks = {
        "thinking": lambda: thought(client, model, n_tokens),
        "thoughts taken back": lambda: taken_back(client, model),
        "no thinking": lambda: thoughtless(client, model),
        "budget without room": lambda: without_room(client, model),
    }
    run(report, checks, anthropic.AnthropicError)


def connect(url, key):
    """A client, and the model that it asks."""
    client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=120)
    return client, call(f"{url}/v1/models", key=key)["data"][0]["id"]


def compare(report, url, key):
    client, model = connect(url, key)
    checks = {
        "message in one piece": lambda: whole(client, model),
        "streamed message": lambda: streamed(client, model),
        "stop sequences": lambda: stopped(client, model),
        "tools": lambda: tools(client, model),
        "errors": lambda: told(client, model),
    }
    run(report, checks, anthropic.AnthropicError)


if __name__ == "__main__":
    main("anthropic", anthropic, compare, (serving_thinking, compare_thinking))
