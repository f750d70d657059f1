"""Consent decided: from all signals of an event and its request to one block that says who decided (consent sheet §7). Pure.

Per purpose, from the strongest rank that says granted or denied:

    1  explicit, on the hit             4  a default on the hit
    2  explicit, a consent tool's cookie   5  a default in a consent cookie
       or a TC string in one
    3  explicit, our own cookie         6  the jurisdiction, where the source says `unknown: jurisdiction`

- Within a rank denied wins, and both are named.
- What stands on the hit is never more permissive than the consent cookies of the same request.
- A grant counts only from the kinds in the source's `consent.read`; a denial is always read.
- Opt-outs of sale (GPC, us_privacy, the event) set `sale_opt_out` and leave the purposes as they are: what a destination
  makes of it is its own `on_opt_out`. One signal that opts out outweighs all that do not.
- What was decided in the same checkout is carried to the shop's webhook and ranks as what stands on the hit.
- A purpose of which nobody spoke stays `unknown`, which every destination counts as denied.
- TC strings stay attached (`tcf.strings`), read or not, since each vendor is judged by them at its own gate.

`explicit` is true where a visitor's choice decided anything. `sources` lists the deciding signals with what they decided:
`[{"name": "event", "explicit": true, "purposes": ["ad_storage", "ad_user_data"]}, {"name": "GPC", …}]`; an opt-out is
listed as the purpose `sale_opt_out`.

**Memory.** Most events of a site say one of a few things, and nothing else on their request speaks. A `Decider` remembers what
came of those, which spares the eleven readers of signals; anything beside a plain block is decided anew each time.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Any

from gateway.config.models import SourceConsent
from gateway.consent import tcf
from gateway.consent.law import IN_RAW, law
from gateway.consent.signals import CARRIED, COOKIE_MARKS, Signal, read
from gateway.consent.tools import UNREADABLE
from gateway.event import PURPOSES
from gateway.receive.hit import Hit

_OPEN_LAW = ("opt_out", "none")
_BY_LAW = (Signal("jurisdiction", "jurisdiction", {}, explicit=False),)
_PLAIN = frozenset((*PURPOSES, "explicit", "sale_opt_out"))
"""Keys of an event's block that mean the same wherever they stand."""
_REMEMBERED = 1024


class Decider:
    """`decide` by the rules of one source, remembering plain cases. A block may be that of many events: never change one."""

    def __init__(self, rules: SourceConsent) -> None:
        self._rules = rules
        self._known: dict[Hashable, dict[str, Any]] = {}
        self._last: tuple[Any, Any, dict[str, Any]] | None = None

    def __call__(self, data: Mapping[str, Any], hit: Hit, carried: Sequence[Signal] = ()) -> dict[str, Any]:
        """The consent block of an enriched event."""
        if carried or _others_may_speak(data, hit):
            return decide(data, hit, self._rules, carried)
        given, geo = data.get("consent"), data.get("geo")
        place = (geo.get("country"), geo.get("region")) if geo else None
        last = self._last  # most events of a hit say the same, and to compare is a quarter of looking up
        if last is not None and last[0] == given and last[1] == place:
            return last[2]
        if given and not _PLAIN.issuperset(given):
            return decide(data, hit, self._rules)
        key = tuple(given.items()) if given else None, place
        block = self._known.get(key)
        if block is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            block = self._known[key] = decide(data, hit, self._rules)
        self._last = given, place, block
        return block


def _others_may_speak(data: Mapping[str, Any], hit: Hit) -> bool:
    """Whether anything but the event's own purposes and its country might decide."""
    headers = hit.headers
    if "sec-gpc" in headers or (hit.query and hit.method == "GET") or ("raw" in data and data["dialect"] in IN_RAW):
        return True
    if "cookie" in headers:
        cookie = headers["cookie"]
        for mark in COOKIE_MARKS:
            if mark in cookie:
                return True
    return False


