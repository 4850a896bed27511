"""The official OpenAI client against `ballast serve`: streaming, usage, and that leaving stops the work.

usage: openai_client.py --model FILE [--encoder FOLDER]   starts the server itself
       openai_client.py --url URL --key KEY               uses one that runs
"""

import asyncio
import base64
import json
import struct
import time

from clients import (
    LIGHT_QUESTION, LIGHT_SCHEMA, TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION, TOOL_SCHEMA, farthest,
    light_fault, main, models, run, serving_busy, tool_fault)
from programs import call

try:
    import openai
except ImportError:
    openai = None

MESSAGES = [{"role": "user", "content": "Say in one sentence what a lighthouse is for."}]
N_TOKENS = 24
# Far more than is read before leaving, so that only the lost connection can end the work in time.
N_TOKENS_LONG = 1500
STOP_SECONDS = 2.0


def whole(client, model):
    """An answer in one piece has text, a finish reason and a count that adds up."""
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=N_TOKENS, temperature=0)
    choice, usage = answer.choices[0], answer.usage
    if not choice.message.content:
        return "no text"
    if choice.finish_reason not in ("stop", "length"):
        return f"finish reason {choice.finish_reason!r}"
    if usage.total_tokens != usage.prompt_tokens + usage.completion_tokens or not usage.prompt_tokens:
        return f"usage does not add up: {usage}"
    return None


def streamed(client, model):
    """A streamed answer comes in pieces, with one finish reason at its end and the usage after it."""
    stream = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=N_TOKENS, temperature=0, stream=True,
        stream_options={"include_usage": True})
    pieces, finish, usage = [], [], []
    for chunk in stream:
        if chunk.object != "chat.completion.chunk":
            return f"a chunk calls itself {chunk.object!r}"
        if chunk.usage:
            usage.append(chunk.usage)
        for choice in chunk.choices:
            pieces.extend([choice.delta.content] if choice.delta.content else [])
            finish.extend([choice.finish_reason] if choice.finish_reason else [])
    if len(pieces) < 2:
        return f"{len(pieces)} pieces of text"
    if len(finish) != 1 or finish[0] not in ("stop", "length"):
        return f"finish reasons {finish}"
    if len(usage) != 1 or not 0 < usage[0].completion_tokens <= N_TOKENS:
        return f"usage {usage}"
    text = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=N_TOKENS, temperature=0)
    return None if "".join(pieces) == text.choices[0].message.content else "not the text of the answer in one piece"


def refused_without_key(url, model):
    stranger = openai.OpenAI(base_url=f"{url}/v1", api_key="not-the-key", max_retries=0)
    try:
        stranger.chat.completions.create(model=model, messages=MESSAGES, max_tokens=1)
    except openai.AuthenticationError:
        return None
    except openai.OpenAIError as error:
        return f"expected 401, got {error}"
    return "a wrong key was let in"


def active_sequences(url, key):
    return call(f"{url}/health", key=key)["active_sequences"]


def still_at_work(url, key):
    """What is wrong if the server goes on with work that nobody waits for."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if active_sequences(url, key) == 0:
            return None
        time.sleep(0.02)
    return f"still at work {STOP_SECONDS} s after nobody waited any more"


def endless(model):
    story = [{"role": "user", "content": "Count upwards from one, in words, and do not stop."}]
    return {"model": model, "messages": story, "max_tokens": N_TOKENS_LONG, "extra_body": {"ignore_eos": True}}


def stops_when_left(client, url, key, model):
    """After the connection is dropped, the server's work on it ends."""
    stream = client.chat.completions.create(**endless(model), stream=True)
    n_chunks = 0
    for _ in stream:
        n_chunks += 1
        if n_chunks == 5:
            break
    if active_sequences(url, key) == 0:
        return "nothing was at work before the connection was dropped"
    stream.close()
    return still_at_work(url, key)


def stops_when_cancelled(url, key, model):
    """An answer in one piece that is cancelled while it is waited for is not worked on any more."""
    async def ask_and_leave():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            asked = asyncio.create_task(client.chat.completions.create(**endless(model)))
            while not asked.done() and await asyncio.to_thread(active_sequences, url, key) == 0:
                await asyncio.sleep(0.02)
            is_done = asked.done()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return "it was over before it was cancelled" if is_done else None
    return asyncio.run(ask_and_leave()) or still_at_work(url, key)


