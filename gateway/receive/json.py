"""The native dialect: `POST /v1/events` with one event, a list, or `{"events": []}`.

An event is written in the keys of the schema (`tagway schema event`): `name` is required, `id` and `time` belong to the
client, the sections (`user`, `page`, `props`, `items`, `consent`, …) are taken as they came and checked by
`gateway.normalise`, which drops and counts what it cannot use. Names are the canonical ones; any other is a custom event
and stays as it is. What the gateway itself writes (`v`, `received`, `source`, `dialect`) is ignored, so that a stored event
can be posted again.

One bad entry refuses that entry alone; a body that is no JSON, or holds neither an object nor a list, is refused whole.
"""

from __future__ import annotations

from typing import Any

from gateway.errors import Malformed, Refused, TooLarge
from gateway.receive.body import check_count, event_name, parse, too_large
from gateway.receive.hit import Hit, RawEvent

_OURS = frozenset({"v", "received", "source", "dialect"})


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """One entry per event, in the order of the body. Raises Malformed or TooLarge where nothing can be read."""
    entries = _entries(parse(hit.body))
    check_count(entries)
    return [_event(entry, hit.body) for entry in entries]


def _entries(body: Any) -> list[Any]:
    if isinstance(body, dict):
        events = body.get("events")
        if events is None:
            return [body]
        if not isinstance(events, list):
            raise Malformed("events must be a list")
        return events
    if isinstance(body, list):
        return body
    raise Malformed('the body must be an event, a list of events or {"events": [...]}')


def _event(entry: Any, body: bytes) -> RawEvent | Refused:
    """What was parsed for this hit is nobody else's: what is left of it is the event's data."""
    if not isinstance(entry, dict):
        return Malformed("an event must be an object")
    if too_large(entry, body):
        return TooLarge("the event is over 64 KiB")
    try:
        name = event_name(entry.pop("name", None))
    except Malformed as refused:
        return refused
    id_, time = entry.pop("id", None), entry.pop("time", None)
    if not _OURS.isdisjoint(entry):
        entry = {key: value for key, value in entry.items() if key not in _OURS}
    return RawEvent("json", name, entry, id_, time)
