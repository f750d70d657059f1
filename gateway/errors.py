"""Every error of the product, grouped by what the caller should do.

    GatewayError
      ConfigError            file, line, key, message; `ConfigErrors` holds all problems of one run
      Refused                a hit we do not take; `reason` is a closed word and the metric label
        Malformed 400 · TooLarge 413 · UnsupportedEncoding 415 · Unauthorised 401/403 · RateLimited 429
      QueueFull              503 (429 on Segment routes) with Retry-After: nothing was stored, send it again
      StoreError
        StoreLocked          another process owns the store
        StoreTooNew          written by a newer program
        StoreUnfit           a folder that cannot keep the promise: network file system, not writable

What goes wrong on the way to a vendor is not an exception but a `Reply` (gateway/destination.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class GatewayError(Exception):
    """Anything Tagway raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration: `configs/gateway.yaml:14: regions.NO was read as …`."""

    message: str
    file: str | None = None
    line: int | None = None
    warning: bool = False

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return f"{place}: {self.message}" if place else self.message


class ConfigErrors(GatewayError):
    """All problems of one run, so that they can be mended in one go. `str()` is one line per problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class RefusedReason(StrEnum):
    """Why a hit was refused at the door (design §7): the label of `tagway_refused_total`."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    CROSS_SOURCE = "cross_source"
    ORIGIN = "origin"
    RATE = "rate"
    FULL = "full"


class Refused(GatewayError):
    """A hit (or one event of it) that is not taken. `detail` is ours alone and never quotes the input."""

    status = 400
    reason = RefusedReason.MALFORMED

    def __init__(self, detail: str, *, reason: RefusedReason | None = None, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason or type(self).reason
        self.status = status or type(self).status


class Malformed(Refused):
    """Not readable as what the route takes."""


class TooLarge(Refused):
    """Over a limit of design §3."""

    status = 413
    reason = RefusedReason.TOO_LARGE


class UnsupportedEncoding(Refused):
    """A Content-Encoding that we do not know, or more than one."""

    status = 415
    reason = RefusedReason.ENCODING


class RateLimited(Refused):
    """Over the rate of its key or client; `retry_after` is in whole seconds."""

    status = 429
    reason = RefusedReason.RATE

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class QueueFull(GatewayError):
    """The store takes no more for now; nothing of the hit was stored."""

    def __init__(self, detail: str, retry_after: int = 30) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class StoreError(GatewayError):
    """The store cannot be used; the message says what to do."""


class StoreLocked(StoreError):
    """Another process owns the store."""


class StoreTooNew(StoreError):
    """Written by a newer program; the message names the version that reads it."""


class StoreUnfit(StoreError):
    """The folder cannot keep the promise that accepted means on disk."""