def times_out(client, url, key, model):
    """The client's own timeout ends the work; the time that a request may ask for is a 504."""
    try:
        client.with_options(timeout=0.3).chat.completions.create(**endless(model))
        return "the client waited longer than it was told to"
    except openai.APITimeoutError:
        if fault := still_at_work(url, key):
            return fault
    ask = endless(model)
    ask["extra_body"] |= {"timeout": 0.3}
    try:
        client.chat.completions.create(**ask)
        return "the server worked longer than it was told to"
    except openai.InternalServerError as error:
        return None if error.status_code == 504 else f"{error.status_code}: {error}"


def retried(url, key):
    """The client's own retries after 429 and 503 end with an answer; without them the errors say when to come back."""
    ask = {"model": "other", "messages": MESSAGES, "max_tokens": 1}
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=8)
    client.models.list()
    # It is told to come back for its rate, and then for its model, which is being loaded.
    n_retries = client.chat.completions.with_raw_response.create(**ask).retries_taken
    if n_retries < 2:
        return f"{n_retries} retries"
    try:
        for _ in range(2):
            client.with_options(max_retries=0).models.list()
    except openai.RateLimitError as error:
        return None if float(error.response.headers["retry-after"]) > 0 else f"headers {error.response.headers}"
    return "two requests at once were let in"


def several(client, model):
    """Several answers come under their own index, and the seed decides each."""
    ask = lambda: client.chat.completions.create(  # noqa: E731
        model=model, messages=MESSAGES, max_tokens=8, temperature=1, seed=7, n=3)
    first, second = ask(), ask()
    if [choice.index for choice in first.choices] != [0, 1, 2]:
        return f"indices {[choice.index for choice in first.choices]}"
    texts = [[choice.message.content for choice in answer.choices] for answer in (first, second)]
    return None if texts[0] == texts[1] else f"the same seed gave {texts[0]} and {texts[1]}"


def completion(client, model):
    """A text goes on from its prompt, streamed as in one piece; its log probabilities are its own."""
    ask = {"model": model, "prompt": "One, two, three,", "max_tokens": 8, "temperature": 0}
    answer = client.completions.create(**ask, logprobs=2)
    choice = answer.choices[0]
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**ask, stream=True))
    if not choice.text or streamed != choice.text:
        return f"{choice.text!r} in one piece, {streamed!r} streamed"
    return None if "".join(choice.logprobs.tokens) == choice.text else f"tokens {choice.logprobs.tokens}"


def response(client, model):
    """A response in one piece is what its stream tells of, and what is kept."""
    ask = {"model": model, "input": MESSAGES[0]["content"], "max_output_tokens": N_TOKENS, "temperature": 0}
    whole = client.responses.create(**ask)
    if whole.status not in ("completed", "incomplete") or not whole.output_text:
        return f"status {whole.status!r}, text {whole.output_text!r}"
    usage = whole.usage
    if usage.total_tokens != usage.input_tokens + usage.output_tokens or not usage.input_tokens:
        return f"usage does not add up: {usage}"
    events = list(client.responses.create(**ask, stream=True))
    numbers, last = [event.sequence_number for event in events], events[-1]
    if numbers != list(range(len(events))):
        return f"numbers {numbers}"
    if last.type != f"response.{whole.status}" or last.response.output_text != whole.output_text:
        return f"{last.type}: {last.response.output_text!r}, in one piece {whole.output_text!r}"
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    kept = client.responses.retrieve(last.response.id)
    return None if deltas == kept.output_text == whole.output_text else f"{deltas!r} told, {kept.output_text!r} kept"


def response_helper(client, model):
    """The client's own helper puts a stream together to the response that it was."""
    with client.responses.stream(model=model, input="Say: yes.", temperature=0) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    if not snapshots or snapshots[-1] != final.output_text:
        return f"{snapshots[-1:]} told, {final.output_text!r} in the end"
    return None if final.status == "completed" else f"status {final.status!r}"


