"""A typed client for what a Ballast server offers beside the OpenAI interface."""

from .client import AsyncBallast, Ballast
from .errors import BallastError, BallastUnreachable
from .types import Completion, Health, Model, Piece, Props, Token, Usage

__all__ = [
    "AsyncBallast",
    "Ballast",
    "BallastError",
    "BallastUnreachable",
    "Completion",
    "Health",
    "Model",
    "Piece",
    "Props",
    "Token",
    "Usage",
]
