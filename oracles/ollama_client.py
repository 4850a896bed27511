"""The official Ollama client against `ballast serve`: chat and generate, whole and streamed, tags, show, errors.

usage: ollama_client.py --model FILE [--encoder FOLDER]   starts the server itself
       ollama_client.py --url URL --key KEY               uses one that runs
"""

from clients import (
    TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION, TOOL_SCHEMA, main, models, run, tool_fault)

try:
    import ollama
except ImportError:
    ollama = None

MESSAGES = [{"role": "user", "content": "Say in one sentence what a lighthouse is for."}]
OPTIONS = {"temperature": 0, "num_predict": 24}


def chat(client, model):
    """A chat has the same text whole and streamed, and counts its tokens."""
    whole = client.chat(model=model, messages=MESSAGES, options=OPTIONS)
    parts = list(client.chat(model=model, messages=MESSAGES, options=OPTIONS, stream=True))
    text = "".join(part.message.content for part in parts)
    if not whole.message.content or text != whole.message.content:
        return f"{whole.message.content!r} whole, {text!r} streamed"
    if [part.done for part in parts] != [False] * (len(parts) - 1) + [True]:
        return f"done: {[part.done for part in parts]}"
    if not 0 < whole.eval_count <= OPTIONS["num_predict"] or not whole.prompt_eval_count:
        return f"{whole.prompt_eval_count} and {whole.eval_count} tokens"
    return None if whole.done_reason in ("stop", "length") else f"done reason {whole.done_reason!r}"


def tools(client, model):
    """Where the model may call a tool its calls are well-formed, whole and streamed alike, and answers go back."""
    offered = [{"type": "function", "function": {
        "name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA}}]
    messages = [{"role": "user", "content": TOOL_QUESTION}]
    ask = {"model": model, "messages": messages, "tools": offered, "options": {"temperature": 0, "num_predict": 200}}
    whole = client.chat(**ask)
    calls = [(call.function.name, dict(call.function.arguments)) for call in whole.message.tool_calls or []]
    parts = [part.message for part in client.chat(**ask, stream=True)]
    streamed = [(call.function.name, dict(call.function.arguments)) for part in parts for call in part.tool_calls or []]
    text = "".join(part.content or "" for part in parts)
    if (text, streamed) != (whole.message.content or "", calls):
        return f"{whole.message} whole, {text!r} and {streamed} streamed"
    if whole.done_reason == "stop":
        for name, arguments in calls:
            if fault := tool_fault(name, arguments):
                return fault
    called = {"function": {"name": TOOL_NAME, "arguments": {"place": "Paris", "unit": "celsius"}}}
    messages = [*messages, {"role": "assistant", "content": "", "tool_calls": [called]},
                {"role": "tool", "tool_name": TOOL_NAME, "content": TOOL_ANSWER}]
    back = client.chat(model=model, messages=messages, options=OPTIONS)
    return None if back.message.content else f"after the tool's answer {back.message}"


def generate(client, model):
    """A prompt is answered as a chat with one message is."""
    chatted = client.chat(model=model, messages=MESSAGES, options=OPTIONS).message.content
    generated = client.generate(model=model, prompt=MESSAGES[0]["content"], options=OPTIONS).response
    return None if generated == chatted else f"{generated!r}, as a chat {chatted!r}"


def told(client, model):
    """The model is listed first, shown and running."""
    listed = [entry.model for entry in client.list().models]
    running = [entry.model for entry in client.ps().models]
    if listed[0] != model or running != [model]:
        return f"listed {listed}, running {running}"
    details = client.show(model).details
    return None if details.format == "gguf" and details.parameter_size else f"details {details}"


def refused(client, model):
    """What is wrong comes as the client's own error, with a status."""
    for ask in (lambda: client.chat(model="other", messages=MESSAGES),
                lambda: client.chat(model=model, messages=MESSAGES, options={"temperature": 9000})):
        try:
            ask()
        except ollama.ResponseError as error:
            if error.status_code not in (400, 404) or not error.error:
                return f"{error.status_code}: {error.error!r}"
            continue
        return "expected an error, got an answer"
    return None


def embeds(client, encoder):
    """Texts have vectors, and one of them by itself the same."""
    texts = ["A lighthouse.", "A ship at sea."]
    both, one = (client.embed(model=encoder, input=asked).embeddings for asked in (texts, texts[0]))
    return None if len(both) == 2 and both[0] == one[0] else f"{len(both)} vectors, the first alone is another"


def compare(report, url, key):
    client = ollama.Client(host=url, headers={"authorization": f"Bearer {key}"}, timeout=120)
    model, encoder = models(url, key)
    checks = {
        "chat": lambda: chat(client, model),
        "tools": lambda: tools(client, model),
        "generate": lambda: generate(client, model),
        "tags, ps and show": lambda: told(client, model),
        "errors": lambda: refused(client, model),
    }
    if encoder:
        checks["embed"] = lambda: embeds(client, encoder)
    run(report, checks, ollama.ResponseError)


if __name__ == "__main__":
    main("ollama", ollama, compare)
