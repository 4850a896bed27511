"""The clients: one that waits, one for asyncio."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack

import httpx

from . import calls
from .calls import Call, Events
from .errors import BallastError, BallastUnreachable
from .types import Completion, Health, Model, Piece, Props, Token

T = TypeVar("T")


class Sampling(TypedDict, total=False):
    """How to answer. deadline is in seconds."""

    model: str
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    frequency_penalty: float
    presence_penalty: float
    seed: int
    stop: Sequence[str]
    return_tokens: bool
    json_schema: Mapping[str, Any]
    grammar: str
    deadline: float


def _headers(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _answer(call: Call[T], response: httpx.Response) -> T:
    if response.is_success or call.may_fail:
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return call.read(response.json() if is_json else response.text)
    raise BallastError.of_bytes(response.status_code, response.content, response.headers)


def _wait(call: Call[Any], attempts_left: int, attempt: int, response: httpx.Response | None) -> float | None:
    """Seconds until the request is repeated; None: this was the last time."""
    if attempts_left <= 0:
        return None
    if response is None:
        return calls.wait(attempt, None, {})
    if response.is_success or call.may_fail:
        return None
    return calls.wait(attempt, response.status_code, response.headers)


def _unreachable(error: httpx.HTTPError) -> BallastUnreachable:
    return BallastUnreachable(f"{type(error).__name__}: {error}")


def _ended(call: Call[Any], response: httpx.Response | None, failure: httpx.HTTPError | None) -> httpx.Response:
    """The last answer; a stream that did not begin is an error here, any other where it is read."""
    if response is None:
        raise _unreachable(failure or httpx.TransportError("no answer"))
    if call.is_stream and not response.is_success:
        raise BallastError.of_bytes(response.status_code, response.content, response.headers)
    return response


class Ballast:
    """A client of one server.

    key opens it, timeout is the longest silence in seconds, retries how often a request that may succeed later is
    repeated. Methods raise BallastError and BallastUnreachable.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 60.0, retries: int = 2) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout)
        self._retries = retries

    def __enter__(self) -> Ballast:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends connections."""
        self._http.close()

    def health(self) -> Health:
        """How the engines are, whether well or not."""
        return self._call(calls.health())

    def ready(self) -> bool:
        """Whether it makes sense to send requests."""
        return self._call(calls.ready())

    def models(self) -> list[Model]:
        """The models that are served."""
        return self._call(calls.models())

    def props(self, model: str | None = None) -> Props:
        """What the server is."""
        return self._call(calls.props(model))

    def metrics(self) -> str:
        """Figures in the text format of Prometheus."""
        return self._call(calls.metrics())

    def tokenize(self, text: str, *, model: str | None = None, special: bool = False) -> list[Token]:
        """Text to tokens; special adds those that begin and end a text."""
        return self._call(calls.tokenize(text, model, special))

    def detokenize(self, tokens: Sequence[int], *, model: str | None = None) -> str:
        """Tokens to text."""
        return self._call(calls.detokenize(tokens, model))

    def apply_template(self, messages: Sequence[Mapping[str, Any]], *, model: str | None = None) -> str:
        """A conversation as the prompt that the model sees."""
        return self._call(calls.apply_template(messages, model))

    def complete(self, prompt: str | Sequence[int], **params: Unpack[Sampling]) -> Completion:
        """Goes on from a prompt of text or tokens."""
        return self._call(calls.complete(prompt, params))

    def stream(self, prompt: str | Sequence[int], **params: Unpack[Sampling]) -> Iterator[Piece]:
        """The same, piece by piece. Leaving the iterator ends the work on the server."""
        call = calls.stream(prompt, params)
        response = self._begin(call)
        try:
            events = Events(response.headers)
            for line in response.iter_lines():
                body = events.line(line)
                if body is not None:
                    yield call.read(body)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        finally:
            response.close()

    def _call(self, call: Call[T]) -> T:
        return _answer(call, self._begin(call))

    def _begin(self, call: Call[Any]) -> httpx.Response:
        """The answer: read, unless it is a stream."""
        for attempt in itertools.count():
            failure, response = None, None
            try:
                request = self._http.build_request(call.method, call.path, json=call.body, params=call.query)
                response = self._http.send(request, stream=True)
                if not (call.is_stream and response.is_success):
                    response.read()
            except httpx.HTTPError as error:
                failure, response = error, None
            wait = _wait(call, self._retries - attempt, attempt, response)
            if wait is None:
                return _ended(call, response, failure)
            time.sleep(wait)
        raise AssertionError("the loop above has no end")


class AsyncBallast:
    """As Ballast, for asyncio."""

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 60.0, retries: int = 2) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)
        self._retries = retries

    async def __aenter__(self) -> AsyncBallast:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends connections."""
        await self._http.aclose()

    async def health(self) -> Health:
        """How the engines are, whether well or not."""
        return await self._call(calls.health())

    async def ready(self) -> bool:
        """Whether it makes sense to send requests."""
        return await self._call(calls.ready())

    async def models(self) -> list[Model]:
        """The models that are served."""
        return await self._call(calls.models())

    async def props(self, model: str | None = None) -> Props:
        """What the server is."""
        return await self._call(calls.props(model))

    async def metrics(self) -> str:
        """Figures in the text format of Prometheus."""
        return await self._call(calls.metrics())

    async def tokenize(self, text: str, *, model: str | None = None, special: bool = False) -> list[Token]:
        """Text to tokens; special adds those that begin and end a text."""
        return await self._call(calls.tokenize(text, model, special))

    async def detokenize(self, tokens: Sequence[int], *, model: str | None = None) -> str:
        """Tokens to text."""
        return await self._call(calls.detokenize(tokens, model))

    async def apply_template(self, messages: Sequence[Mapping[str, Any]], *, model: str | None = None) -> str:
        """A conversation as the prompt that the model sees."""
        return await self._call(calls.apply_template(messages, model))

    async def complete(self, prompt: str | Sequence[int], **params: Unpack[Sampling]) -> Completion:
        """Goes on from a prompt of text or tokens."""
        return await self._call(calls.complete(prompt, params))

    async def stream(self, prompt: str | Sequence[int], **params: Unpack[Sampling]) -> AsyncIterator[Piece]:
        """The same, piece by piece. Leaving the iterator ends the work on the server."""
        call = calls.stream(prompt, params)
        response = await self._begin(call)
        try:
            events = Events(response.headers)
            async for line in response.aiter_lines():
                body = events.line(line)
                if body is not None:
                    yield call.read(body)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        finally:
            await response.aclose()

    async def _call(self, call: Call[T]) -> T:
        return _answer(call, await self._begin(call))

    async def _begin(self, call: Call[Any]) -> httpx.Response:
        for attempt in itertools.count():
            failure, response = None, None
            try:
                request = self._http.build_request(call.method, call.path, json=call.body, params=call.query)
                response = await self._http.send(request, stream=True)
                if not (call.is_stream and response.is_success):
                    await response.aread()
            except httpx.HTTPError as error:
                failure, response = error, None
            wait = _wait(call, self._retries - attempt, attempt, response)
            if wait is None:
                return _ended(call, response, failure)
            await asyncio.sleep(wait)
        raise AssertionError("the loop above has no end")
