"""The official Anthropic client against `ballast serve`: messages, streams, counting, stop sequences, errors.

usage: anthropic_client.py --model FILE           starts the server itself
       anthropic_client.py --url URL --key KEY    uses one that runs
"""

from clients import TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION, TOOL_SCHEMA, main, run, tool_fault
from programs import call

try:
    import anthropic
except ImportError:
    anthropic = None

MESSAGES = [{"role": "user", "content": "Say in one sentence what a lighthouse is for."}]
GREEDY = {"temperature": 0}
ASK = {"messages": MESSAGES, "max_tokens": 24, "extra_body": GREEDY}


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


def compare(report, url, key):
    client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=120)
    model = call(f"{url}/v1/models", key=key)["data"][0]["id"]
    checks = {
        "message in one piece": lambda: whole(client, model),
        "streamed message": lambda: streamed(client, model),
        "stop sequences": lambda: stopped(client, model),
        "tools": lambda: tools(client, model),
        "errors": lambda: told(client, model),
    }
    run(report, checks, anthropic.AnthropicError)


if __name__ == "__main__":
    main("anthropic", anthropic, compare)
