"""Requests and their answers as values: what both clients share, without a socket."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from . import types
from .errors import BallastError

T = TypeVar("T")

RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})
WAIT_MAX = 120.0
BACKOFF_MAX = 8.0
LINE_CHARS_MAX = 1 << 20


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None
    may_fail: bool = False
    """The answer is one even where the status says that it is not."""

    @property
    def is_stream(self) -> bool:
        return bool(self.body and self.body.get("stream"))


def health() -> Call[types.Health]:
    def read(body: Any) -> types.Health:
        return types.Health(body["status"], body["model"], body["active_sequences"], body["waiting_requests"])

    return Call("GET", "/health", read, may_fail=True)


def ready() -> Call[bool]:
    return Call("GET", "/readyz", lambda body: body["status"] == "ok", may_fail=True)


def models() -> Call[list[types.Model]]:
    def read(body: Any) -> list[types.Model]:
        return [types.Model(one["id"], one["created"], one["context_length"]) for one in body["data"]]

    return Call("GET", "/v1/models", read)


def props(model: str | None) -> Call[types.Props]:
    def read(body: Any) -> types.Props:
        context = body["default_generation_settings"]["n_ctx"]
        return types.Props(
            body["model_alias"], context, body["total_slots"], body["chat_template"], body["build_info"]
        )

    return Call("GET", "/props", read, query=None if model is None else {"model": model})


def tokenize(text: str, model: str | None, special: bool) -> Call[list[types.Token]]:
    def read(body: Any) -> list[types.Token]:
        pieces = [(one["id"], one["piece"]) for one in body["tokens"]]
        return [types.Token(id, piece if isinstance(piece, str) else bytes(piece)) for id, piece in pieces]

    body = _given({"content": text, "with_pieces": True, "add_special": special, "model": model})
    return Call("POST", "/tokenize", read, body)


def detokenize(tokens: Sequence[int], model: str | None) -> Call[str]:
    return Call("POST", "/detokenize", lambda body: body["content"], _given({"tokens": list(tokens), "model": model}))


def apply_template(messages: Sequence[Mapping[str, Any]], model: str | None) -> Call[str]:
    body = _given({"messages": list(messages), "model": model})
    return Call("POST", "/apply-template", lambda body: body["prompt"], body)


def metrics() -> Call[str]:
    return Call("GET", "/metrics", str)


def complete(prompt: str | Sequence[int], params: Mapping[str, Any]) -> Call[types.Completion]:
    return Call("POST", "/completion", types.completion, _completion(prompt, params))


def stream(prompt: str | Sequence[int], params: Mapping[str, Any]) -> Call[types.Piece]:
    return Call("POST", "/completion", types.piece, {**_completion(prompt, params), "stream": True})


def _completion(prompt: str | Sequence[int], params: Mapping[str, Any]) -> dict[str, Any]:
    names = {"max_tokens": "n_predict", "deadline": "timeout"}
    named = {names.get(name, name): value for name, value in params.items()}
    return _given({"prompt": prompt if isinstance(prompt, str) else list(prompt), **named})


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def wait(attempt: int, status: int | None, headers: Mapping[str, str]) -> float | None:
    """Seconds until the next attempt; None: there is to be none. Without a status there was no answer."""
    if headers.get("x-should-retry") == "false" or not (status is None or status in RETRIED):
        return None
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if seconds >= 0.0:
            return seconds if seconds <= WAIT_MAX else None
    return min(BACKOFF_MAX, 0.5 * 2.0**attempt) * random.uniform(0.75, 1.0)


class Events:
    """Server-sent events from lines: each event's data, as JSON. An event that is an error is raised."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._data: list[str] = []
        self._headers = headers

    def line(self, line: str) -> Any | None:
        if len(line) > LINE_CHARS_MAX:
            raise ValueError(f"expected lines of at most {LINE_CHARS_MAX} characters")
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
            return None
        data, self._data = "\n".join(self._data), []
        if not data or data == "[DONE]":
            return None
        body = json.loads(data)
        if "error" in body:
            raise BallastError(200, body, self._headers)
        return body
