"""What goes wrong between a client and a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class BallastUnreachable(Exception):
    """The server did not answer: no connection, or silence for too long."""


class BallastError(Exception):
    """The server answered that it will not or cannot.

    status is HTTP's; 200 where an answer had begun before it failed. code is the stable name of the error, param the
    parameter that is to blame, reason the runtime's reason code, where there is one.
    """

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        error = body.get("error")
        fields: Mapping[str, Any] = error if isinstance(error, dict) else {"message": error}
        self.status = status
        self.message = str(fields.get("message") or f"HTTP status {status}")
        self.code: str | None = fields.get("code")
        self.param: str | None = fields.get("param")
        self.reason: str | None = headers.get("x-ballast-reason")
        self.request_id: str | None = headers.get("x-request-id")
        super().__init__(self.message)

    @classmethod
    def of_bytes(cls, status: int, content: bytes, headers: Mapping[str, str]) -> BallastError:
        """An error from a body that may be anything."""
        try:
            body = json.loads(content)
        except ValueError:
            body = {}
        return cls(status, body if isinstance(body, dict) else {}, headers)
