"""Whatever comes in, no decoder fails: each hit is refused or becomes events that are valid, stored and mapped.

20,000 inputs in all, split over the dialects: made of what the golden hits are made of (their keys and values, mixed, cut and
nested anew) and of noise. The few of `make test-fast` are the first of them.
"""

from __future__ import annotations

import base64
import random
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import yaml

from gateway import event as events
from gateway.config.models import SourceConsent
from gateway.consent.decide import decide
from gateway.enrich import enrich
from gateway.errors import Refused
from gateway.event import Event
from gateway.normalise import normalise
from gateway.receive.hit import Hit, RawEvent
from tests.destination_kit import GRANTED, NOW, ready
from tests.faults.size import pick
from tests.receive_cases import DECODERS, RECEIVED, hit

TOTAL = pick(20_000, 1_000_000)
FEW = 150
VENDORS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("meta", {}),
    ("ga4", {}),
    ("ga4", {"role": "replace"}),
    ("tiktok", {}),
    ("webhook", {}),
)
_FOLDER = Path(__file__).parent / "golden" / "receive"
NOISE: tuple[Any, ...] = (
    *("", " ", "\x00", "é", "e\u0301", "𝒳", "\ud800", "null", "NaN", "1e999", "-0", "1,5", "１２", "%", "%zz", "+", "a" * 3000),
    *(
        "[",
        "{",
        "[]",
        "{}",
        '{"a":[{"b":1}]}',
        "[1,2",
        "***",
        "granted",
        "DENIED",
        "true",
        "LDU",
        "fb.1.1.2",
        "${X}",
        "iglu:a/b/c/1-0-0",
    ),
    *("1795514400000", "999999999999999999999", "-1", "1970-01-01", "2026-11-24T10:00:00Z", "USD", "usd", "x@y.example"),
    *(None, True, False, 0, -1, 2**63, 2**70, 1.5, 1e300, [], {}, [[]], {"a": None}, [None, {"": ""}], {"data": {"schema": 5}}),
)


@lru_cache
def _cases(dialect: str) -> list[dict[str, Any]]:
    given: list[dict[str, Any]] = [case["hit"] for case in yaml.safe_load((_FOLDER / f"{dialect}.yaml").read_text())]
    return given


def _mixed(value: Any, dice: random.Random, chance: float) -> Any:
    """The value with some of it replaced by noise, doubled, moved or left out."""
    if dice.random() < chance:
        return dice.choice(NOISE)
    if isinstance(value, dict):
        pairs = [(key, _mixed(inner, dice, chance)) for key, inner in value.items() if dice.random() > chance / 2]
        if pairs and dice.random() < chance:
            pairs.append((dice.choice(pairs)[0], dice.choice(pairs)[1]))
        return dict(pairs)
    if isinstance(value, list):
        return [_mixed(inner, dice, chance) for inner in value for _ in range(1 + (dice.random() < chance / 4))]
    if isinstance(value, str) and value[:1] in ("{", "[") and dice.random() < 0.7:
        return _inside(value, dice, chance)
    if isinstance(value, str) and dice.random() < chance:
        at = dice.randrange(len(value) + 1)
        return value[:at] + str(dice.choice(NOISE))[:50] + value[at:]
    return value


def _inside(text: str, dice: random.Random, chance: float) -> str:
    """JSON inside a text, mixed as JSON."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return orjson.dumps(_writable(_mixed(value, dice, chance))).decode()


def _query(text: str, dice: random.Random) -> str:
    pairs = [pair for pair in text.split("&") if dice.random() > 0.1]
    for _ in range(dice.randrange(3)):
        pairs.insert(dice.randrange(len(pairs) + 1), _pair(pairs, dice))
    return "&".join(pairs)


def _pair(pairs: list[str], dice: random.Random) -> str:
    name = dice.choice(pairs).partition("=")[0] if pairs else "e"
    noise = str(dice.choice(NOISE)).encode("utf-8", "replace")
    return f"{name}={quote(noise) if dice.random() < 0.8 else base64.b64encode(noise).decode()}"


def _hit(dialect: str, dice: random.Random) -> Hit:
    given = dict(dice.choice(_cases(dialect)))
    if "body" in given:
        body = _mixed(given.pop("body"), dice, dice.choice((0.02, 0.1, 0.3)))
        given["text"] = orjson.dumps(_writable(body)).decode()
    if dice.random() < 0.1 and "text" in given:
        given["text"] = given["text"][: dice.randrange(len(given["text"]) + 1)]
    if "query" in given:
        given["query"] = _query(given["query"], dice)
    if dice.random() < 0.05:
        given["headers"] = {
            **given.get("headers", {}),
            "content-type": "multipart/form-data; boundary=x",
            "cookie": "sp=; _fbp;=;",
        }
    return hit(dialect, given)


def _writable(value: Any) -> Any:
    """The value as far as JSON can carry it: numbers beyond 64 bits and half characters come as text."""
    if isinstance(value, dict):
        return {str(_writable(key)): _writable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_writable(inner) for inner in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return str(value) if isinstance(value, int) and abs(value) > 2**63 else value


def _event_of(raw: RawEvent | Refused, request: Hit) -> Event | None:
    """The event as it would be stored, or None where it is refused."""
    made = raw if isinstance(raw, Refused) else normalise(raw, request, RECEIVED)
    if isinstance(made, Refused):
        return None
    data = enrich(made.data, request)
    data["consent"] = decide(data, request, SourceConsent())
    stored = Event(data).dumps()
    again = events.load(stored)
    assert events.adapter().validate_python(dict(again.data)) == again.data
    return again


def _check(dialect: str, seed: int) -> bool:
    """One input; whether any event came of it."""
    request = _hit(dialect, random.Random(f"{dialect} {seed}"))
    try:
        raws = DECODERS[dialect](request)
    except Refused as refused:
        if refused.status >= 500:
            raise
        return False
    made = [event for raw in raws if (event := _event_of(raw, request)) is not None]
    for one in made:
        granted = Event({**one.data, "consent": GRANTED})
        for vendor, settings in VENDORS:
            parts = ready(vendor, settings).plan.parts(granted, NOW)
            if not isinstance(parts, list):
                assert "while mapping" not in (parts.detail or ""), f"{vendor}: {parts.detail}"
                continue
            for part in parts:
                orjson.loads(part.body)
    return bool(made)


def _run(dialect: str, seeds: range) -> int:
    taken = 0
    for seed in seeds:
        try:
            taken += _check(dialect, seed)
        except Exception as error:
            raise AssertionError(f"input {seed} of {dialect} broke") from error
    return taken


@pytest.mark.parametrize("dialect", DECODERS)
def test_a_few_odd_hits_are_refused_or_become_events(dialect: str) -> None:
    assert 0 < _run(dialect, range(FEW)) < FEW


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dialect", DECODERS)
def test_thousands_of_odd_hits_are_refused_or_become_events(dialect: str) -> None:
    each = -(-TOTAL // len(DECODERS))
    assert _run(dialect, range(FEW, each)) > each // 10
