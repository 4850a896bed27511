"""What a server tells, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Stop = Literal["eos", "limit", "word"]
"""Why an answer ended: the model ended it, its length did, a stop string did."""


@dataclass(frozen=True)
class Health:
    """How the engines are."""

    status: str
    model: str
    active_sequences: int
    waiting_requests: int


@dataclass(frozen=True)
class Model:
    """A model that is served."""

    id: str
    created: int
    context_length: int


@dataclass(frozen=True)
class Props:
    """What a server is."""

    model: str
    context_length: int
    slots: int
    chat_template: str | None
    build: str


@dataclass(frozen=True)
class Token:
    """A token and its text; bytes where the text is half a character."""

    id: int
    piece: str | bytes


@dataclass(frozen=True)
class Usage:
    """Tokens of a prompt, of those the ones found cached, and of its answer."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Piece:
    """What is new of an answer. The last one says how it ended."""

    text: str
    tokens: tuple[int, ...]
    stop: Stop | None
    usage: Usage | None


@dataclass(frozen=True)
class Completion:
    """A whole answer. Times are in milliseconds."""

    text: str
    tokens: tuple[int, ...]
    model: str
    stop: Stop
    stopping_word: str
    usage: Usage
    prompt_ms: float
    predicted_ms: float


def usage(body: Mapping[str, Any]) -> Usage:
    return Usage(body["tokens_evaluated"], body["tokens_cached"], body["tokens_predicted"])


def piece(body: Mapping[str, Any]) -> Piece:
    ended = bool(body["stop"])
    return Piece(
        text=body["content"],
        tokens=tuple(body.get("tokens", ())),
        stop=body["stop_type"] if ended else None,
        usage=usage(body) if ended else None,
    )


def completion(body: Mapping[str, Any]) -> Completion:
    return Completion(
        text=body["content"],
        tokens=tuple(body.get("tokens", ())),
        model=body["model"],
        stop=body["stop_type"],
        stopping_word=body["stopping_word"],
        usage=usage(body),
        prompt_ms=body["timings"]["prompt_ms"],
        predicted_ms=body["timings"]["predicted_ms"],
    )
