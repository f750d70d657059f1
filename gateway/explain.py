"""The whole story of one event, by running the pure stages again: hit → event → changes → consent → visitor → request
(design §9).

Nothing is sent and nothing is stored. What the stages say now is what they said then, as long as the files are the same; what
the vendors answered then is in the firings of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
from gateway.enrich.lookups import read_lookups
from gateway.errors import GatewayError, Refused
from gateway.event import Event, load
from gateway.normalise import normalise
from gateway.observe.ledger import reason_sentence
from gateway.origins import left_out, of_enriched, of_visitor, suspicions, visitors_of
from gateway.outcomes import Ending
from gateway.plans import Ready
from gateway.queue.base import Taken
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.routes import DIALECTS

_CANONICAL = ("v", "id", "name", "source", "received", "dialect")
"""Keys that only a stored event has together."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage changed: `{path: value}` added or altered, and the values that could not be used.

    `origins` say of a path where its value came from; `notes` are sentences about the whole stage.
    """

    name: str
    changed: Mapping[str, Any]
    dropped: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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


def stories_of_hit(
    config: Gateway, ready: Mapping[str, Ready], hit: Hit, now: float, secret: bytes | None = None
) -> list[Story]:
    """The story of each event of a hit. Raises GatewayError for a route that takes no hits, or files that cannot be read.

    `secret` is the store's, which signs the cookies of visitors; without it they are taken at their word.
    """
    row = next((row for row in DIALECTS if hit.route in (row.path, *row.also)), None)
    if row is None:
        raise GatewayError(f"{hit.route} takes no hits; these do: {', '.join(row.path for row in DIALECTS)}")
    if row.is_ahead(hit):
        return [Story(None, refused="fetched ahead of a visit, so it is no event")]
    try:
        raws = row.decode(hit)
    except Refused as error:
        return [refusal(error)]
    known = _Known(config, hit, secret)
    return [_story_of_raw(config, ready, raw, known, now) for raw in raws]


def refusal(error: Refused) -> Story:
    """The story of a hit that the door does not take."""
    return Story(None, refused=f"{error.reason}: {error.detail}")


class _Known:
    """The hit, and who it is of: one visitor for all of its events, as at the door."""

    def __init__(self, config: Gateway, hit: Hit, secret: bytes | None) -> None:
        self.hit = hit
        self.lookups = read_lookups(config)
        self._visitors, self._checked = visitors_of(config, hit.source, secret)
        self._visitor = self._visitors.of(hit) if hit.browser else None

    def visitor(self, data: dict[str, Any]) -> tuple[dict[str, Any], Stage]:
        """The event with what is known of its visitor."""
        if self._visitor is None:
            return data, Stage("visitor", {}, notes=("no page of this site sent it: no cookie of ours is read or set",))
        filled = self._visitor.fill(data)
        shown = {path: value for path, value in changes(flat(data), flat(filled)).items() if not path.startswith("raw.")}
        origins = of_visitor(filled)
        return filled, Stage("visitor", shown, origins=origins, notes=tuple(self._notes(data, filled)))

    def _notes(self, data: Mapping[str, Any], filled: Mapping[str, Any]) -> Iterator[str]:
        if "granted" not in {data["consent"].get(purpose) for purpose in ("ad_storage", "analytics_storage")}:
            yield "neither ad_storage nor analytics_storage is granted: no cookie of ours is read or set"
            return
        if self._visitors.kept(self.hit) and not self._checked:
            yield "the secret that signed the cookies is not here, so they were taken at their word"
        if earlier := left_out(filled):
            yield f"left out, as an earlier user of the device may have clicked there: {', '.join(earlier)}"
        names = [line.split(b"=", 1)[0].split()[-1].decode() for line in self._set_lines()]
        if names:
            yield f"the answer sets {', '.join(names)}"

    def _set_lines(self) -> list[bytes]:
        return self._visitor.cookies().splitlines() if self._visitor else []


def _story_of_raw(config: Gateway, ready: Mapping[str, Ready], raw: RawEvent | Refused, known: _Known, now: float) -> Story:
    hit = known.hit
    if isinstance(raw, Refused):
        return refusal(raw)
    decoded = flat(raw.data)
    normal = normalise(raw, hit, now)
    if isinstance(normal, Refused):
        return Story(None, (Stage("decode", decoded),), refused=f"{normal.reason}: {normal.detail}")
    before = flat(normal.data)
    rich = describe(enrich(without_tokens(dict(normal.data)), hit, known.lookups), hit, known=known.lookups)
    seen = {key: value for key, value in rich.items() if key != "bot"}
    judged = {**rich, "consent": decide(rich, hit, config.sources[hit.source].consent)}
    whole, visitor = known.visitor(judged)
    stages = (
        Stage("decode", {"name": raw.name, **decoded}),
        Stage("normalise", changes(decoded, before), normal.dropped),
        Stage("enrich", changes(before, flat(seen)), origins=of_enriched(seen, hit)),
        Stage("bots", changes(flat(seen), flat(rich)), notes=suspicions(rich)),
        Stage("consent", changes(flat(rich), flat(judged))),
        visitor,
    )
    event = Event(whole)
    return Story(event, stages, decisions(ready, event, now))


def story_of_event(ready: Mapping[str, Ready], data: Mapping[str, Any], now: float) -> Story:
    """The story of a stored event: what each destination would do with it now."""
    event = load(orjson.dumps(data))
    return Story(event, _remembered(data), decisions(ready, event, now))


def _remembered(data: Mapping[str, Any]) -> tuple[Stage, ...]:
    """What a stored event says itself of its stages: who the visitor was known by."""
    values, origins = flat(data), of_visitor(data)
    return (Stage("visitor", {path: values[path] for path in origins if path in values}, origins=origins),) if origins else ()


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
