"""The web dialect of Google Analytics 4: `GET|POST /g/collect`, version 2, as gtag.js and its likes send it.

Google documents none of it; what is read here is what real hits hold.

- Parameters that all events of a hit share stand in the query. A POST without a body is the normal single event; a body
  has one event per line, each line urlencoded itself and laid over the query (the line wins, and of a repeated key the
  last). Content-Type says nothing.
- A line without `en` is no event: it is refused alone and counted. Where a line has one, the query makes no event of its own.
- A hit has no time of its own: `sid`, `_p` and `sst.tft` are times of the session and the page, so an event happened
  when it was received.
- The id of an event is `ep.event_id`, for a purchase else its `ep.transaction_id`; other events have none.

Where each parameter goes: gateway/receive/ga4_fields.py. `POST /mp/collect` is gateway/receive/ga4_mp.py. Version 1
(Universal Analytics) is refused: Google has switched it off.
"""

from __future__ import annotations

from urllib.parse import unquote_plus

from gateway.errors import Malformed, Refused, TooLarge
from gateway.receive import ga4_fields as fields
from gateway.receive.body import MAX_EVENT_BYTES, event_name
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.sources import query_value

VERSION = "2"
MAX_LINES = 250
"""Events of one hit: each carries the whole query, so the number of events of other dialects would multiply it too much."""
MAX_PARAMETERS = 1000


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """One entry per event of the hit. Raises Malformed or TooLarge where nothing can be read."""
    shared = parameters(hit.query)
    if shared.get("v") != VERSION:
        raise Malformed("only version 2 of the protocol is read")
    lines = _lines(hit.body)
    if not lines:
        return [_event(shared, {}, len(hit.query))]
    own = [(line, parameters(line)) for line in lines]
    entries: list[RawEvent | Refused] = []
    if shared.get("en") and not any(given.get("en") for _, given in own):
        entries.append(_event(shared, {}, len(hit.query)))
    for line, given in own:
        if given.get("en"):
            entries.append(_event(shared, given, len(hit.query) + len(line)))
        else:
            entries.append(Malformed("a line has no event name (en)"))
    return entries


def switched_off(hit: Hit) -> list[RawEvent | Refused]:
    """Universal Analytics (`/collect`, `/j/collect`, `/r/collect`): never read as anything else. Raises Malformed."""
    raise Malformed("version 1 of the protocol is switched off at Google and not read here")


def parameters(query: str) -> dict[str, str | bool]:
    """Names and values, decoded; True for a name without `=`, which is a flag; the last of a repeated name.

    Raises Malformed for more than MAX_PARAMETERS.
    """
    pairs = query.split("&")
    if len(pairs) > MAX_PARAMETERS:
        raise Malformed(f"more than {MAX_PARAMETERS} parameters")
    given: dict[str, str | bool] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name:
            key = unquote_plus(name) if "%" in name or "+" in name else name
            given[key] = (unquote_plus(value) if "%" in value or "+" in value else value) if equals else True
    return given


def named_by(query: str) -> tuple[str | None, str | None]:
    """(nothing that could be a key, the measurement id) of a hit's query."""
    return None, query_value(query, "tid")


def _lines(body: bytes) -> list[str]:
    if not body:
        return []
    lines = [line for part in body.decode("utf-8", "replace").split("\n") if (line := part.strip())]
    if len(lines) > MAX_LINES:
        raise TooLarge(f"more than {MAX_LINES} events in one hit")
    return lines


def _event(shared: fields.Given, own: fields.Given, size: int) -> RawEvent | Refused:
    """One event: what all share, overlaid by its own line (empty where the query is the event)."""
    if size > MAX_EVENT_BYTES:
        return TooLarge("the event is over 64 KiB")
    try:
        name = event_name(own.get("en") or shared.get("en") or "")
    except Malformed as refused:
        return refused
    event_id, data = fields.sections(name, shared, own)
    return RawEvent("ga4", name, data, id=event_id)
