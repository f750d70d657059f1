"""Shops' webhooks over a real gateway: who may speak, what is answered, and one order told by browser and shop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.clock import FrozenClock
from tests.cli_kit import tagway
from tests.gateway_kit import GRANTED, Running, running, write_files
from tests.hook_kit import CART, OLD, ORDER_ID, SECRETS, SOURCES, TOKEN, hook, shopify_order, signed, stripe_event, woo_order

NOW = 1_795_514_430.0
SHOPS = tuple(SECRETS)
DRY = {
    "webhook": "type: webhook\nsources: [shop]\nmode: dry_run\nsettings:\n  url: http://127.0.0.1:9\n  secret: s\n"
    "consent:\n  requires: [ad_storage]\n"
}
FRAME = {"Origin": "null", "User-Agent": "Mozilla/5.0 (iPhone) Safari/605"}


@asynccontextmanager
async def gateway(folder: Path, destinations: Mapping[str, str] | None = None) -> AsyncIterator[tuple[Running, FrozenClock]]:
    """A gateway that takes all three shops' webhooks, at NOW."""
    clock = FrozenClock(NOW)
    async with running(folder, destinations or {}, sources=SOURCES, clock=clock) as up:
        yield up, clock


async def post(up: Running, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    async with up.client.post(up.url + path, data=body, headers={"Content-Type": "application/json", **headers}) as answer:
        return answer.status, await answer.json()


def stored(up: Running) -> list[dict[str, Any]]:
    """Every event of the log, as committed."""
    connection = sqlite3.connect(f"file:{up.folder / 'data' / 'tagway.db'}?mode=ro", uri=True)
    try:
        return [orjson.loads(body) for (body,) in connection.execute("select body from log order by id")]
    finally:
        connection.close()


# ---------------------------------------------------------------- who speaks


@pytest.mark.parametrize("shop", SHOPS)
async def test_a_signed_order_is_on_disk_when_it_is_answered(tmp_path: Path, shop: str) -> None:
    async with gateway(tmp_path) as (up, _):
        status, told = await post(up, *hook(shop, at=NOW))
        assert status == 200
        [event] = stored(up)
        assert told["ids"] == [event["id"]]
        assert (event["name"], event["dialect"], event["source"]) == ("purchase", shop, "shop")
        assert (event["props"]["value"], event["props"]["currency"]) == (98.2, "EUR")
        assert event["user"]["email"] == "ada@shop.example"
        assert f'tagway_events_received_total{{dialect="{shop}",source="shop"}} 1.0' in await up.metrics()


@pytest.mark.parametrize("shop", SHOPS)
async def test_an_order_that_the_old_secret_signed_is_taken_too(tmp_path: Path, shop: str) -> None:
    async with gateway(tmp_path) as (up, _):
        assert (await post(up, *hook(shop, secret=OLD, at=NOW)))[0] == 200


def _without(name: str) -> Any:
    return lambda headers, body: ({key: value for key, value in headers.items() if key != name}, body)


def _with(name: str, value: str) -> Any:
    return lambda headers, body: ({**headers, name: value}, body)


BAD: dict[str, tuple[str, Any]] = {
    "shopify: no signature": ("shopify", _without("X-Shopify-Hmac-Sha256")),
    "shopify: not base64": ("shopify", _with("X-Shopify-Hmac-Sha256", "%%%")),
    "shopify: empty": ("shopify", _with("X-Shopify-Hmac-Sha256", "")),
    "shopify: hex in the place of base64": ("shopify", _with("X-Shopify-Hmac-Sha256", "ab" * 32)),
    "shopify: another body": ("shopify", lambda headers, body: (headers, body.replace(b"98.20", b"98.21"))),
    "shopify: a blank more": ("shopify", lambda headers, body: (headers, body + b" ")),
    "shopify: another shop's secret": ("shopify", lambda _, body: (signed("shopify", body, secret=SECRETS["stripe"]), body)),
    "woocommerce: no signature": ("woocommerce", _without("X-WC-Webhook-Signature")),
    "woocommerce: another body": ("woocommerce", lambda headers, body: (headers, body.replace(b"1842", b"1843"))),
    "woocommerce: an order in a ping's clothes": ("woocommerce", lambda _, body: ({}, b"webhook_id=3&" + body)),
    "stripe: no signature": ("stripe", _without("Stripe-Signature")),
    "stripe: no time": ("stripe", lambda headers, body: (_stripe_timeless(headers), body)),
    "stripe: a time that is none": ("stripe", lambda headers, body: (_stripe_time(headers, "soon"), body)),
    "stripe: another time than was signed": ("stripe", lambda headers, body: (_stripe_time(headers, str(int(NOW) - 1)), body)),
    "stripe: six minutes old": ("stripe", lambda _, body: (signed("stripe", body, at=NOW - 360), body)),
    "stripe: six minutes ahead": ("stripe", lambda _, body: (signed("stripe", body, at=NOW + 360), body)),
    "stripe: only a scheme that is not read": ("stripe", lambda headers, body: (_stripe_scheme(headers), body)),
    "stripe: a signature that is not hex": ("stripe", _with("Stripe-Signature", f"t={int(NOW)},v1=zz")),
}  # fmt: skip


def _stripe_time(headers: Mapping[str, str], time: str) -> dict[str, str]:
    return {"Stripe-Signature": f"t={time},{headers['Stripe-Signature'].split(',', 1)[1]}"}


def _stripe_timeless(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Stripe-Signature": headers["Stripe-Signature"].split(",", 1)[1]}


def _stripe_scheme(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Stripe-Signature": headers["Stripe-Signature"].split(",v0=")[0].replace("v1=", "v0=")}


@pytest.mark.parametrize(("shop", "spoil"), BAD.values(), ids=BAD.keys())
async def test_what_is_not_signed_is_refused_and_not_stored(tmp_path: Path, shop: str, spoil: Any) -> None:
    async with gateway(tmp_path) as (up, _):
        path, body, headers = hook(shop, at=NOW)
        headers, body = spoil(headers, body)
        status, told = await post(up, path, body, headers)
        assert (status, told["error"]) == (401, "signature")
        assert stored(up) == []
        assert f'tagway_refused_total{{reason="signature",route="/hooks/{shop}/{{source}}"}} 1.0' in await up.metrics()


@pytest.mark.parametrize("age", [-299, 0, 299])
async def test_a_stripe_signature_holds_for_five_minutes(tmp_path: Path, age: int) -> None:
    async with gateway(tmp_path) as (up, _):
        assert (await post(up, *hook("stripe", at=NOW - age)))[0] == 200


async def test_a_stripe_signature_that_is_played_again_later_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, clock):
        once = hook("stripe", at=NOW)
        assert (await post(up, *once))[0] == 200
        clock.advance(301)
        assert (await post(up, *once))[0] == 401


async def test_any_of_several_stripe_signatures_will_do(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        path, body, headers = hook("stripe", at=NOW)
        good = headers["Stripe-Signature"].split(",")
        headers = {"Stripe-Signature": ",".join([good[0], "v1=" + "00" * 32, good[1]])}
        assert (await post(up, path, body, headers))[0] == 200


@pytest.mark.parametrize("path", ["/hooks/shopify/nobody", "/hooks/stripe/other", "/hooks/woocommerce/..", "/hooks/shopify/"])
async def test_a_source_without_that_shop_is_not_found(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path) as (up, _):
        _, body, headers = hook("shopify")
        assert (await post(up, path, body, headers))[0] == 404


async def test_a_source_is_proved_by_its_own_secret_alone(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        _, body, headers = hook("shopify")
        assert (await post(up, "/hooks/shopify/other", body, headers))[0] == 401
        assert (await post(up, "/hooks/shopify/other", body, {**headers, "X-Write-Key": "wk_shop"}))[0] == 401
        assert (await post(up, "/hooks/shopify/other", body, signed("shopify", body, secret="another-secret")))[0] == 200
        assert [event["source"] for event in stored(up)] == ["other"]


# ---------------------------------------------------------------- what is answered


@pytest.mark.parametrize("shop", SHOPS)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'"text"', b"null", b"{}", b'{"id":null}', b"\xff"])
async def test_a_signed_body_that_is_no_order_is_the_shops_mistake(tmp_path: Path, shop: str, body: bytes) -> None:
    async with gateway(tmp_path) as (up, _):
        status, told = await post(up, f"/hooks/{shop}/shop", body, signed(shop, body, at=NOW))
        assert (status, told["error"]) == (400, "malformed")
        assert stored(up) == []


async def test_a_body_over_the_limit_is_refused_before_it_is_signed(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        path, body, headers = hook("shopify", shopify_order(note="x" * 600_000))
        assert (await post(up, path, body, headers))[0] == 413


async def test_depth_is_bounded(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        body = b'{"id":1,"a":' + b"[" * 40 + b"]" * 40 + b"}"
        assert (await post(up, "/hooks/shopify/shop", body, signed("shopify", body)))[0] == 400


IGNORED: dict[str, tuple[str, Any, str]] = {
    "a topic that is no event": ("shopify", shopify_order(), "products/update"),
    "a privacy request": ("shopify", {"shop_id": 1, "customer": {"id": 1}}, "customers/redact"),
    "an order paid three days after it was made": ("shopify", shopify_order(created_at="2026-11-21T10:00:00Z"), "orders/paid"),
    "an order that waits for its payment": ("woocommerce", woo_order(status="pending"), "order.created"),
    "an old order that was touched": ("woocommerce", woo_order(date_created_gmt="2026-11-20T10:00:00"), "order.updated"),
    "an order that was deleted": ("woocommerce", {"id": 1842}, "order.deleted"),
    "a session that is not paid": ("stripe", stripe_event(payment_status="unpaid"), ""),
    "a type that is no event": ("stripe", stripe_event("customer.created"), ""),
}


@pytest.mark.parametrize(("shop", "order", "topic"), IGNORED.values(), ids=IGNORED.keys())
async def test_what_is_no_event_is_answered_and_counted(tmp_path: Path, shop: str, order: Any, topic: str) -> None:
    async with gateway(tmp_path) as (up, _):
        status, told = await post(up, *hook(shop, order, topic=topic, at=NOW))
        assert (status, told) == (200, {"accepted": 0, "ids": [], "rejected": []})
        assert stored(up) == []
        assert (
            f'tagway_ignored_total{{reason="no_event",route="/hooks/{shop}/{{source}}",source="shop"}} 1.0'
            in await up.metrics()
        )


async def test_the_unsigned_ping_of_woocommerce_is_answered(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await post(up, "/hooks/woocommerce/shop", b"webhook_id=3", headers))[0] == 200
        assert (await post(up, "/hooks/shopify/shop", b"webhook_id=3", headers))[0] == 401
        assert stored(up) == []


async def test_an_order_sent_again_is_answered_and_counted_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        for topic in ("orders/create", "orders/create", "orders/paid"):
            assert (await post(up, *hook("shopify", topic=topic)))[0] == 200
        [source] = [one for one in (await up.app.store.audit()).sources if one.source == "shop"]
        assert (source.logged, source.same, source.conflict) == (1, 2, 0)


async def test_a_hook_is_not_for_browsers(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _), up.client.get(f"{up.url}/hooks/shopify/shop") as answer:
        assert answer.status == 405


# ---------------------------------------------------------------- one order, told twice


def begin(**changes: Any) -> dict[str, Any]:
    """What the custom pixel sends when a checkout starts."""
    event = {
        "name": "begin_checkout",
        "id": TOKEN,
        "user": {"anonymous_id": "shopify-client"},
        "ids": {"fbp": "fb.1.1795514300000.1098115397", "ga_client_id": "1098115397.1795514300", "ga_session_id": "1795514300"},
        "page": {"url": "https://shop.example/checkouts/cn/1", "title": "Checkout"},
        "props": {"checkout_token": TOKEN, "cart_token": CART, "value": 98.2, "currency": "EUR"},
        "consent": GRANTED,
    }
    return {**event, **changes}


def bought(**changes: Any) -> dict[str, Any]:
    """What it sends when the checkout is completed."""
    props = {"transaction_id": str(ORDER_ID), "checkout_token": TOKEN, "value": 98.2, "currency": "EUR"}
    return begin(**{"name": "purchase", "id": str(ORDER_ID), "props": props, **changes})


async def frame(up: Running, event: dict[str, Any]) -> None:
    """A hit of the pixel's sandbox: Origin is null and the key stands in the URL."""
    async with up.client.post(f"{up.url}/v1/events?k=wk_shop", data=orjson.dumps(event), headers=FRAME) as answer:
        assert answer.status == 200, await answer.text()
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_webhook_takes_over_what_the_browser_of_its_checkout_said(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, clock):
        await frame(up, begin())
        clock.advance(60)
        await post(up, *hook("shopify"))
        purchase = stored(up)[-1]
        assert purchase["ids"]["fbp"] == "fb.1.1795514300000.1098115397"
        assert purchase["ids"]["ga_client_id"] == "1098115397.1795514300"
        assert purchase["ids"]["gclid"] == "Cj0KCQiA1234567890abc", "of the landing page"
        assert purchase["campaign"] == {"source": "news"}
        assert purchase["user"]["anonymous_id"] == "shopify-client"
        assert purchase["page"]["url"] == "https://shop.example/checkouts/cn/1"
        assert purchase["device"]["ip"] == "203.0.113.7", "the shop's own word stands first"
        assert {purchase["consent"][purpose] for purpose in GRANTED} == {"granted"}
        assert [source["name"] for source in purchase["consent"]["sources"]] == ["checkout"]
        assert purchase["raw"]["carried"] == "checkout, 60 s before"
        assert TOKEN not in orjson.dumps(stored(up)[-1]).decode()


async def test_the_tokens_of_checkout_and_cart_are_in_no_event(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, begin(id="another"))
        await post(up, *hook("shopify"))
        assert not any(TOKEN in orjson.dumps(event).decode() or CART in orjson.dumps(event).decode() for event in stored(up))


@pytest.mark.parametrize("first", ["browser", "shop"])
async def test_browser_and_shop_are_one_purchase(tmp_path: Path, first: str) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, begin())
        if first == "browser":
            await frame(up, bought())
        await post(up, *hook("shopify"))
        if first == "shop":
            await frame(up, bought())
        purchases = [event for event in stored(up) if event["name"] == "purchase"]
        assert [event["id"] for event in purchases] == [str(ORDER_ID)]
        assert purchases[0]["ids"]["fbp"] == "fb.1.1795514300000.1098115397"
        [source] = [one for one in (await up.app.store.audit()).sources if one.source == "shop"]
        assert (source.same, source.conflict) == (1, 0)


async def test_an_order_of_another_amount_is_kept_as_a_conflict(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, bought(props={"transaction_id": str(ORDER_ID), "value": 1, "currency": "EUR"}))
        await post(up, *hook("shopify"))
        [source] = [one for one in (await up.app.store.audit()).sources if one.source == "shop"]
        assert (source.same, source.conflict) == (0, 1)


@pytest.mark.parametrize(
    ("named", "shop", "order"),
    [
        ({"cart_token": CART}, "shopify", shopify_order()),
        ({"transaction_id": "1842"}, "woocommerce", woo_order()),
        ({"checkout_token": "cs_live_a1b2c3"}, "stripe", stripe_event()),
        ({"transaction_id": "T-1001"}, "stripe", stripe_event()),
    ],
    ids=["cart", "order number", "session", "order of the metadata"],
)
async def test_a_context_is_found_by_what_both_name(tmp_path: Path, named: Any, shop: str, order: Any) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, begin(name="page_view", id="p-1", props=named))
        await post(up, *hook(shop, order, at=NOW))
        assert stored(up)[-1]["ids"]["fbp"] == "fb.1.1795514300000.1098115397"


async def test_a_refund_takes_over_the_client_of_its_order(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, bought())
        refund = {
            "id": 99,
            "order_id": ORDER_ID,
            "created_at": "2026-11-24T10:00:00Z",
            "transactions": [{"kind": "refund", "status": "success", "amount": "10.00", "currency": "EUR"}],
        }
        await post(up, *hook("shopify", refund, topic="refunds/create"))
        event = stored(up)[-1]
        assert (event["name"], event["id"], event["props"]["transaction_id"]) == ("refund", "99", str(ORDER_ID))
        assert event["ids"]["ga_client_id"] == "1098115397.1795514300"


async def test_nothing_is_carried_without_a_hit_of_that_checkout(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, begin(props={"checkout_token": "another", "cart_token": "another"}, id="another"))
        await post(up, *hook("shopify"))
        purchase = stored(up)[-1]
        assert "fbp" not in purchase["ids"]
        assert {purchase["consent"][purpose] for purpose in GRANTED} == {"unknown"}, "a newsletter is no consent"
        assert "carried" not in purchase["raw"]


async def test_nothing_is_carried_from_another_source(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await up.send(begin(), key="wk_other", headers={"Cookie": "a=b"})
        await post(up, *hook("shopify"))
        assert "fbp" not in stored(up)[-1]["ids"]


async def test_a_hit_without_a_browser_leaves_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await up.send(begin())
        await post(up, *hook("shopify"))
        assert "fbp" not in stored(up)[-1]["ids"]


async def test_a_context_is_forgotten_after_48_hours(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, clock):
        await frame(up, begin())
        clock.advance(48 * 3600 + 1)
        order = shopify_order(created_at="2026-11-26T10:00:00Z", processed_at="2026-11-26T10:00:00Z")
        await post(up, *hook("shopify", order))
        assert "fbp" not in stored(up)[-1]["ids"]
        await up.app.store.retain()
        assert _contexts(up) == 0


def _contexts(up: Running) -> int:
    connection = sqlite3.connect(f"file:{up.folder / 'data' / 'tagway.db'}?mode=ro", uri=True)
    try:
        (count,) = connection.execute("select count(*) from context").fetchone()
        return int(count)
    finally:
        connection.close()


async def test_what_a_person_left_is_erased_with_the_person(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, begin(user={"email": "ada@shop.example"}))
        await frame(up, begin(id="2", user={"email": "eve@shop.example"}, props={"checkout_token": "eve"}))
        assert _contexts(up) == 3
        assert await up.app.store.erase(frozenset(), [("user", "email", "ADA@shop.example")]) == 1
        assert _contexts(up) == 1


async def test_a_later_refusal_takes_the_place_of_the_consent(tmp_path: Path) -> None:
    async with gateway(tmp_path, DRY) as (up, clock):
        await frame(up, begin())
        clock.advance(10)
        await frame(up, begin(name="add_payment_info", id="p-2", consent=dict.fromkeys(GRANTED, "denied")))
        await post(up, *hook("shopify"))
        assert stored(up)[-1]["consent"]["ad_storage"] == "denied"
        await up.idle()
        assert (await up.outcomes("webhook"))["skipped{consent}"] == 2


async def test_a_choice_that_the_order_carries_narrows_what_the_browser_said(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, begin())
        note = {"name": "_tw_consent", "value": "v1.dddg.1795514000.e"}
        await post(up, *hook("shopify", shopify_order(note_attributes=[note])))
        consent = stored(up)[-1]["consent"]
        assert (consent["ad_storage"], consent["analytics_storage"]) == ("denied", "granted")
        assert {source["name"] for source in consent["sources"]} == {"event", "checkout"}


async def test_a_withdrawal_after_the_checkout_holds_for_the_webhook(tmp_path: Path) -> None:
    async with gateway(tmp_path, DRY) as (up, clock):
        await frame(up, begin())
        clock.advance(5)
        choice = {"user": {"anonymous_id": "shopify-client"}, "consent": dict.fromkeys(GRANTED, "denied")}
        async with up.client.post(f"{up.url}/v1/consent?k=wk_shop", data=orjson.dumps(choice), headers=FRAME) as answer:
            assert answer.status == 200
        clock.advance(5)
        await post(up, *hook("shopify"))
        assert stored(up)[-1]["consent"]["ad_storage"] == "denied"


async def test_an_opt_out_of_the_browser_holds_for_the_webhook(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        async with up.client.post(
            f"{up.url}/v1/events?k=wk_shop", data=orjson.dumps(begin()), headers={**FRAME, "Sec-GPC": "1"}
        ) as answer:
            assert answer.status == 200
        await post(up, *hook("shopify"))
        assert stored(up)[-1]["consent"]["sale_opt_out"] is True


async def test_a_cart_that_changed_hands_carries_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, begin(name="add_to_cart", id="a-1", user={"email": "eve@shop.example"}, props={"cart_token": CART}))
        await post(up, *hook("shopify"))
        assert "fbp" not in stored(up)[-1]["ids"]


async def test_name_and_address_of_a_context_are_never_carried(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        await frame(up, begin(user={"id": "eve", "email": "eve@shop.example", "first_name": "Eve", "anonymous_id": "a"}))
        await post(up, *hook("shopify", shopify_order(email=None)))
        assert stored(up)[-1]["user"] == {"anonymous_id": "a"}


# ---------------------------------------------------------------- test orders


@pytest.mark.parametrize(("shop", "order"), [
    ("shopify", shopify_order(test=True, note_attributes=[{"name": "ad_storage", "value": "granted"}])),
    ("stripe", {**stripe_event(metadata={"ad_storage": "granted"}), "livemode": False}),
])  # fmt: skip
async def test_a_test_order_goes_to_no_live_destination(tmp_path: Path, shop: str, order: Any) -> None:
    async with gateway(tmp_path, {"webhook": DRY["webhook"].replace("dry_run", "live")}) as (up, _):
        await post(up, *hook(shop, order, at=NOW))
        assert stored(up)[-1]["raw"]["test"] is True
        await up.idle()
        assert await up.outcomes("webhook") == {"skipped{mode}": 1}


async def test_a_sandboxed_frame_speaks_only_where_the_source_takes_it(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        url = f"{up.url}/v1/events?k=wk_other"
        async with up.client.post(url, data=orjson.dumps(begin()), headers=FRAME) as answer:
            assert answer.status == 403


# ---------------------------------------------------------------- clients and files


async def test_woocommerce_speaks_http_1_0(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        path, body, headers = hook("woocommerce")
        host, _, port = up.app.addresses["public"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(
            f"POST {path} HTTP/1.0\r\nHost: t.shop.example\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body
        )
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert len(stored(up)) == 1


def test_a_webhook_in_a_file_is_explained_at_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, DRY, SOURCES)
    body = orjson.dumps(shopify_order())
    told = {}
    for source in ("shop", "nobody"):
        head = f"POST /hooks/shopify/{source} HTTP/1.1\nHost: t.shop.example\nX-Shopify-Topic: orders/create\n\n"
        Path("order.http").write_bytes(head.encode() + body)
        made = tagway("explain", "-c", "gateway.yaml", "--hit", "order.http")
        told[source] = made.stdout + made.stderr
    assert "props.value = 98.2" in told["shop"]
    assert "no such source, or it has no hooks.shopify" in told["nobody"]
