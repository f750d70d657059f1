"""One event in full: hit → event → what each stage changed → consent → visitor → request → answer → outcome → the line to
change.

The stored event and the vendors' answers are what happened; stages, requests and fields are made again by the files in use
now (gateway/explain.py), and say so. All of it is masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.clock import iso, parse_instant
from gateway.config.models import Gateway
from gateway.enrich import enrich, urls
from gateway.event import PURPOSES, Event, load
from gateway.explain import Decision, changes, decisions, flat, masked
from gateway.mapping import CompiledPlan, FieldTrace, trace
from gateway.observe.ledger import reason_sentence
from gateway.origins import left_out, of_visitor, suspicions
from gateway.page.brief import Replies, end_of, event_row, parsed
from gateway.page.mask import Known, Mask, leaves, personal
from gateway.page.places import Places
from gateway.plans import Ready
from gateway.queue.base import Firing
from gateway.queue.recent import Fate, Logged
from gateway.receive.hit import Hit

MOST_FIELDS = 400
MOST_NEIGHBOURS = 50
"""Events that shared a request and are asked for personal values."""
_SAID_BY = {"event": "the hit itself", "_tw_consent": "our consent cookie", "withdrawal": "the visitor's withdrawal"}
_WHO = ("user.id", "user.anonymous_id")
_PERSONAL_PATHS = ("user", "ids", "raw", "device.ip", "device.user_agent", "device.advertising_id", "device.id", "geo.city")


@dataclass(frozen=True, slots=True)
class Found:
    """An event with everything the store knows of it; `neighbours` are the bodies that shared its requests."""

    row: Logged
    fates: Mapping[str, Fate]
    firings: Sequence[Firing]
    by_sender: bool
    neighbours: Sequence[bytes] = ()


class Teller:
    """Tells stories for one configuration."""

    def __init__(self, config: Gateway, ready: Mapping[str, Ready], mask: Mask) -> None:
        self._config, self._ready, self._mask = config, ready, mask
        self._places = Places(config)

    def tell(self, found: Found, now: float) -> dict[str, Any]:
        """The story as JSON values; `repeat` says why an event without a number went to no destination."""
        data = parsed(found.row.body)
        repeat = not found.row.seq
        event = load(orjson.dumps(data)) if data and not repeat else None
        told = {one.destination: one for one in decisions(self._ready, event, now)} if event else {}
        traces = {lane: self._traced(lane, event, now) for lane in told} if event else {}
        known = Known([*personal(data), *(value for fields in traces.values() for value in _sent(fields))])
        return {
            **event_row(found.row, data, self._mask, known),
            "repeat": reason_sentence("duplicate", "conflict") if repeat else "",
            "steps": self._steps(found, data, known),
            "event": self._mask.event(data, known),
            "destinations": [
                self._destination(lane, found, data, known, told.get(lane), traces.get(lane, ()))
                for lane in sorted({*found.fates, *told})
            ],
        }

    # what came, and what the stages made of it

    def _steps(self, found: Found, data: Mapping[str, Any], known: Known) -> list[dict[str, Any]]:
        row = found.row
        came = f"It came in through source {row.source} as {data.get('dialect', 'unknown')}, and was on disk before the answer."
        return [
            _step("Hit", came, []),
            _step("Normalise", _normalised(found, data), []),
            self._enriched(data, known),
            _bots(data),
            self._consent(row.source, data),
            self._visitor(data, known),
        ]

    def _enriched(self, data: Mapping[str, Any], known: Known) -> dict[str, Any]:
        if "page" not in data:
            return _step("Enrich", "The event names no page, so nothing was read off its address.", [])
        bare = _before_enrich(data)
        made = changes(flat(bare), flat(enrich(dict(bare), Hit("POST", "", "", {}, b"", str(data.get("source", "")), 0.0))))
        shown = {
            path: self._mask.value(value, known, _key(path)) for path, value in made.items() if not path.startswith("device")
        }
        device = [f"{name}" for name in ("ip", "user_agent") if name in data.get("device", {})]
        words = "Click ids and campaign were read off the page's address." if shown else "The page's address holds no click id."
        if device:
            words += f" {' and '.join(device)} are the visitor's, off the request."
        return _step("Enrich", words, [{"field": path, "value": value} for path, value in shown.items()])

    def _consent(self, source: str, data: Mapping[str, Any]) -> dict[str, Any]:
        consent = data.get("consent", {})
        rows = [
            {"field": purpose, "value": consent[purpose], "signal": _deciders(consent, purpose)}
            for purpose in PURPOSES
            if purpose in consent
        ]
        if "sale_opt_out" in consent:
            rows.append(
                {"field": "sale_opt_out", "value": consent["sale_opt_out"], "signal": _deciders(consent, "sale_opt_out")}
            )
        names = [_SAID_BY.get(str(one.get("name")), str(one.get("name"))) for one in consent.get("sources", ())]
        words = (
            f"Decided by {', '.join(names)}." if names else "No signal came with the hit; what nobody allowed counts as denied."
        )
        if consent.get("jurisdiction", "unknown") != "unknown":
            words += f" Law of the place: {consent['jurisdiction']}."
        return _step("Consent", words, rows, [self._places.consent_rules(source).to_json()])

    def _visitor(self, data: Mapping[str, Any], known: Known) -> dict[str, Any]:
        """Who it is, as far as the event says; its cookies are gone by now, so what came with the hit is not told apart."""
        shown, filled = flat(self._mask.event(data, known)), of_visitor(data)
        rows = [
            {"field": path, "value": value, "from": filled.get(path, "the hit, or a vendor's cookie on it")}
            for path, value in shown.items()
            if path in _WHO or path.startswith(("ids.", "session."))
        ]
        if filled:
            words = f"Known again, or from now on, by cookies of the gateway: {', '.join(_things(filled))}."
        elif not rows:
            words = "Nobody is known: the hit named no visitor, and no cookie of the gateway's came that consent lets it read."
        else:
            words = "The hit and the cookies of vendors said who it is; the gateway's own cookies added nothing."
        if earlier := left_out(data):
            words += f" Left out, as an earlier user of the device may have clicked there: {', '.join(earlier)}."
        return _step("Visitor", words, rows)

    # what became of it at a destination

    def _destination(
        self,
        lane: str,
        found: Found,
        data: Mapping[str, Any],
        known: Known,
        decision: Decision | None,
        fields: Sequence[FieldTrace],
    ) -> dict[str, Any]:
        one, fate = self._ready.get(lane), found.fates.get(lane)
        told: dict[str, Any] = {
            "destination": lane,
            "type": one.config.type if one else "",
            "mode": one.config.mode if one else "off",
            "answers": self._answers(lane, found, known),
        }
        if fate is None:
            told |= {"state": "none", "words": "not for it", "detail": "", "sentence": "The lane began after this event came."}
        else:
            replies = Replies()
            replies.add([(n, firing) for n, firing in enumerate(found.firings) if firing.lane == lane])
            told |= end_of(lane, fate, replies.of(lane, found.row.number), one, data, lambda text: self._mask.text(text, known))
        if one is None or decision is None:
            told["change"] = [{"words": "put its file back", "place": ""}] if one is None else []
            return told
        ending = fate.ending if fate and fate.ending else (fate.why if fate else None) or decision.ending
        name = str(data.get("name", ""))
        again = fate is not None and fate.ending is None and fate.why is not None
        places = self._places.change(one, name, found.row.source, ending, tried_again=again)
        told["change"] = [place.to_json() for place in places]
        told["now"] = self._mask.text(decision.words, known)
        told["requests"] = [self._request(masked(request, one), known) for request in decision.requests]
        told["fields"] = [field_json(field, self._mask, known) for field in fields[:MOST_FIELDS] if decision.requests]
        return told

    def _request(self, request: dict[str, Any], known: Known) -> dict[str, Any]:
        headers = {name: self._mask.value(value, known, name) for name, value in request["headers"].items()}
        body = self._mask.body(request["body"], known)
        return {"method": request["method"], "url": self._mask.text(request["url"], known), "headers": headers, "body": body}

    def _answers(self, lane: str, found: Found, known: Known) -> list[dict[str, Any]]:
        others = Known(value for body in found.neighbours for value in personal(parsed(body)))
        both = Known([*known.values, *others.values])
        return [
            {
                "destination": lane,
                "at": iso(firing.at),
                "status": firing.status,
                "ms": firing.ms,
                "error": firing.error,
                "request": self._mask.text(firing.request, both),
                "events": len(firing.events),
                "answer": self._answer(firing, both),
            }
            for firing in found.firings
            if firing.lane == lane
        ]

    def _answer(self, firing: Firing, known: Known) -> Any:
        """A vendor may quote any event of the request: where not all of them were asked, only its structure is shown."""
        if len(firing.events) > MOST_NEIGHBOURS:
            return self._mask.structure(firing.answer)
        return self._mask.body(firing.answer, known) if firing.answer else ""

    def _traced(self, lane: str, event: Event, now: float) -> list[FieldTrace]:
        plan = self._ready[lane].plan
        return list(trace(plan, event, now)) if isinstance(plan, CompiledPlan) else []


def _step(title: str, words: str, rows: Sequence[Mapping[str, Any]], change: Sequence[Any] = ()) -> dict[str, Any]:
    return {"title": title, "words": words, "rows": list(rows), "change": list(change)}


def _things(filled: Mapping[str, str]) -> list[str]:
    words = {"user": "the visitor's id", "session": "the session", "ids": "ids of clicks"}
    return list(dict.fromkeys(words[_key(path)] for path in filled))


def _bots(data: Mapping[str, Any]) -> dict[str, Any]:
    bot = data.get("bot", {})
    words = f"Score {bot.get('score', 0)} of 100: {'; '.join(suspicions(data))}."
    return _step("Bots", words, [{"field": "bot.reasons", "value": one} for one in bot.get("reasons", ())])


def _normalised(found: Found, data: Mapping[str, Any]) -> str:
    words = "The sender gave its id; a repeat of it is recognised." if found.by_sender else "The gateway gave it its id."
    try:
        lag = found.row.received - parse_instant(str(data.get("time", "")))
    except ValueError:
        return words
    if abs(lag) < 1:
        return f"{words} It happened when it came in."
    return f"{words} It happened {_span(abs(lag))} {'before' if lag > 0 else 'after'} it came in, at {data['time']}."


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _before_enrich(data: Mapping[str, Any]) -> dict[str, Any]:
    """The event without what its page's address can have given it."""
    ids, campaign = urls.read(data["page"].get("url", ""))
    bare = {key: value for key, value in data.items() if key not in ("consent", "campaign", "ids")}
    derived = {"ids": {**ids, **({"fbc": data.get("ids", {}).get("fbc")} if "fbclid" in ids else {})}, "campaign": campaign}
    for section, given in derived.items():
        kept = {key: value for key, value in data.get(section, {}).items() if given.get(key) != value}
        if kept:
            bare[section] = kept
    return bare


def _key(path: str) -> str:
    return path.split(".", 1)[0]


def _deciders(consent: Mapping[str, Any], purpose: str) -> str:
    names = [str(one.get("name")) for one in consent.get("sources", ()) if purpose in one.get("purposes", ())]
    return ", ".join(_SAID_BY.get(name, name) for name in names) or "nobody"


def _of_a_person(field: FieldTrace) -> bool:
    """Whether a field's chain starts at a person's value."""
    return any(step.text.lstrip("$(").startswith(_PERSONAL_PATHS) for step in field.steps)


def _sent(fields: Sequence[FieldTrace]) -> list[Any]:
    return [value for field in fields if _of_a_person(field) for value in leaves(field.value)]


def field_json(field: FieldTrace, mask: Mask, known: Known) -> dict[str, Any]:
    """One field of a request: its masked value, and the line it comes from."""
    value = mask.value({"user": field.value} if _of_a_person(field) else field.value, known, "")
    removed = field.removed
    return {
        "field": field.field,
        "value": value["user"] if _of_a_person(field) else value,
        "sent": field.sent,
        "place": field.place,
        "why": f"{mask.text(removed.text, known)} gave nothing" if removed else "",
    }
