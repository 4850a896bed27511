"""langchain's clients against `ballast serve`, on OpenAI's, Anthropic's and Ollama's wire.

usage: langchain_client.py --model FILE [--encoder FOLDER]   starts the server itself
       langchain_client.py --url URL --key KEY               uses one that runs
"""

import os

from clients import (
    LIGHT_QUESTION, LIGHT_SCHEMA, TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION, TOOL_SCHEMA, farthest,
    light_fault, main, models, run, tool_fault)

# Nothing is to be told to anybody.
os.environ |= {"LANGCHAIN_TRACING_V2": "false", "LANGSMITH_TRACING": "false"}

try:
    import langchain_anthropic
    import langchain_ollama
    import langchain_openai
    from langchain_core.messages import HumanMessage, ToolMessage
except ImportError:
    langchain_openai = None

QUESTION = "Say in one sentence what a lighthouse is for."
N_TOKENS = 24
LIGHT = {"title": "light", "description": "A light at sea."} | LIGHT_SCHEMA
TOOL = {"title": TOOL_NAME, "description": TOOL_DESCRIPTION} | TOOL_SCHEMA


def chats(url, key, model):
    """A function for each wire that makes a client whose answers have that many tokens at most."""
    openai = {"base_url": f"{url}/v1", "api_key": key, "model": model, "temperature": 0, "max_retries": 0}
    bearer = {"headers": {"authorization": f"Bearer {key}"}}
    return {
        "chat": lambda n: langchain_openai.ChatOpenAI(**openai, max_tokens=n, stream_usage=True),
        "responses": lambda n: langchain_openai.ChatOpenAI(**openai, max_tokens=n, use_responses_api=True),
        "anthropic": lambda n: langchain_anthropic.ChatAnthropic(
            base_url=url, api_key=key, model=model, temperature=0, max_retries=0, max_tokens=n),
        "ollama": lambda n: langchain_ollama.ChatOllama(
            base_url=url, model=model, temperature=0, num_predict=n, client_kwargs=bearer),
    }


def text(chat):
    """An answer has the same text and usage in one piece and streamed."""
    whole = chat(N_TOKENS).invoke(QUESTION)
    pieces = list(chat(N_TOKENS).stream(QUESTION))
    if not whole.text or len(pieces) < 2:
        return f"{whole.text!r} in one piece, {len(pieces)} pieces"
    added = pieces[0]
    for piece in pieces[1:]:
        added += piece
    if added.text != whole.text:
        return f"{whole.text!r} in one piece, {added.text!r} streamed"
    usage = whole.usage_metadata
    if usage["total_tokens"] != usage["input_tokens"] + usage["output_tokens"]:
        return f"usage does not add up: {usage}"
    same = all(added.usage_metadata[count] == usage[count] for count in ("input_tokens", "output_tokens"))
    return None if same else f"{usage} in one piece, {added.usage_metadata} streamed"


def structured(chat, methods):
    """An answer that must keep to a schema does, by each of the client's methods."""
    for method in methods:
        fault = light_fault(chat(120).with_structured_output(LIGHT, method=method).invoke(LIGHT_QUESTION))
        if fault:
            return f"{method}: {fault}"
    return None


def tools(chat, choice):
    """A tool is called, whole and streamed, and its answer goes back; where a call can be demanded it is."""
    bound = chat(200).bind_tools([TOOL], **({"tool_choice": choice} if choice else {}))
    whole = bound.invoke(TOOL_QUESTION)
    streamed = None
    for piece in bound.stream(TOOL_QUESTION):
        streamed = piece if streamed is None else streamed + piece
    calls = [[(call["name"], call["args"]) for call in message.tool_calls] for message in (whole, streamed)]
    if calls[0] != calls[1] or (choice and not calls[0]):
        return f"{calls[0]} in one piece, {calls[1]} streamed"
    if not choice:
        return None
    if fault := tool_fault(*calls[0][0]):
        return fault
    answers = [ToolMessage(TOOL_ANSWER, tool_call_id=call["id"]) for call in whole.tool_calls]
    back = chat(N_TOKENS).invoke([HumanMessage(TOOL_QUESTION), whole, *answers])
    return None if back.text else f"after the tool's answer {back}"


def embeddings(url, key, model):
    """Texts are embedded the same on both wires. Unless it is told to leave that, the client cuts texts to tokens of
    OpenAI's models first, whose vocabulary it fetches."""
    openai = langchain_openai.OpenAIEmbeddings(
        base_url=f"{url}/v1", api_key=key, model=model, max_retries=0, check_embedding_ctx_length=False)
    ollama = langchain_ollama.OllamaEmbeddings(
        base_url=url, model=model, client_kwargs={"headers": {"authorization": f"Bearer {key}"}})
    texts = ["A lighthouse.", "A ship at sea."]
    vectors, others = openai.embed_documents(texts), ollama.embed_documents(texts)
    if len(vectors) != 2 or openai.embed_query(texts[0]) != vectors[0]:
        return "a query is not embedded as a document is"
    off = farthest(vectors, others)
    return None if off < 1e-5 else f"the wires differ by {off}"


def compare(report, url, key):
    model, encoder = models(url, key)
    wires = chats(url, key, model)
    methods = {"chat": ["json_schema", "function_calling"], "responses": ["json_schema", "function_calling"],
               "anthropic": ["function_calling", "json_schema"], "ollama": ["json_schema"]}
    checks = {}
    for wire, chat in wires.items():
        checks |= {
            f"{wire}: text": lambda chat=chat: text(chat),
            f"{wire}: structured output": lambda chat=chat, wire=wire: structured(chat, methods[wire]),
            f"{wire}: tools": lambda chat=chat, wire=wire: tools(chat, None if wire == "ollama" else "any"),
        }
    if encoder:
        checks["embeddings"] = lambda: embeddings(url, key, encoder)
    run(report, checks, Exception)


if __name__ == "__main__":
    main("langchain-openai", langchain_openai, compare)