def decide(data: Mapping[str, Any], hit: Hit, rules: SourceConsent, carried: Sequence[Signal] = ()) -> dict[str, Any]:
    """The consent block of an enriched event, in place of the client's own; `carried` was decided in the same checkout."""
    signals = [*read(data, hit, rules), *carried]
    heard = [_heard(signal, rules.read) for signal in signals if signal.choices]
    jurisdiction = law(data, hit, rules)
    block: dict[str, Any] = {}
    decided: dict[str, Sequence[Signal]] = {}
    for purpose in PURPOSES:
        choice, deciding = _choice(purpose, heard)
        if choice == "unknown" and rules.unknown == "jurisdiction":
            choice, deciding = "granted" if jurisdiction in _OPEN_LAW else "denied", _BY_LAW
        block[purpose] = choice
        decided[purpose] = deciding
    opt_outs = [signal for signal in signals if signal.opt_out is not None]
    if opt_outs:
        opted_out = any(signal.opt_out for signal in opt_outs)
        block["sale_opt_out"] = opted_out
        decided["sale_opt_out"] = [signal for signal in opt_outs if signal.opt_out is opted_out]
    block["jurisdiction"] = jurisdiction
    block["sources"] = sources = _sources(decided)
    block["explicit"] = any(source["explicit"] for source in sources)
    for signal in signals:
        if signal.tcf:
            _attach(block, signal.name, signal.tcf)
        elif signal.name == UNREADABLE:
            sources.append({"name": UNREADABLE, "explicit": False, "purposes": [], "unreadable": True})
    return block


def _attach(block: dict[str, Any], name: str, text: str) -> None:
    """Keep a TC string, and of the first what people want to see of it."""
    held = block.get("tcf")
    if held is None:
        tc = tcf.decode(text)
        about = {"cmp": tc.cmp, "policy": tc.policy, "flags": tc.flags()} if tc else {}
        block["tcf"] = held = {"strings": [], **about}
    if all(one["string"] != text for one in held["strings"]):
        held["strings"].append({"name": name, "string": text})


def _heard(signal: Signal, kinds: Container[str]) -> Signal:
    """The signal as far as it counts: whole where its kind may grant, else its denials."""
    if signal.kind == CARRIED or signal.kind in kinds:
        return signal
    return signal._replace(choices={purpose: choice for purpose, choice in signal.choices.items() if choice == "denied"})


def _choice(purpose: str, signals: Sequence[Signal]) -> tuple[str, Sequence[Signal]]:
    """The choice and the signals that decided it."""
    heard = [signal for signal in signals if purpose in signal.choices]
    if not heard:
        return "unknown", ()
    if len(heard) == 1:
        return heard[0].choices[purpose], heard
    best = min(_rank(signal) for signal in heard)
    top = [signal for signal in heard if _rank(signal) == best]
    if any(signal.choices[purpose] == "denied" for signal in top):
        return "denied", top
    if all(not signal.cookie for signal in top):
        narrower = [signal for signal in heard if signal.cookie and signal.choices[purpose] == "denied"]
        if narrower:
            return "denied", narrower
    return "granted", top


def _rank(signal: Signal) -> int:
    if signal.explicit:
        return 1 if not signal.cookie else 3 if signal.kind == "own" else 2
    return 5 if signal.cookie else 4


def _sources(decided: Mapping[str, Sequence[Signal]]) -> list[dict[str, Any]]:
    """One entry per deciding signal, with what it decided."""
    entries: dict[str, dict[str, Any]] = {}
    for purpose, deciding in decided.items():
        for signal in deciding:
            entry = entries.get(signal.name)
            if entry is not None:
                entry["purposes"].append(purpose)
                continue
            entries[signal.name] = entry = {"name": signal.name, "explicit": signal.explicit, "purposes": [purpose]}
            if signal.at:
                entry["at"] = signal.at
    return list(entries.values())
