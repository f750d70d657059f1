"""The whole story of one event, by running the pure stages again: hit → event → changes → consent → request (design §9).

Nothing is sent and nothing is stored. What the stages say now is what they said then, as long as the files are the same; what
the vendors answered then is in the firings of the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from gateway.checkout import without_tokens
from gateway.config.models import Gateway
from gateway.consent.decide import decide
from gateway.deliver.firing import Recorder
from gateway.deliver.gate import DRY_RUN, Gate
from gateway.deliver.limits import bounds_of
from gateway.deliver.settle import Work
from gateway.destination import Batch, Part, Request
from gateway.enrich import describe, enrich
from gateway.errors import GatewayError, Refused
from gateway.event import Event, load
from gateway.normalise import normalise
from gateway.observe.ledger import reason_sentence
from gateway.outcomes import Ending
from gateway.plans import Ready
from gateway.queue.base import Taken
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.routes import DIALECTS

_CANONICAL = ("v", "id", "name", "source", "received", "dialect")
"""Keys that only a stored event has together."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage changed: `{path: value}` added or altered, and the values that could not be used."""

    name: str
    changed: Mapping[str, Any]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What a destination does with the event: `ending` when nothing is sent, else the requests that would carry it.

    A dry run has both; where the mapping then makes nothing of the event, `live` says how it would end without the dry run.
    """

    destination: str
    type: str
    mode: str
    ending: Ending | None
    requests: tuple[Request, ...] = ()
    parts: tuple[Part, ...] = ()
    live: Ending | None = None

    @property
    def words(self) -> str:
        """One sentence for people."""
        if self.ending is None:
            return f"sent as {', '.join(part.name for part in self.parts)}"
        if self.parts:
            return f"{_words(self.ending)} In mode live: sent as {', '.join(part.name for part in self.parts)}."
        if self.live:
            return f"The destination runs dry. In mode live: {self.live}. {_words(self.live)}"
        return _words(self.ending)


def _words(ending: Ending) -> str:
    detail = "" if ending is DRY_RUN else ending.detail
    return f"{reason_sentence(str(ending.outcome), ending.reason)} {detail}".strip()


@dataclass(frozen=True, slots=True)
class Story:
    """One event's story. `refused` says why the hit was not taken at all."""

    event: Event | None
    stages: tuple[Stage, ...] = ()
    decisions: tuple[Decision, ...] = ()
    refused: str = ""


class _NoWithdrawals:
    """Stands in for the store: a story is told without the choices people made since."""

    salt = b""
    withdrawals: Mapping[bytes, Mapping[str, tuple[float, float]]] = MappingProxyType({})


def is_canonical(value: Any) -> bool:
    """Whether a JSON value is a stored event, not a hit."""
    return isinstance(value, dict) and all(key in value for key in _CANONICAL)


def stories_of_hit(config: Gateway, ready: Mapping[str, Ready], hit: Hit, now: float) -> list[Story]:
    """The story of each event of a hit. Raises GatewayError for a route that takes no hits."""
    row = next((row for row in DIALECTS if hit.route in (row.path, *row.also)), None)
    if row is None:
        raise GatewayError(f"{hit.route} takes no hits; these do: {', '.join(row.path for row in DIALECTS)}")
    try:
        raws = row.decode(hit)
    except Refused as error:
        return [refusal(error)]
    return [_story_of_raw(config, ready, raw, hit, now) for raw in raws]


def refusal(error: Refused) -> Story:
    """The story of a hit that the door does not take."""
    return Story(None, refused=f"{error.reason}: {error.detail}")


def _story_of_raw(config: Gateway, ready: Mapping[str, Ready], raw: RawEvent | Refused, hit: Hit, now: float) -> Story:
    if isinstance(raw, Refused):
        return refusal(raw)
    decoded = flat(raw.data)
    normal = normalise(raw, hit, now)
    if isinstance(normal, Refused):
        return Story(None, (Stage("decode", decoded),), refused=f"{normal.reason}: {normal.detail}")
    before = flat(normal.data)
    rich = describe(enrich(without_tokens(dict(normal.data)), hit), hit)
    judged = {**rich, "consent": decide(rich, hit, config.sources[hit.source].consent)}
    stages = (
        Stage("decode", {"name": raw.name, **decoded}),
        Stage("normalise", changes(decoded, before), normal.dropped),
        Stage("enrich", changes(before, flat(rich))),
        Stage("consent", changes(flat(rich), flat(judged))),
    )
    event = Event(judged)
    return Story(event, stages, decisions(ready, event, now))


def story_of_event(ready: Mapping[str, Ready], data: Mapping[str, Any], now: float) -> Story:
    """The story of a stored event: what each destination would do with it now."""
    event = load(orjson.dumps(data))
    return Story(event, (), decisions(ready, event, now))


def decisions(ready: Mapping[str, Ready], event: Event, now: float) -> tuple[Decision, ...]:
    """What every destination that reads the event's source does with it."""
    return tuple(_decision(one, event, now) for one in ready.values() if event.source in one.config.sources)


def _decision(one: Ready, event: Event, now: float) -> Decision:
    config = one.config
    gate = Gate(config, one.plan, one.need, bounds_of(one.manifest, config), _NoWithdrawals())  # type: ignore[arg-type]
    ending = gate.closed(Work(Taken(event.source, 0, event.label, b"", now), event), now)
    if ending is not None and ending is not DRY_RUN:
        return Decision(config.name, config.type, config.mode, ending)
    parts = one.plan.parts(event, now)
    if isinstance(parts, Ending):
        return Decision(config.name, config.type, config.mode, ending or parts, live=parts if ending else None)
    requests = tuple(one.destination.request(Batch(part.envelope, (part,)), now) for part in parts)
    return Decision(config.name, config.type, config.mode, ending, requests, tuple(parts))


def masked(request: Request, one: Ready) -> dict[str, Any]:
    """A request for people: every secret of the destination is `***`."""
    hide = Recorder(one.config.name, one.config.settings).masked
    return {
        "method": request.method,
        "url": hide(request.url),
        "headers": {name: hide(value) for name, value in request.headers.items()},
        "body": hide(request.body.decode("utf-8", "replace")),
    }


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """`{"user": {"email": "a"}}` → `{"user.email": "a"}`; lists keep their index."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, one in value.items() for k, v in flat(one, f"{path}.{key}" if path else str(key)).items()}
    if isinstance(value, list) and value:
        return {k: v for n, one in enumerate(value) for k, v in flat(one, f"{path}[{n}]").items()}
    return {path: value}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a stage added or altered."""
    return {path: value for path, value in after.items() if path not in before or before[path] != value}