def parsed_response(client, model):
    """An answer that must look like a class is one."""
    try:
        import pydantic
    except ImportError:
        return "the client came without pydantic"

    class Light(pydantic.BaseModel):
        is_red: bool

    answer = client.responses.parse(model=model, input="Is the light red?", text_format=Light, temperature=0)
    return None if isinstance(answer.output_parsed, Light) else f"{answer.output_text!r}"


def conversation(client, model):
    """A conversation goes on from a response that is kept, as if all of it had been sent; deleting it ends that."""
    first = client.responses.create(model=model, input="My name is Ada.", max_output_tokens=8, temperature=0)
    more = {"model": model, "max_output_tokens": 8, "temperature": 0}
    second = client.responses.create(**more, input="What is my name?", previous_response_id=first.id)
    sent = [{"role": "user", "content": "My name is Ada."},
            *(item.model_dump(exclude_none=True) for item in first.output),
            {"role": "user", "content": "What is my name?"}]
    again = client.responses.create(**more, input=sent)
    if (again.output_text, again.usage.input_tokens) != (second.output_text, second.usage.input_tokens):
        return f"{second.output_text!r} continued, {again.output_text!r} sent"
    roles = [item.role for item in client.responses.input_items.list(second.id, order="asc")]
    if roles != ["user", "assistant", "user"]:
        return f"input items {roles}"
    client.responses.delete(first.id)
    for gone in (lambda: client.responses.retrieve(first.id), lambda: client.responses.delete(first.id)):
        try:
            gone()
            return "a deleted response is still there"
        except openai.NotFoundError:
            pass
    return None


def background(client, model):
    """A response in the background is polled to its end, or cancelled; one that was streamed is heard again."""
    ask = {"model": model, "input": MESSAGES[0]["content"], "temperature": 0, "background": True}
    queued = client.responses.create(**ask, max_output_tokens=N_TOKENS)
    deadline = time.monotonic() + 60
    while queued.status in ("queued", "in_progress") and time.monotonic() < deadline:
        time.sleep(0.05)
        queued = client.responses.retrieve(queued.id)
    if queued.status not in ("completed", "incomplete") or not queued.output_text:
        return f"status {queued.status!r}, text {queued.output_text!r}"
    long = client.responses.create(**ask, max_output_tokens=N_TOKENS_LONG, extra_body={"ignore_eos": True})
    cancelled = client.responses.cancel(long.id)
    if cancelled.status != "cancelled":
        return f"status {cancelled.status!r} after it was cancelled"
    stream = client.responses.create(**ask, max_output_tokens=N_TOKENS, stream=True)
    events = [event for event, _ in zip(stream, range(5))]
    stream.close()
    rest = client.responses.retrieve(events[0].response.id, stream=True, starting_after=events[-1].sequence_number)
    events.extend(rest)
    if [event.sequence_number for event in events] != list(range(len(events))):
        return f"numbers {[event.sequence_number for event in events]}"
    return None if events[-1].response.output_text == queued.output_text else "not the text of the polled response"


