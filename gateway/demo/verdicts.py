"""What became of an order at a vendor, in words that need no manual. Pure.

The vendor's inbox comes first: what arrived there arrived. For what did not, the gateway's own account says why: consent, a
vendor that is down, or an event that has not reached the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.lab import Entry, Mode

State = Literal["got", "no", "waiting", "refused", "kept"]

TITLES = {"meta": "Meta", "ga4": "Google Analytics", "tiktok": "TikTok", "webhook": "Your webhook"}
DOWN: dict[Mode, str] = {
    "500": "is down (it answers 500)",
    "hang": "is down (it does not answer)",
    "reset": "is down (it cuts the connection)",
    "429": "is too busy (it answers 429)",
    "401": "does not accept our token",
}
_PURPOSES = {
    "ad_storage": "ads",
    "ad_user_data": "ads",
    "ad_personalization": "ads",
    "analytics_storage": "statistics",
    "functional": "extras",
}
_SENTENCE = re.compile(r"(\w+) is (denied|unknown)")
_PURCHASES = frozenset({"purchase", "completepayment"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` colours it; `words` go on with "Got it:", "Nothing:", "Waiting:" and so on; `detail` is the technical side."""

    state: State
    words: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an order at one vendor.

    `entries` are the order's in the vendor's inbox, `mode` is how the vendor is down, `end` the gateway's account of the
    event there (a destination of its story), None while the gateway does not have the event.
    """

    entries: Sequence[Entry]
    mode: Mode | None
    end: Mapping[str, Any] | None
    gateway_up: bool = True


def is_purchase(entry: Entry) -> bool:
    """Whether a vendor was told of a sale."""
    return entry.name.lower() in _PURCHASES


def counted(entries: Sequence[Entry]) -> list[Entry]:
    """What the vendor counts: accepted, and the first of its id."""
    return [entry for entry in entries if entry.accepted and not entry.duplicate]


def verdict(title: str, facts: Facts) -> Verdict:
    """The verdict on one order at one vendor."""
    if counted(facts.entries):
        return _arrived(title, facts.entries)
    refused = [entry for entry in facts.entries if not entry.accepted]
    if refused:
        return Verdict("refused", refused[-1].reason)
    if facts.end is None:
        return Verdict("kept", "the shop sends it now" if facts.gateway_up else "the gateway is down, the shop keeps it")
    if facts.end["state"] in ("queued", "retrying"):
        return _on_its_way(title, facts.mode, facts.end)
    if facts.end["state"] == "delivered":
        return Verdict("waiting", "on its way")
    if facts.end["state"] == "skipped":
        return _skipped(facts.end)
    return Verdict("refused", facts.end.get("sentence", facts.end["state"]), facts.end.get("detail", ""))


def _arrived(title: str, entries: Sequence[Entry]) -> Verdict:
    """A request whose answer a kill cut off is sent again under the same id, which not every vendor looks at."""
    times = len(counted(entries))
    if times > 1:
        return Verdict("got", f"{times} times", "sent again after the gateway was killed, with the same order number")
    again = any(entry.accepted and entry.duplicate for entry in entries)
    return Verdict("got", "once", f"sent again with the same id, {title} counts it once" if again else "")


def _skipped(end: Mapping[str, Any]) -> Verdict:
    """`the visitor said no to ads`, with the signal that decided beside it."""
    detail = str(end.get("detail", ""))
    if end.get("reason") != "consent":
        return Verdict("no", str(end.get("sentence", "")), detail)
    said = _SENTENCE.match(detail)
    if said is None:
        return Verdict("no", "the visitor opted out", detail)
    if said[2] == "denied":
        return Verdict("no", f"the visitor said no to {_PURPOSES.get(said[1], said[1])}", detail)
    return Verdict("no", "the visitor has not answered, and that is a no", detail)


def _on_its_way(title: str, mode: Mode | None, end: Mapping[str, Any]) -> Verdict:
    tries = len(end.get("answers", ()))
    detail = f"{tries} {'try' if tries == 1 else 'tries'} so far, it is kept on disk" if tries else "it is kept on disk"
    if mode:
        return Verdict("waiting", f"{title} {DOWN[mode]}", detail)
    return (
        Verdict("waiting", f"{title} is up again, the next try brings it", detail)
        if tries
        else Verdict("waiting", "on its way")
    )
