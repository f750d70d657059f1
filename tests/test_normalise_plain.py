"""The short way through normalise gives what the long way gives, and the usual events take it."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Any, get_type_hints
from unittest.mock import patch

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway import event
from gateway.clock import iso
from gateway.normalise import Normalised, normalise
from gateway.normalise.moment import happened, written
from gateway.normalise.plain import is_plain
from gateway.receive.hit import Hit, RawEvent
from tests.gateway_kit import purchase
from tests.receive_cases import RECEIVED

_SECTIONS = {
    **{"user": event.User, "page": event.Page, "device": event.Device, "geo": event.Geo, "campaign": event.Campaign},
    **{"ids": event.Ids, "session": event.Session, "props": event.Props, "consent": event.Consent, "app": event.App},
}
_WORDS = ["", " ", "a", " a", "a ", "a\t", "\na", "ä", "EUR", "eur", "1", "1.5", "granted", "denied", "yes", "null", '"', "\\"]
_WORDS += [
    "ä",
    "a\u0308",
    "\u0344",
    "\u00a0a",
    "a\u3000",
    "\u212b",
    "ÄÖÜ",
    "\ud800",
    "a\x00b",
    "a\x7f",
    "\x7f",
    "a" * 501,
    "b" * 2001,
    "203.0.113.7",
    " 203.0.113.7",
    "2026-11-24T10:00:00.000Z",
]
_TEXTS = st.sampled_from([*_WORDS, "https://a.example/?email=a@b.example"]) | st.text(max_size=6)
_NUMBERS = st.sampled_from([0, 1, -1, 10**12, 10**12 + 1, 2**63, 0.0, -0.0, 1.5, 0.1 + 0.2, 1e-7, 1e12, 1e13, 1e300])
_SINGLE = _TEXTS | _NUMBERS | st.booleans() | st.none()
_VALUES = (
    _SINGLE
    | st.lists(_TEXTS, max_size=2)
    | st.dictionaries(_TEXTS, _TEXTS, max_size=2)
    | st.recursive(
        _SINGLE, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXTS, inner, max_size=2), max_leaves=4
    )
)


def _section(shape: Any) -> st.SearchStrategy[Any]:
    names = st.sampled_from([*get_type_hints(shape), "own", ""])
    return st.dictionaries(names, _VALUES, max_size=4) | _VALUES


_DATA = st.fixed_dictionaries(
    {},
    optional={
        **{name: _section(shape) for name, shape in _SECTIONS.items()},
        "items": st.lists(_section(event.Item), max_size=3) | _VALUES,
        "raw": st.dictionaries(_TEXTS, _VALUES, max_size=3) | _VALUES,
        "integrations": st.dictionaries(_TEXTS, _VALUES, max_size=2) | _VALUES,
        "engagement_ms": _VALUES,
        "bot": _VALUES,
        "nonsense": _VALUES,
    },
)
_TIMES = st.datetimes(datetime(1969, 12, 30), datetime(2100, 1, 1)).map(lambda at: at.isoformat(timespec="milliseconds") + "Z")
_TIMES |= st.floats(-400, 400).map(lambda seconds: iso(RECEIVED + seconds))
_TIMES |= st.sampled_from(["9999-12-31T23:59:59.999Z", "2026-02-30T10:00:00.000Z", "2026-11-24T24:00:00.000Z", "soon", ""])
HIT = Hit("POST", "/v1/events", "", {}, b"", "shop", RECEIVED)


def both(data: dict[str, Any], dialect: str = "json") -> tuple[Normalised, Normalised]:
    """What the short way (where it may be taken) and the long way make of an event."""
    raws = [RawEvent(dialect, "purchase", deepcopy(data), id="e-1", time="2026-11-24T09:59:00.000Z") for _ in range(2)]
    short = normalise(raws[0], HIT, RECEIVED)
    with patch("gateway.normalise.is_plain", lambda sections, content: False):
        long = normalise(raws[1], HIT, RECEIVED)
    assert isinstance(short, Normalised)
    assert isinstance(long, Normalised)
    return short, long


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=_DATA)
@example(data={"user": {"email": "a@b.example", "traits": {}}})
@example(data={"device": {"ip": "203.0.113.7\x00"}})
@example(data={"device": {"ip": ""}})
@example(data={"consent": {"ad_storage": "granted", "explicit": True, "sale_opt_out": False}})
@example(data={"page": {"url": "https://a.example/?email=a@b.example"}, "raw": {"gcs": "G111"}})
@example(data={"props": {"own": {"name": None}, "more": [""], "": 1}})
@example(data={"props": {"own": {"name": "a\u0308"}, "currency": "ÄÖÜ"}})
@example(data={"user": {"first_name": "Jürgen", "last_name": "\u00a0Groß", "traits": {"": "", "a": None}}})
def test_both_ways_give_the_same_event(data: dict[str, Any]) -> None:
    short, long = both(data)
    assert short == long
    assert orjson.dumps(short.data, option=orjson.OPT_SORT_KEYS) == orjson.dumps(long.data, option=orjson.OPT_SORT_KEYS)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(_SECTIONS)), value=_VALUES, at=st.integers(0, 30))
def test_one_odd_value_in_a_usual_event_is_seen(name: str, value: Any, at: int) -> None:
    data = usual()
    keys = list(get_type_hints(_SECTIONS[name]))
    data[name] = {**data.get(name, {}), keys[at % len(keys)]: value}
    short, long = both(data)
    assert short == long


@settings(max_examples=500, deadline=None)
@given(stated=_TIMES, sent=_TIMES | st.none(), server=st.booleans())
@example(stated="9999-12-31T23:59:59.999Z", sent=None, server=True)
@example(stated="1970-01-01T00:00:00.000Z", sent=None, server=False)
def test_a_time_as_events_carry_it_is_judged_like_any_other(stated: str, sent: str | None, server: bool) -> None:
    raw = RawEvent("json", "purchase", time=stated, sent_at=sent)
    seconds, unreadable, replaced = happened(raw, RECEIVED, server=server)
    assert written(raw, RECEIVED, server=server) == (iso(seconds), unreadable, replaced)


@pytest.mark.parametrize("deep", [32, 33])
def test_a_value_of_the_sites_own_counts_for_the_depth(deep: int) -> None:
    value: Any = 1
    for _ in range(deep - 2):
        value = [value]
    made = normalise(RawEvent("json", "purchase", {"props": {"own": value}}), HIT, RECEIVED)
    assert isinstance(made, Normalised) == (deep <= 32)


def usual() -> dict[str, Any]:
    """The sections of a usual purchase."""
    ours = ("name", "id", "time")
    return {key: value for key, value in purchase("e-1").items() if key not in ours}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"raw": {"gcs": "G111", "seg": 1}},
        {"integrations": {"All": True}},
        {"engagement_ms": 1200},
        {"user": {"first_name": "Jürgen", "city": "東京"}},
        {"props": {"value": 5, "own": {"list": [1, {"a": "b"}]}}},
    ],
)
def test_a_usual_event_takes_the_short_way_and_keeps_its_words(more: dict[str, Any]) -> None:
    data = usual() | more
    assert is_plain(data, orjson.dumps(data))
    short, _ = both(data)
    assert {key: short.data[key] for key in data} == data
    assert short.dropped == ()


def test_the_short_way_leaves_what_the_decoder_made_as_it_was() -> None:
    data = {"page": {"url": "https://shop.example/reset?token=s3cr3t&a=1"}}
    raw = RawEvent("json", "page_view", data)
    made = normalise(raw, HIT, RECEIVED)
    assert isinstance(made, Normalised)
    assert made.data["page"]["url"] == "https://shop.example/reset?a=1"
    assert data["page"]["url"].endswith("token=s3cr3t&a=1")
