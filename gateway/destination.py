"""The small API between the gateway and one vendor: Request, Reply, Verdict, and the Destination a vendor may adapt.

A vendor is a manifest `destinations/<vendor>.yaml`; where its API cannot be said in YAML, `destinations/<vendor>.py` holds
a `Destination` subclass overriding the pure `request` or `verdicts`. It never opens a socket, sleeps, retries or logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from gateway.event import Event
from gateway.outcomes import Ending

if TYPE_CHECKING:
    from gateway.manifest import Manifest


class Verdict(StrEnum):
    """One vocabulary everywhere: manifests' `then:`, code, docs (design §5)."""

    __hash__ = str.__hash__  # the one of Enum is a Python function, and these are keys on every way

    DELIVERED = "delivered"
    RETRY = "retry"
    REJECTED = "rejected"
    SPLIT = "split"
    PAUSE = "pause"


@dataclass(slots=True)
class Judgement:
    """A verdict on one part with its closed reason (outcomes.FAILURE_REASONS; empty when delivered) and the vendor's words."""

    verdict: Verdict
    reason: str = ""
    detail: str = ""
    retry_after: float | None = None


@dataclass(slots=True)
class Request:
    """What goes on the wire. `headers` are complete but for Host and Content-Length; `url` has its final query."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Reply:
    """What came back: a status and body, or `error` (timeout connect tls dns) with status 0. `body` is at most 64 KiB."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    ms: float = 0.0

    def json(self) -> Any:
        """The parsed body, or None where it is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


@dataclass(slots=True)
class Envelope:
    """Everything of a request but the list of events, rendered for one event.

    Events share a request only where `key`, the bytes of all of it, is equal: so consent, address, time and client can
    stand here without ever being another event's.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str
    wrap: Any
    key: bytes


@dataclass(slots=True)
class Part:
    """One vendor event made of one canonical event. `id` is the vendor's id: the event's, or `id-2` for its second part."""

    event: Event
    index: int
    id: str
    name: str
    payload: Any
    body: bytes
    envelope: Envelope


@dataclass(slots=True)
class Batch:
    """Parts that travel together; never empty, all of one envelope."""

    envelope: Envelope
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return len(self.parts)


class Plan(Protocol):
    """A manifest merged with the customer's file and compiled (gateway/mapping/compile.py)."""

    @property
    def manifest(self) -> Manifest:
        """The vendor's manifest as shipped."""

    def loops(self, event: Event) -> bool:
        """Whether the vendor already has this event from the page itself (`skipped{loop}`)."""

    def filtered(self, event: Event, now: float) -> str | None:
        """Why the customer's `when`, a tombstone or the hit's own list of destinations leaves it out; None when not."""

    def parts(self, event: Event, now: float) -> list[Part] | Ending:
        """Map an event: its parts, or why there are none (`skipped{unmapped|incomplete}`, `rejected{mapping|too_large}`)."""

    def assemble(self, batch: Batch, now: float) -> Request:
        """Put the parts under their envelope, authenticate and sign."""

    def read(self, reply: Reply, batch: Batch) -> list[Judgement]:
        """One judgement per part, by the manifest's `response` and then the built-in status table."""

    def validation(self, batch: Batch, now: float) -> Request | None:
        """A request that asks the vendor's validation endpoint about a batch, when this one is of the sample."""

    def complaints(self, reply: Reply) -> list[str]:
        """What the validation endpoint found wrong."""


class Destination:
    """The default vendor: everything as the manifest says.

    >>> class Acme(Destination):
    ...     def verdicts(self, reply, batch): ...
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def request(self, batch: Batch, now: float) -> Request:
        """The request that carries a batch. Pure."""
        return self.plan.assemble(batch, now)

    def verdicts(self, reply: Reply, batch: Batch) -> Sequence[Judgement]:
        """One judgement per part of the batch. Pure."""
        return self.plan.read(reply, batch)
