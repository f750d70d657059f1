"""Contexts of checkouts: the table in the store, and the pure rules of what is carried."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import checkout
from gateway.clock import FrozenClock
from gateway.outcomes import Receipt
from gateway.queue import contexts
from gateway.queue.base import CONTEXT_AGE, Context, NewEvent
from gateway.queue.sqlite import SqliteStore
from tests.store_kit import new_store, opened

SALT = b"s" * 32
KEY = b"k" * 16


def event(event_id: str, key: bytes = KEY, body: bytes = b'{"ids":{}}', received: float = 1_795_514_400.0) -> NewEvent:
    return NewEvent("shop", "p", "custom", event_id, b"{}", received, True, b"12345678", (Context(key, body),))


# ---------------------------------------------------------------- the table


async def test_a_context_is_there_once_its_hit_is_stored(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append([event("a")])
        assert store.contexts([KEY, b"another"], 0.0) == {KEY: Context(KEY, b'{"ids":{}}', 1_795_514_400.0)}
        assert store.contexts([KEY], 1_795_514_400.5) == {}


async def test_the_last_hit_counts_be_it_a_repeat_or_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append([event("a"), event("b", body=b"2")])
        assert await store.append([event("a", body=b"3", received=1_795_514_401.0)]) == [Receipt.SAME]
        assert store.contexts([KEY], 0.0)[KEY][1:] == (b"3", 1_795_514_401.0)


async def test_contexts_outlive_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append([event("a")])
    async with opened(tmp_path) as store:
        assert KEY in store.contexts([KEY], 0.0)


async def test_a_store_of_the_version_before_gets_the_table(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append([event("a")])
    connection = sqlite3.connect(tmp_path / "tagway.db")
    connection.executescript("drop table context; pragma user_version=1;")
    connection.close()
    async with opened(tmp_path) as store:
        assert store.contexts([KEY], 0.0) == {}
        await store.append([event("b")])
        assert KEY in store.contexts([KEY], 0.0)
        assert [row[1] for row in await store.find("a")] == [1]


async def _aged(folder: Path, age: float, **options: Any) -> dict[bytes, Context]:
    clock = FrozenClock(1_795_514_400.0)
    store: SqliteStore = new_store(folder, clock=clock, **options)
    await store.open()
    try:
        await store.append([event("a")])
        clock.advance(age)
        await store.retain()
        return dict(store.contexts([KEY], 0.0))
    finally:
        await store.close()


@pytest.mark.parametrize(("age", "options", "kept"), [
    (CONTEXT_AGE - 1, {}, True),
    (CONTEXT_AGE + 1, {}, False),
    (3500.0, {"personal": 3600.0}, True),
    (3700.0, {"personal": 3600.0}, False),
])  # fmt: skip
async def test_contexts_go_after_48_hours_or_with_other_personal_data(
    tmp_path: Path, age: float, options: dict[str, Any], kept: bool
) -> None:
    assert (KEY in await _aged(tmp_path, age, **options)) is kept


async def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        keys = [b"%d" % n for n in range(7)]
        await store.append([event(str(n), key) for n, key in enumerate(keys)])
        gone = await store._writer.submit(contexts.forget, 0.0, 3)
        assert gone == 4
        assert sorted(store.contexts(keys, 0.0)) == keys[4:]


async def test_a_person_is_found_by_ids_inside_a_context_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append([event("a", body=b'{"user":{"anonymous_id":"x-1"}}'), event("b", b"other")])
        await store.erase(frozenset(), [("user", "anonymous_id", "x-1")])
        assert list(store.contexts([KEY, b"other"], 0.0)) == [b"other"]


# ---------------------------------------------------------------- keys and tokens

ORDER = {"id": "o-1", "name": "purchase", "props": {"transaction_id": "o-1", "checkout_token": "t"}, "raw": {"cart_token": "c"}}


def test_an_event_has_a_key_for_each_of_its_names() -> None:
    assert [key.kind for key in checkout.keys(SALT, "shop", ORDER)] == ["order", "checkout", "cart"]
    assert checkout.keys(SALT, "shop", {"props": {"transaction_id": "", "checkout_token": 5}}) == ()
    assert checkout.keys(SALT, "shop", {"props": {"checkout_token": "x" * 513}}) == ()


def test_a_key_is_of_one_store_one_source_and_one_kind() -> None:
    made = {
        checkout.keys(salt, source, {"props": {name: "1"}})[0].digest
        for salt in (SALT, b"t" * 32)
        for source in ("shop", "other")
        for name in ("transaction_id", "checkout_token", "cart_token")
    }
    assert len(made) == 12


def test_tokens_are_taken_out_and_nothing_else() -> None:
    assert checkout.without_tokens(ORDER) == {"id": "o-1", "name": "purchase", "props": {"transaction_id": "o-1"}}
    assert ORDER["raw"] == {"cart_token": "c"}, "the given event is not changed"
    plain = {"props": {"value": 1}}
    assert checkout.without_tokens(plain) is plain


# ---------------------------------------------------------------- what is carried

BROWSER: dict[str, Any] = {
    "name": "begin_checkout",
    "user": {"id": "u", "email": "Ada@shop.example ", "anonymous_id": "a-1"},
    "ids": {"fbp": "fb.1.1.1", "gclid": "of-the-cookie"},
    "page": {"url": "https://shop.example/checkout", "title": "Checkout"},
    "device": {"ip": "203.0.113.7", "user_agent": "Agent/1"},
    "session": {"id": "1"},
    "geo": {"country": "DE"},
    "props": {"value": 5},
    "consent": {
        "ad_storage": "granted",
        "analytics_storage": "denied",
        "functional": "unknown",
        "sale_opt_out": True,
        "sources": [
            {"name": "event", "explicit": True, "purposes": ["ad_storage"]},
            {"name": "gcd default", "explicit": False, "purposes": ["analytics_storage"]},
        ],
    },
}


def carried(kind: str = "checkout", order: dict[str, Any] | None = None, browser: dict[str, Any] = BROWSER) -> Any:
    """What an order takes over from a hit that named the same thing."""
    named = (checkout.Key(kind, KEY),)
    left = {context.key: context._replace(at=100.0) for context in checkout.contexts(SALT, named, browser)}
    return checkout.choose(SALT, named, left, order or {})


def test_props_names_and_addresses_stay_behind() -> None:
    [context] = checkout.contexts(SALT, [checkout.Key("order", KEY)], BROWSER)
    assert b"ada" not in context.body.lower()
    assert orjson.loads(context.body).keys() == {"ids", "session", "device", "geo", "page", "user", "consent", "who"}
    assert orjson.loads(context.body)["user"] == {"anonymous_id": "a-1"}


def test_a_huge_context_is_not_kept() -> None:
    assert checkout.contexts(SALT, [checkout.Key("order", KEY)], {"ids": {"x": "y" * 9000}}) == ()


def test_an_order_takes_what_it_lacks() -> None:
    order = {
        "user": {"email": "ada@shop.example"},
        "ids": {"fbp": "own"},
        "device": {"ip": "198.51.100.1"},
        "raw": {"topic": "t"},
    }
    filled = checkout.fill(order, carried(order=order), 160.0)
    assert filled["ids"] == {"fbp": "own", "gclid": "of-the-cookie"}
    assert filled["device"] == {"ip": "198.51.100.1", "user_agent": "Agent/1"}
    assert filled["user"] == {"email": "ada@shop.example", "anonymous_id": "a-1"}
    assert filled["page"] == BROWSER["page"]
    assert filled["raw"] == {"topic": "t", "carried": "checkout, 60 s before"}
    assert order["ids"] == {"fbp": "own"}, "the given event is not changed"


def test_a_landing_page_says_only_what_the_browser_did_not() -> None:
    order = {
        "page": {"url": "https://shop.example/?gclid=older&ttclid=tt&utm_source=news", "referrer": "https://news.example/"}
    }
    filled = checkout.fill(order, carried(order=order), 100.0)
    assert filled["ids"] == {"fbp": "fb.1.1.1", "gclid": "of-the-cookie", "ttclid": "tt"}
    assert filled["campaign"] == {"source": "news"}
    assert filled["page"] == {**BROWSER["page"], "referrer": "https://news.example/"}


def test_consent_is_carried_as_it_was_decided() -> None:
    chosen, default = checkout.signals(carried())
    assert (chosen.name, chosen.choices, chosen.explicit, chosen.opt_out) == ("checkout", {"ad_storage": "granted"}, True, True)
    assert (default.name, default.choices, default.explicit) == ("checkout default", {"analytics_storage": "denied"}, False)


def test_a_context_without_consent_is_no_signal() -> None:
    assert checkout.signals(carried(browser={"ids": {"fbp": "x"}})) == ()


@pytest.mark.parametrize(("kind", "email", "taken"), [
    ("cart", "eve@shop.example", False),
    ("cart", ["eve@shop.example", "ADA@shop.example"], True),
    ("cart", None, True),
    ("checkout", "eve@shop.example", True),
    ("order", "eve@shop.example", True),
])  # fmt: skip
def test_only_a_cart_may_have_changed_hands(kind: str, email: Any, taken: bool) -> None:
    assert (carried(kind, {"user": {"email": email}} if email else {}) is not None) is taken


def test_the_latest_context_counts_and_of_one_time_the_narrowest() -> None:
    named = (checkout.Key("order", b"1"), checkout.Key("checkout", b"2"), checkout.Key("cart", b"3"))
    found = {key: Context(key, b"{}", at) for key, at in ((b"1", 5.0), (b"2", 9.0), (b"3", 9.0))}
    best = checkout.choose(SALT, named, found, {})
    assert best is not None
    assert best.kind == "checkout"
    assert checkout.choose(SALT, named, {}, {}) is None
