"""What became of an order at a vendor, in words that need no manual. Pure.

The vendor's inbox comes first: what arrived there arrived. Only for what did not, the gateway is asked why: consent (decided
again by the gateway's own gate, on the stored event), a vendor that is down, or an event that has not reached the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.explain import Decision
from gateway.lab import Entry, Mode

State = Literal["got", "no", "waiting", "refused", "kept"]

TITLES = {"meta": "Meta", "ga4": "Google Analytics", "tiktok": "TikTok", "webhook": "Your webhook"}
DOWN: dict[Mode, str] = {
    "500": "is down (it answers 500)",
    "hang": "is down (it does not answer)",
    "reset": "is down (it cuts the connection)",
    "429": "is busy (it answers 429)",
    "401": "does not accept our token",
}
_PURPOSES = {"ad_storage": "ads", "ad_user_data": "ads", "analytics_storage": "statistics"}
_PURCHASES = frozenset({"purchase", "completepayment"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` colours it, `words` say it, `detail` is the technical side: the deciding signal, the vendor's answer."""

    state: State
    words: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an order at one vendor: its entries in the inbox, the vendor's switch, and the gateway's side.

    `consent` is None while the gateway does not have the event; `tries` are its requests so far and `answer` what the last
    one got: for what has not arrived they failed.
    """

    entries: Sequence[Entry]
    mode: Mode | None
    consent: Mapping[str, Any] | None = None
    decision: Decision | None = None
    tries: int = 0
    answer: str = ""
    gateway_up: bool = True


def is_purchase(entry: Entry) -> bool:
    """Whether a vendor was told of a sale."""
    return entry.name.lower() in _PURCHASES


def counted(entries: Sequence[Entry]) -> list[Entry]:
    """What the vendor counts: accepted, and the first of its id."""
    return [entry for entry in entries if entry.accepted and not entry.duplicate]


def verdict(title: str, requires: Sequence[str], facts: Facts) -> Verdict:
    """The verdict on one order at one vendor, which needs the purposes `requires`."""
    if counted(facts.entries):
        return _arrived(title, facts.entries)
    if facts.consent is None:
        where = "The shop sends it now" if facts.gateway_up else "The gateway is down: the shop keeps it and sends it again"
        return Verdict("kept", where)
    ending = facts.decision.ending if facts.decision else None
    if ending is not None and ending.reason == "consent":
        return Verdict("no", f"Nothing: {_said(requires, facts.consent)}", ending.detail)
    if ending is not None and facts.decision is not None:
        return Verdict("no", f"Nothing: {facts.decision.words}", ending.detail)
    return _on_its_way(title, facts)


def _arrived(title: str, entries: Sequence[Entry]) -> Verdict:
    times = len(counted(entries))
    again = any(entry.accepted and entry.duplicate for entry in entries)
    detail = f"sent again with the same id, {title} counts it once" if again else ""
    return Verdict("got", "Got it, once" if times == 1 else f"Got it {times} times", detail)


def _on_its_way(title: str, facts: Facts) -> Verdict:
    refused = [entry for entry in facts.entries if not entry.accepted]
    if refused:
        return Verdict("refused", f"{title} did not take it: {refused[-1].reason}")
    tries = f"{facts.tries} failed {'try' if facts.tries == 1 else 'tries'} so far" if facts.tries else ""
    detail = ", ".join(part for part in (tries, facts.answer) if part)
    if facts.mode:
        return Verdict("waiting", f"Waiting: {title} {DOWN[facts.mode]}. The gateway keeps it and tries again", detail)
    if facts.tries:
        return Verdict("waiting", f"Waiting: {title} is back, the next try is due within seconds", detail)
    return Verdict("waiting", "On its way")


def _said(requires: Sequence[str], consent: Mapping[str, Any]) -> str:
    """`the visitor said no to ads`: the first purpose that is missing, as in the gate."""
    for purpose in requires:
        choice = consent.get(purpose, "unknown")
        if choice == "denied":
            return f"the visitor said no to {_PURPOSES.get(purpose, purpose)}"
        if choice != "granted":
            return "the visitor has not chosen yet, and no answer is a no"
    return "the visitor opted out of sale and sharing"
