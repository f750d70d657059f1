"""One event in a row of the page: what came, and how it stands at each destination, in words.

    {"key": "shop/12", "id": "…", "name": "purchase", "order": "1001", "value": "42.50 EUR", "page": "shop.example/thanks",
     "ends": {"meta": {"state": "delivered", "words": "delivered", "detail": "…", "status": 200, "ms": 12.5}, …}}

`state` is an outcome of the ledger, or `queued` or `retrying` while there is none; `reason` its closed reason.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from gateway.clock import iso
from gateway.consent.gate import refuses
from gateway.observe.ledger import reason_sentence, reason_words
from gateway.outcomes import Ending, Outcome
from gateway.page.mask import Known, Mask, personal
from gateway.plans import Ready
from gateway.queue.base import Firing
from gateway.queue.recent import Fate, Logged, Number

_BARRED = "skipped{consent}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a vendor answered to the request that carried an event."""

    status: int
    ms: float
    error: str
    at: float


class Replies:
    """The newest answer per destination and event, bounded."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._found: OrderedDict[tuple[str, str, int], Reply] = OrderedDict()
        self.last = 0

    def add(self, firings: Iterable[tuple[int, Firing]]) -> None:
        """Take in requests, newest first as the window gives them."""
        for id_, firing in reversed(list(firings)):
            self.last = max(self.last, id_)
            reply = Reply(firing.status, firing.ms, firing.error, firing.at)
            for source, number, _ in firing.events:
                self._found[(firing.lane, source, number)] = reply
                self._found.move_to_end((firing.lane, source, number))
        while len(self._found) > self._most:
            self._found.popitem(last=False)

    def of(self, lane: str, number: Number) -> Reply | None:
        """The newest answer about an event."""
        return self._found.get((lane, *number))


def parsed(body: bytes) -> dict[str, Any]:
    """A stored event; empty where it cannot be read."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}


def event_row(row: Logged, data: Mapping[str, Any], mask: Mask, known: Known) -> dict[str, Any]:
    """The event's part of a row."""
    props = data.get("props", {})
    order, value = props.get("transaction_id"), props.get("value")
    consent = data.get("consent", {})
    return {
        "key": f"{row.source}/{row.seq}",
        "id": row.event_id,
        "source": row.source,
        "name": mask.text(str(data.get("name", row.label))),
        "received": iso(row.received),
        "dialect": data.get("dialect", ""),
        "order": None if order is None else mask.text(str(order), known),
        "value": None if value is None else f"{value:,.2f} {props.get('currency', '')}".strip(),
        "page": _page(data, mask, known),
        "bot": data.get("bot", {}).get("score"),
        "signals": [str(source.get("name")) for source in consent.get("sources", ())],
        "hollow": _BARRED if "reason" in data.get("raw", {}) and "props" not in data else "",
    }


def _page(data: Mapping[str, Any], mask: Mask, known: Known) -> str:
    try:
        parts = urlsplit(data.get("page", {}).get("url", ""))
    except ValueError:
        return ""
    return mask.text(f"{parts.hostname or ''}{parts.path}", known)


def known_of(data: Mapping[str, Any]) -> Known:
    """The personal values of an event."""
    return Known(personal(data))


def end_of(lane: str, fate: Fate, reply: Reply | None, one: Ready | None, data: Mapping[str, Any], hide: Any) -> dict[str, Any]:
    """How an event stands at a destination. `hide(text)` masks a text; `one` is None where no file configures the lane."""
    if fate.ending is None:
        shown = _waiting(fate, hide)
    else:
        shown = _ended(fate.ending, fate.tries, hide)
        if str(fate.ending) == _BARRED and one is not None:
            shown["detail"] = refuses(data.get("consent", {}), one.need) or ""
        if fate.ending.outcome is Outcome.DELIVERED and one is not None and one.manifest.confirms == "none":
            shown |= {"unconfirmed": True, "sentence": "It was sent; this vendor never says whether it took it."}
    if reply is not None:
        shown |= {"status": reply.status, "ms": reply.ms, "at": iso(reply.at)}
        if reply.error:
            shown["error"] = reply.error
    return shown


def _ended(ending: Ending, tries: int, hide: Any) -> dict[str, Any]:
    return {
        "state": str(ending.outcome),
        "reason": ending.reason,
        "words": reason_words(str(ending.outcome), ending.reason),
        "sentence": reason_sentence(str(ending.outcome), ending.reason),
        "detail": hide(ending.detail) if ending.detail else "",
        "tries": tries,
    }


def _waiting(fate: Fate, hide: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"state": "queued", "reason": "", "words": "waiting", "detail": "", "tries": fate.tries}
    shown["sentence"] = "It is on disk and waits for its turn."
    if fate.due is not None:
        shown |= {"state": "retrying", "words": "trying again" if fate.tries else "queued again", "due": iso(fate.due)}
        shown["sentence"] = "It is on disk and will be tried again."
    if fate.why is not None:
        shown["reason"] = fate.why.reason
        why = reason_sentence(str(fate.why.outcome), fate.why.reason).removeprefix("Refused for good: ")
        shown["detail"] = (
            f"The last try failed: {why.removeprefix('Given up after many tries: ')} {hide(fate.why.detail)}".strip()
        )
    return shown


def brief(row: Logged, fates: Mapping[str, Fate], replies: Replies, ready: Mapping[str, Ready], mask: Mask) -> dict[str, Any]:
    """A whole row."""
    data = parsed(row.body)
    known = known_of(data)

    def hide(text: str) -> str:
        return mask.text(text, known)

    ends = {
        lane: end_of(lane, fate, replies.of(lane, row.number), ready.get(lane), data, hide)
        for lane, fate in sorted(fates.items())
    }
    return {**event_row(row, data, mask, known), "ends": ends}