TOOLS = [{"type": "function", "function": {
    "name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA}}]
NAMED = {"type": "function", "function": {"name": TOOL_NAME}}


def gathered(stream):
    """The calls of a stream: by index, name, identifier and arguments put together; and the finish reasons."""
    calls, reasons = [], []
    for chunk in stream:
        for choice in chunk.choices:
            reasons.extend([choice.finish_reason] if choice.finish_reason else [])
            for delta in choice.delta.tool_calls or []:
                if delta.index == len(calls):
                    calls.append([delta.function.name, delta.id, ""])
                calls[delta.index][2] += delta.function.arguments
    return calls, reasons


def tools(client, model):
    """A tool that must be called is called by its schema, whole and streamed, and its answer goes back."""
    messages = [{"role": "user", "content": TOOL_QUESTION}]
    ask = {"model": model, "messages": messages, "tools": TOOLS, "max_tokens": 300, "temperature": 0}
    for choice in ("required", NAMED):
        answer = client.chat.completions.create(**ask, tool_choice=choice, parallel_tool_calls=False).choices[0]
        if answer.finish_reason != "tool_calls" or answer.message.content is not None:
            return f"{answer.finish_reason!r}, content {answer.message.content!r}"
        call = answer.message.tool_calls[0]
        if fault := tool_fault(call.function.name, json.loads(call.function.arguments)):
            return fault
        stream = client.chat.completions.create(**ask, tool_choice=choice, parallel_tool_calls=False, stream=True)
        calls, reasons = gathered(stream)
        if [(name, arguments) for name, _, arguments in calls] != [(call.function.name, call.function.arguments)]:
            return f"{call} in one piece, {calls} streamed"
        if reasons != ["tool_calls"] or not calls[0][1].startswith("call_"):
            return f"finish reasons {reasons}, identifier {calls[0][1]!r}"
    messages = [*messages, answer.message, {"role": "tool", "tool_call_id": call.id, "content": TOOL_ANSWER}]
    back = client.chat.completions.create(**(ask | {"messages": messages}), tool_choice="none").choices[0]
    return None if back.message.content and not back.message.tool_calls else f"after the tool's answer {back}"


def tools_if_wanted(client, model):
    """Where the model may choose, an answer is text or calls that are well-formed."""
    for seed in range(4):
        ask = {"model": model, "messages": [{"role": "user", "content": TOOL_QUESTION}], "tools": TOOLS}
        answer = client.chat.completions.create(**ask, max_tokens=200, temperature=0.7, seed=seed).choices[0]
        for call in answer.message.tool_calls or []:
            if answer.finish_reason == "tool_calls":
                if fault := tool_fault(call.function.name, json.loads(call.function.arguments)):
                    return fault
    return None


def structured(client, model):
    """An answer keeps to a schema, and to a class."""
    import pydantic

    class Light(pydantic.BaseModel):
        colour: str
        seconds: int

    ask = {"model": model, "messages": [{"role": "user", "content": LIGHT_QUESTION}], "max_tokens": 80, "temperature": 0}
    form = {"type": "json_schema", "json_schema": {"name": "light", "schema": LIGHT_SCHEMA, "strict": True}}
    plain = client.chat.completions.create(**ask, response_format=form)
    if fault := light_fault(json.loads(plain.choices[0].message.content)):
        return fault
    parsed = client.chat.completions.parse(**ask | {"max_tokens": 300}, response_format=Light).choices[0].message.parsed
    return None if isinstance(parsed, Light) else f"parsed as {parsed!r}"


def embeddings(client, model):
    """Texts have the same vectors as the client asks by itself, as numbers and in base64; shortened ones are short."""
    ask = {"model": model, "input": ["A lighthouse.", "A ship at sea."]}
    given, floats, packed = ([item.embedding for item in client.embeddings.create(**ask, **more).data]
                             for more in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}))
    packed = [struct.unpack(f"<{len(given[0])}f", base64.b64decode(text)) for text in packed]
    off = max(farthest(given, packed), farthest(given, floats))
    if off > 1e-7:
        return f"floats and base64 differ by {off}"
    short = client.embeddings.create(**ask, dimensions=64).data
    return None if [len(item.embedding) for item in short] == [64, 64] else "dimensions are not kept to"


def compare(report, url, key):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=120)
    model, encoder = models(url, key)
    checks = {
        "answer in one piece": lambda: whole(client, model),
        "streamed answer": lambda: streamed(client, model),
        "several answers": lambda: several(client, model),
        "tools": lambda: tools(client, model),
        "tools if the model wants": lambda: tools_if_wanted(client, model),
        "text completion": lambda: completion(client, model),
        "response, whole and streamed": lambda: response(client, model),
        "response by the client's helper": lambda: response_helper(client, model),
        "response of a class": lambda: parsed_response(client, model),
        "conversation that is kept": lambda: conversation(client, model),
        "response in the background": lambda: background(client, model),
        "JSON schema": lambda: structured(client, model),
        "a wrong key is refused": lambda: refused_without_key(url, model),
        "timeouts": lambda: times_out(client, url, key, model),
        "leaving stops the work": lambda: stops_when_left(client, url, key, model),
        "cancelling stops the work": lambda: stops_when_cancelled(url, key, model),
    }
    if encoder:
        checks["embeddings"] = lambda: embeddings(client, encoder)
    run(report, checks, openai.OpenAIError)


def compare_when_busy(report, url, key):
    run(report, {"retries": lambda: retried(url, key)}, openai.OpenAIError)


if __name__ == "__main__":
    main("openai", openai, compare, (serving_busy, compare_when_busy))
