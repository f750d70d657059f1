"""Normalise: an event as its dialect said it becomes a valid canonical event (design §2). Pure.

What cannot be used is dropped field by field and counted in `Normalised.dropped`; only an event without a usable name, or
one beyond the limits of depth and keys, is refused. The fast path is one dump (for the digest) and a look at each value
(`plain`); everything slower happens only to events that need it.

- **Names** of Segment's vocabulary are translated with their shapes (`commerce`); native names are taken as they are.
- **Ids** are never altered. A client's id is text (or an integer) of 1 to 200 characters without control characters; an
  id that is anything else cannot be sent on as it came, so it counts as dropped and the event gets a UUIDv7 of ours,
  which is not remembered for de-duplication (`client_id` is false).
- **Time**: see `moment`. A stated time that was replaced is kept in `raw.time`.
- **Digest**: 8 bytes of BLAKE2b over the client's own content (name, time as stated, data without `device.ip`): equal for
  a repeat, whatever was the time of sending, the address or the order of keys. How a GA4 hit was sent (its
  counters and timings) does not count either. An order that goes by its own id is told by browser and shop in different
  words: of it only value and currency count, of a checkout that goes by its token nothing but its name.
- **URLs** of the page lose e-mail addresses and tokens (`scrub`).
- **Consent**: an unreadable word for a purpose counts as denied; only what a client may say of consent is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, cast

import orjson
from pydantic import ValidationError

from gateway.clock import iso
from gateway.errors import Malformed, Refused, TooLarge
from gateway.event import adapter, uuid7
from gateway.normalise import commerce, fields, moment, scrub, values, vocabulary
from gateway.normalise.plain import is_plain
from gateway.receive.hit import Hit, RawEvent

MAX_ID = 200
MAX_NAME = 200
_DIGEST_BYTES = 8
_SENDING: dict[str, tuple[str, ...]] = {
    "ga4": ("raw", "engagement_ms", "session"),
    "email": ("user", "props", "campaign", "consent"),
}
"""Sections that say how a hit was sent (counters, timings), by dialect; they do not make an event another one.
An open goes by its id alone: who fetched the image does not make it another open."""


@dataclass(slots=True)  # not frozen, which takes three times as long: one is made per event
class Normalised:
    """A valid event (`data` is the EventDict, `consent` still the client's own words) and what is known about it.

    `client_id` tells that the id is the client's own; `digest` tells two events of one id apart; `dropped` names the fields
    of the schema that could not be used (`props.value`, `items.price`, `user`, `unknown`), one entry per value.
    """

    data: dict[str, Any]
    client_id: bool
    digest: bytes
    dropped: tuple[str, ...]


def normalise(raw: RawEvent, hit: Hit, clock_now: float) -> Normalised | Refused:
    """A canonical event out of a dialect's. `clock_now` (epoch seconds) dates an id of ours."""
    dropped: list[str] = []
    try:
        name, data = _translated(raw)
        content = _dumps(data)
        plain = content is not None and is_plain(data, content)
        if content is None or not plain:
            data, content = _cleaned(data, content, dropped)
    except Refused as refused:
        return refused
    event_id = _client_id(raw.id, dropped)
    time, unreadable, replaced = moment.written(raw, hit.received, server=hit.server)
    if unreadable:
        dropped.append("time")
    ours = {
        "v": 1,
        "id": event_id or uuid7(clock_now),
        "name": name,
        "time": time,
        "received": _received(hit.received),
        "source": hit.source,
        "dialect": raw.dialect,
    }
    if plain and not replaced:
        valid = ours | data
    else:
        data = dict(data)
        fields.prepare(data, dropped, server=hit.server)
        if replaced:
            data["raw"] = {**data.get("raw", {}), "time": str(raw.time)[: fields.MAX_RAW_TEXT]}
        valid = _validated(data | ours, dropped)
    if "page" in valid:
        scrub.scrub(valid, dropped)
    digest = _order_digest(valid) or _digest(name, raw.time, _lasting(raw, content))
    return Normalised(valid, event_id is not None, digest, tuple(dropped))


_received = lru_cache(maxsize=64)(iso)
"""The time of receipt, as all events of a hit carry it."""


def _translated(raw: RawEvent) -> tuple[str, dict[str, Any]]:
    """Name and data in canonical words. Raises Refused."""
    if not isinstance(raw.name, str):
        raise Malformed("the event name must be text")
    name, data = raw.name, raw.data
    if raw.dialect in commerce.TRANSLATED:
        name, data = commerce.translate(name, data, raw.dialect)
    elif raw.dialect in vocabulary.NAMES_OF:
        name = vocabulary.NAMES_OF[raw.dialect].get(name.strip(), name)
    if not (name.isascii() and name.isprintable()):
        name = values.text(name)
    name = name.strip()
    if not name or len(name) > MAX_NAME:
        raise Malformed("the event name is missing or too long")
    return name, data


def _cleaned(data: dict[str, Any], content: bytes | None, dropped: list[str]) -> tuple[dict[str, Any], bytes]:
    """The data fit to be stored, and its bytes for the digest. Raises Refused beyond the limits."""
    if content is None or values.may_be_large(content):
        depth, keys = values.measure(data)
        if depth > values.MAX_DEPTH:
            raise Malformed(f"nested deeper than {values.MAX_DEPTH}")
        if keys > values.MAX_KEYS:
            raise TooLarge(f"more than {values.MAX_KEYS} keys")
    if content is not None and values.is_clean(content):
        return data, content
    clean = fields.cleaned(data, dropped)
    return clean, _dumps(clean) or b""


def _lasting(raw: RawEvent, content: bytes) -> bytes:
    """The content without what describes the sending: the same purchase on a reloaded page differs in nothing else."""
    if raw.dialect not in _SENDING:
        return content
    return _dumps({key: value for key, value in raw.data.items() if key not in _SENDING[raw.dialect]}) or content


def _dumps(data: dict[str, Any]) -> bytes | None:
    """The content that makes two events the same, as bytes; None where it cannot be written as it is."""
    device = data.get("device")
    if type(device) is dict and "ip" in device:
        data = {**data, "device": {key: value for key, value in device.items() if key != "ip"}}
    try:
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError):
        return None


