"""The official Ollama client against `ballast serve`: chat and generate, whole and streamed, tags, show, errors.

usage: ollama_client.py --model FILE           starts the server itself
       ollama_client.py --url URL --key KEY    uses one that runs
"""

from clients import main, run

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


def generate(client, model):
    """A prompt is answered as a chat with one message is."""
    chatted = client.chat(model=model, messages=MESSAGES, options=OPTIONS).message.content
    generated = client.generate(model=model, prompt=MESSAGES[0]["content"], options=OPTIONS).response
    return None if generated == chatted else f"{generated!r}, as a chat {chatted!r}"


def told(client, model):
    """The model is listed, shown and running."""
    listed = [entry.model for entry in client.list().models]
    running = [entry.model for entry in client.ps().models]
    if listed != [model] or running != [model]:
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


def compare(report, url, key):
    client = ollama.Client(host=url, headers={"authorization": f"Bearer {key}"}, timeout=120)
    model = client.list().models[0].model
    checks = {
        "chat": lambda: chat(client, model),
        "generate": lambda: generate(client, model),
        "tags, ps and show": lambda: told(client, model),
        "errors": lambda: refused(client, model),
    }
    run(report, checks, ollama.ResponseError)


if __name__ == "__main__":
    main("ollama", ollama, compare)
