"""Consent decided: from all signals of an event and its request to one block that says who decided (consent sheet §7). Pure.

Per purpose, from the strongest rank that says granted or denied:

    1  explicit, on the hit             4  a default on the hit
    2  explicit, a consent tool's cookie   5  a default in a consent cookie
    3  explicit, our own cookie         6  the jurisdiction, where the source says `unknown: jurisdiction`

- Within a rank denied wins, and both are named.
- What stands on the hit is never more permissive than the consent cookies of the same request.
- A grant counts only from the kinds in the source's `consent.read`; a denial is always read.
- Opt-outs of sale (GPC, us_privacy, the event) set `sale_opt_out` and leave the purposes as they are: what a destination
  makes of it is its own `on_opt_out`. One signal that opts out outweighs all that do not.
- A purpose of which nobody spoke stays `unknown`, which every destination counts as denied.

`explicit` is true where a visitor's choice decided anything. `sources` lists the deciding signals with what they decided:
`[{"name": "event", "explicit": true, "purposes": ["ad_storage", "ad_user_data"]}, {"name": "GPC", …}]`; an opt-out is
listed as the purpose `sale_opt_out`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.config.models import SourceConsent
from gateway.consent.regions import jurisdiction
from gateway.consent.signals import Signal, read
from gateway.event import PURPOSES
from gateway.receive.hit import Hit

_OPEN_LAW = ("opt_out", "none")


def decide(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> dict[str, Any]:
    """The consent block of an enriched event, in place of the client's own."""
    signals = read(data, hit, rules)
    law = _law(data, rules)
    deciders: dict[str, dict[str, Any]] = {}
    block: dict[str, Any] = {}
    for purpose in PURPOSES:
        choice, names = _choice(purpose, signals, rules)
        for signal in names:
            _note(deciders, signal, purpose)
        if choice == "unknown" and rules.unknown == "jurisdiction":
            choice = "granted" if law in _OPEN_LAW else "denied"
            _note(deciders, Signal("jurisdiction", "jurisdiction", {}, explicit=False), purpose)
        block[purpose] = choice
    opt_outs = [signal for signal in signals if signal.opt_out is not None]
    if opt_outs:
        block["sale_opt_out"] = any(signal.opt_out for signal in opt_outs)
        for signal in opt_outs:
            if signal.opt_out == block["sale_opt_out"]:
                _note(deciders, signal, "sale_opt_out")
    block["jurisdiction"] = law
    block["explicit"] = any(source["explicit"] for source in deciders.values())
    block["sources"] = list(deciders.values())
    return block


def _law(data: Mapping[str, Any], rules: SourceConsent) -> str:
    if rules.jurisdiction != "auto":
        return rules.jurisdiction
    geo = data.get("geo", {})
    return jurisdiction(geo.get("country"), geo.get("region"))


def _choice(purpose: str, signals: Sequence[Signal], rules: SourceConsent) -> tuple[str, list[Signal]]:
    """The choice and the signals that decided it."""
    speaking = [
        signal
        for signal in signals
        if (choice := signal.choices.get(purpose)) == "denied" or (choice == "granted" and signal.kind in rules.read)
    ]
    if not speaking:
        return "unknown", []
    best = min(_rank(signal) for signal in speaking)
    top = [signal for signal in speaking if _rank(signal) == best]
    denials = [signal for signal in top if signal.choices[purpose] == "denied"]
    if denials:
        return "denied", top if len(denials) < len(top) else denials
    if all(not signal.cookie for signal in top):
        narrower = [signal for signal in speaking if signal.cookie and signal.choices[purpose] == "denied"]
        if narrower:
            return "denied", narrower
    return "granted", top


def _rank(signal: Signal) -> int:
    if signal.explicit:
        return 1 if not signal.cookie else 3 if signal.kind == "own" else 2
    return 5 if signal.cookie else 4


def _note(deciders: dict[str, dict[str, Any]], signal: Signal, purpose: str) -> None:
    entry = deciders.get(signal.name)
    if entry is None:
        entry = {"name": signal.name, "explicit": signal.explicit, "purposes": []}
        if signal.at:
            entry["at"] = signal.at
        deciders[signal.name] = entry
    entry["purposes"].append(purpose)