def _digest(name: str, stated: Any, content: bytes) -> bytes:
    hash_ = _EMPTY.copy()  # a third faster than a new one
    hash_.update(content)
    hash_.update(f"{name}\0{stated!r}".encode("utf-8", "replace"))
    return hash_.digest()


_EMPTY = blake2b(digest_size=_DIGEST_BYTES)


def _order_digest(event: dict[str, Any]) -> bytes | None:
    """The digest of an order or checkout that goes by its own id; None for every other event."""
    name = event["name"]
    if name != "purchase" and name != "begin_checkout":
        return None
    props = event.get("props", {})
    if name == "purchase" and props.get("transaction_id") == event["id"]:
        told = f"{float(props.get('value', 0))} {props.get('currency', '')}"
    elif name == "begin_checkout" and event["id"] in (props.get("checkout_token"), event.get("raw", {}).get("checkout_token")):
        told = ""
    else:
        return None
    return blake2b(f"{name}\0{told}".encode(), digest_size=_DIGEST_BYTES).digest()


def _client_id(value: Any, dropped: list[str]) -> str | None:
    """The client's id as it came, or None where it gave none that can be used."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 2**64 else None
    if isinstance(value, str) and len(value) <= MAX_ID and values.is_printable(value) and not value.isspace():
        return value
    dropped.append("id")
    return None


def _validated(data: dict[str, Any], dropped: list[str]) -> dict[str, Any]:
    """The event by the schema; offending fields are taken out and named until it holds."""
    validate = adapter().validator.validate_python
    while True:
        try:
            valid = cast(dict[str, Any], validate(data))
        except ValidationError as invalid:
            data = fields.without(data, invalid.errors(include_url=False, include_input=False), dropped)
        else:
            fields.note_unknown(data, valid, dropped)
            return valid if all(valid.values()) else {key: part for key, part in valid.items() if part or part == 0}
