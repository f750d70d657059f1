"""Normalise: numbers, instants, ids, limits, digests, and that no input breaks it."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.clock import iso, parse_instant
from gateway.config.models import SourceConsent
from gateway.consent.decide import decide
from gateway.enrich import enrich
from gateway.errors import Refused
from gateway.event import adapter, load
from gateway.normalise import Normalised, normalise
from gateway.normalise.moment import happened, instant
from gateway.normalise.values import DECIMALS, is_rounded, number
from gateway.receive import json, pixel, segment
from gateway.receive.hit import Hit, RawEvent
from tests.receive_cases import RECEIVED, hit

_HIT = hit("json", {})


def normal(raw: RawEvent, request: Hit = _HIT) -> Normalised:
    result = normalise(raw, request, RECEIVED)
    assert isinstance(result, Normalised), result
    return result


def event(data: dict[str, Any], **raw: Any) -> Normalised:
    return normal(RawEvent("json", "purchase", data, **{"id": "e-1", **raw}))


# --- numbers -------------------------------------------------------------------------------------------------------------


@given(st.floats() | st.builds(round, st.floats(-1e12, 1e12), st.integers(0, 9)))
@example(math.nextafter(129.9, 200))
@example(-999999999.999999)
@example(math.inf)
@example(math.nan)
def test_the_short_look_at_decimals_is_what_rounding_says(value: float) -> None:
    assert is_rounded(value) == (value == (round(value, DECIMALS) if math.isfinite(value) else value))


_READ: list[tuple[Any, float]] = [
    *((value, value) for value in (0, 1, -1, 42, 10**12, -(10**12), 999999999999)),
    *((value, value) for value in (0.0, 0.5, -0.5, 19.99, 1e-6, 1e12, 123456.789012)),
    *((value, round(value, 6)) for value in (19.990000000000002, 10 / 3, 0.1 + 0.2, 1e-9, -1e-9, 1.23456789, 5e-324)),
    *((str(value), value) for value in range(-20, 60)),
    *((f"{value}.50", value + 0.5) for value in range(40)),
    *((f" {value} ", value) for value in (1, 2.5, -3)),
    *(
        (text, float(text))
        for text in ("1e3", "1E3", "1.5e-2", "+7", "-0.0", "007", ".5", "5.", "1e0", "12.3400", "1e12", "0e999")
    ),
]
_UNREAD: list[Any] = [
    *("1,5", "1.234,56", "1,234.56", "1 234", "1'234", "1_000", "１２", "٣", "१२", "Ⅻ", "½", "²"),
    *("1e999", "-1e999", "1e13", "1000000000001", "inf", "-inf", "Infinity", "nan", "NaN", "1e", "e5", "1e+", "1e1.5"),
    *(
        "",
        " ",
        "-",
        "+",
        ".",
        "--1",
        "+-1",
        "1-",
        "1+1",
        "0x10",
        "0b1",
        "0o7",
        "1.2.3",
        "1..2",
        "€5",
        "$20",
        "5 EUR",
        "12%",
        "free",
    ),
    *(
        "null",
        "true",
        "None",
        "undefined",
        "1\x002",
        "1\n2",
        "1" * 31,
        "9" * 400,
        "1e10000",
        "--",
        "1/2",
        "½5",
        "1d",
        "1f",
        "1L",
        "1j",
    ),
    *(None, True, False, [], [1], {}, {"value": 1}, (1,), b"1", Ellipsis),
    *(math.nan, math.inf, -math.inf, 1e12 + 1, -1e13, 1e308, 10**12 + 1, 2**64, 2**70, -(2**64), 10**400),
]


def test_there_are_two_hundred_numeric_forms() -> None:
    assert len(_READ) + len(_UNREAD) >= 200


@pytest.mark.parametrize(("form", "value"), _READ, ids=[repr(form) for form, _ in _READ])
def test_number_is_read(form: Any, value: float) -> None:
    assert number(form) == value


@pytest.mark.parametrize("form", _UNREAD, ids=[repr(form)[:40] for form in _UNREAD])
def test_number_is_not_read(form: Any) -> None:
    assert number(form) is None


@pytest.mark.parametrize(
    "form", [form for form in _UNREAD if form is not None and not (isinstance(form, str) and not form.strip())]
)
def test_an_unreadable_amount_drops_the_field_not_the_event(form: Any) -> None:
    result = event({"props": {"value": form, "currency": "EUR"}})
    assert result.data["props"] == {"currency": "EUR"}
    assert result.dropped == ("props.value",)


def test_whole_numbers_stay_whole() -> None:
    assert orjson.dumps(event({"props": {"value": 20}}).data["props"]) == b'{"value":20}'


# --- instants ------------------------------------------------------------------------------------------------------------

_TEN = 1795514400.0


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        ("2026-11-24T10:00:00Z", _TEN),
        ("2026-11-24T10:00:00.123Z", _TEN + 0.123),
        ("2026-11-24T10:00:00.123456Z", _TEN + 0.123456),
        ("2026-11-24T10:00:00.123456789Z", _TEN + 0.123456),
        ("2026-11-24T11:00:00+01:00", _TEN),
        ("2026-11-24T04:30:00-05:30", _TEN),
        ("2026-11-24t10:00:00z", _TEN),
        ("2026-11-24 10:00:00", _TEN),
        (" 2026-11-24T10:00:00 ", _TEN),
        ("2026-11-24", _TEN - 36000),
        ("2016-12-31T23:59:60Z", 1483228799.0),
        (1795514400, _TEN),
        (1795514400.25, _TEN + 0.25),
        (1795514400000, _TEN),
        (1795514400000000, _TEN),
        ("1795514400", _TEN),
        ("1795514400000", _TEN),
        (0, 0.0),
        (99999999999, 99999999999.0),
        ("9999-12-31T23:59:59Z", 253402300799.0),
        ("1970-01-01T00:00:00Z", 0.0),
        *((text, None) for text in ("", " ", "soon", "24.11.2026", "Tue Nov 24 2026", "2026-13-01T00:00:00Z", "10:00:00")),
        *((text, None) for text in ("2026-11-24T25:00:00Z", "2018-03-04T12:08:56.235 PDT", "9" * 18, "1e9", "-5", "x" * 5000)),
        *((text, None) for text in ("１７９５５１４４００", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59")),
        *((value, None) for value in (-1, 1e17, 2**80, math.nan, math.inf, True, None, [], {})),
    ],
)  # fmt: skip
def test_instant(given_: Any, seconds: float | None) -> None:
    assert instant(given_) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


_HOUR, _DAY = 3600.0, 86400.0


@pytest.mark.parametrize(
    ("time", "sent", "historic", "moment"),
    [
        (-10, None, False, -10),
        (-10, 0, False, -10),
        (-10, 59, False, -10),
        (-10, -61, False, -10),
        (-71, -61, False, -10),
        (_HOUR - 10, _HOUR, False, -10),
        (-_HOUR - 10, -_HOUR, False, -10),
        (30 * _DAY - 10, 30 * _DAY, False, -10),
        (-30 * _DAY - 10, -30 * _DAY, False, -10),
        (-30 * _DAY - 10, -30 * _DAY, True, -30 * _DAY - 10),
        (-_HOUR, -2 * _HOUR, False, -_HOUR),
        (300, None, False, 300),
        (301, None, False, 0),
        (_DAY, None, False, 0),
        (_DAY, None, True, 0),
        (-20 * 365 * _DAY, None, False, -20 * 365 * _DAY),
    ],
)
def test_skew(time: float, sent: float | None, historic: bool, moment: float) -> None:
    raw = RawEvent("segment", "x", time=_TEN + time, sent_at=None if sent is None else _TEN + sent, historic=historic)
    assert happened(raw, _TEN)[0] == pytest.approx(_TEN + moment)


def test_a_servers_time_ahead_stays_as_it_was_said() -> None:
    assert happened(RawEvent("segment", "x", time=_TEN + _DAY), _TEN, server=True) == (_TEN + _DAY, False, False)


def test_a_currency_that_is_none_is_kept_beside() -> None:
    made = event({"props": {"value": 5, "currency": "FAKE"}})
    assert (made.data["props"], made.data["raw"]) == ({"value": 5}, {"props.currency": "FAKE"})
    assert made.dropped == ("props.currency",)


def test_a_replaced_time_is_kept_beside() -> None:
    assert event({}, time="2099-01-01T00:00:00Z").data["raw"] == {"time": "2099-01-01T00:00:00Z"}


@pytest.mark.parametrize("seconds", [0.0, 0.9996, 1795514400.5, 253402300799.0])
def test_iso_says_what_parse_instant_reads(seconds: float) -> None:
    assert parse_instant(iso(seconds)) == pytest.approx(seconds, abs=0.0006)


# --- ids, names, limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given_", ["e-1", " padded ", "a" * 200, "Ünïcode", "e\u0301", 7, 0])
def test_a_client_id_is_sent_as_it_came(given_: Any) -> None:
    result = event({}, id=given_)
    assert (result.data["id"], result.client_id, result.dropped) == (str(given_), True, ())


@pytest.mark.parametrize("given_", ["a" * 201, "  ", "a\x00b", "a\nb", "\ud800", True, 1.5, 2**64, ["e"], {"id": 1}])
def test_an_unusable_id_is_never_altered_but_replaced(given_: Any) -> None:
    result = event({}, id=given_)
    assert (len(result.data["id"]), result.client_id, result.dropped) == (36, False, ("id",))


@pytest.mark.parametrize("given_", [None, ""])
def test_an_id_of_ours_is_not_the_clients(given_: Any) -> None:
    first, second = event({}, id=given_), event({}, id=given_)
    assert first.data["id"] != second.data["id"]
    assert (first.client_id, first.dropped) == (False, ())


@pytest.mark.parametrize("name", ["", "  ", "n" * 201, "\x00", None, 5])
def test_an_event_without_a_name_is_refused(name: Any) -> None:
    assert isinstance(normalise(RawEvent("json", name), _HIT, RECEIVED), Refused)


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return {"props": value}


@pytest.mark.parametrize("depth", [1, 10, 30])
def test_depth_within_the_limit_is_kept(depth: int) -> None:
    assert event(nested(depth)).data["props"] == nested(depth)["props"]


@pytest.mark.parametrize("depth", [32, 33, 100, 300, 2000, 100_000])
def test_depth_beyond_the_limit_is_refused_without_recursion(depth: int) -> None:
    data = nested(depth)
    try:
        assert isinstance(normalise(RawEvent("json", "x", data), _HIT, RECEIVED), Refused)
    finally:
        inner: Any = data["props"]  # taken apart by hand: freeing it whole recurses in the interpreter
        while isinstance(inner, dict):
            inner = inner.pop("a")


@pytest.mark.parametrize(("keys", "taken"), [(999, True), (1000, False), (90_000, False)])
def test_a_thousand_keys_are_the_limit(keys: int, taken: bool) -> None:
    raw = RawEvent("json", "x", {"props": {f"k{n}": n for n in range(keys)}})
    assert isinstance(normalise(raw, _HIT, RECEIVED), Normalised) is taken


def test_raw_holds_fifty_keys() -> None:
    result = event({"raw": {f"k{n}": n for n in range(60)}})
    assert len(result.data["raw"]) == 50
    assert result.dropped == ("raw",) * 10


@pytest.mark.parametrize("key", ["__proto__", "constructor", "__class__", "{0.__class__}", "%s", "$user.email", "${PATH}"])
def test_keys_and_texts_are_never_interpreted(key: str) -> None:
    assert event({"props": {key: key}}).data["props"] == {key: key}


def test_dropped_names_are_of_the_schema() -> None:
    result = event({"props": {"value": "x", "secret": math.nan}, "user": {"ada@shop.example": 1}, "ada@shop.example": {}})
    assert sorted(result.dropped) == ["props", "props.value", "unknown", "user"]


def test_the_decoded_event_is_not_changed() -> None:
    data = {"props": {"value": "12"}, "items": [{"id": 1, "price": "x"}], "user": {"email": ["a", {"x": 1}]}, "foo": 1}
    before = orjson.dumps(data)
    event(data)
    assert orjson.dumps(data) == before


# --- digest --------------------------------------------------------------------------------------------------------------

_CALL = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "timestamp": "2026-11-24T09:00:00Z",
    "properties": {"order_id": "A-1", "total": 10},
    "context": {"ip": "203.0.113.9", "locale": "de"},
}


def digest_of(call: dict[str, Any], **request: Any) -> bytes:
    (raw,) = segment.decode(sent := hit("segment", {"body": call, **request}))
    assert isinstance(raw, RawEvent)
    return normal(raw, sent).digest


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"sentAt": "2026-11-24T09:00:01Z"},
        {"context": {"locale": "de", "ip": "203.0.113.10"}},
        {"properties": {"total": 10, "order_id": "A-1"}},
    ],
)
def test_a_repeat_has_the_same_digest(change: dict[str, Any]) -> None:
    assert digest_of({**_CALL, **change}, received=RECEIVED + 99, ip="198.51.100.9") == digest_of(_CALL)


@pytest.mark.parametrize(
    "change",
    [{"event": "Order Refunded"}, {"timestamp": "2026-11-24T09:00:01Z"}, {"properties": {"order_id": "A-1", "total": 11}}],
)
def test_other_content_has_another_digest(change: dict[str, Any]) -> None:
    assert digest_of({**_CALL, **change}) != digest_of(_CALL)


# --- any input ------------------------------------------------------------------------------------------------------------

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.text(alphabet=st.characters(codec=None), max_size=5)
    | st.sampled_from(
        ["1e999", "１２", "granted", "2026-11-24T10:00:00Z", "https://shop.example/?gclid=a&utm_source=b#c", "\ud800"]
    )
)
_NAMES = st.sampled_from(
    """user page device geo campaign ids session props items consent app bot raw integrations engagement_ms id email phone url
    referrer value price quantity currency ip country ad_storage categories sale_opt_out number started products traits order_id
    event_id context properties consent campaign externalId type sentAt timestamp name product_id""".split()
) | st.text(max_size=8)  # fmt: skip
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=6), max_leaves=25
)
_DATA = st.dictionaries(_NAMES, _VALUES, max_size=8)


def check(result: Normalised | Refused, request: Hit) -> None:
    """An event that is taken is valid, can be stored and read, and can be decided on."""
    if isinstance(result, Refused):
        return
    enriched = enrich(result.data, request)
    enriched["consent"] = decide(enriched, request, SourceConsent())
    adapter().validate_python(enriched)
    assert load(orjson.dumps(enriched)).data == orjson.loads(orjson.dumps(enriched))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(name=_VALUES, data=_DATA, id_=_VALUES, time=_VALUES, sent=_VALUES, dialect=st.sampled_from(["json", "segment", "pixel"]))
def test_no_decoded_event_breaks_normalise(name: Any, data: Any, id_: Any, time: Any, sent: Any, dialect: str) -> None:
    raw = RawEvent(dialect, name if not isinstance(name, (int, float)) else "x", data, id=id_, time=time, sent_at=sent)
    check(normalise(raw, _HIT, RECEIVED), _HIT)


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=6),
    max_leaves=20,
)
_CALLS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "page", "identify", "group", "alias", "screen"]),
        "event": st.sampled_from(["Order Completed", "Product Added", "x"]),
    },
    optional=dict.fromkeys(("properties", "context", "traits", "integrations", "messageId", "timestamp"), _TREES),
)
_ENTRIES = st.dictionaries(_NAMES, _TREES, max_size=8).map(lambda entry: {"name": "x", **entry})


def accept_all(decoder: Any, request: Hit) -> None:
    try:
        raws = decoder(request)
    except Refused:
        return
    for raw in raws:
        check(raw if isinstance(raw, Refused) else normalise(raw, request, RECEIVED), request)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@example(body=[{"type": "track", "event": "x", "integrations": {"a": {"b": 1}}, "context": {"integrations": 0}}], batch=True)
@given(body=st.lists(_CALLS, max_size=3) | _TREES, batch=st.booleans())
def test_no_segment_body_breaks_the_way_to_an_event(body: Any, batch: bool) -> None:
    accept_all(segment.decode, hit("segment", {"text": orjson_text({"batch": body} if batch else body)}))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(body=st.lists(_ENTRIES, max_size=3) | _ENTRIES | _TREES)
def test_no_native_body_breaks_the_way_to_an_event(body: Any) -> None:
    accept_all(json.decode, hit("json", {"text": orjson_text(body)}))


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=60))
def test_no_bytes_break_a_decoder(body: bytes) -> None:
    for decoder in (json.decode, segment.decode):
        accept_all(decoder, Hit("POST", "/v1/track", "", {}, body, "shop", RECEIVED))


@settings(max_examples=300, deadline=None)
@given(query=st.text(alphabet="ekuvt=&%.+cd_ %ff%00a1é\ud800{}$", max_size=60), cookie=st.text(max_size=60))
def test_no_query_and_no_cookie_break_the_pixel(query: str, cookie: str) -> None:
    accept_all(
        pixel.decode, hit("pixel", {"query": "e=x&" + query, "headers": {"cookie": "_ga=" + cookie + "; _fbp=" + cookie}})
    )


def orjson_text(value: Any) -> str:
    """JSON of a tree; what JSON cannot hold is not a body."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return "{}"
