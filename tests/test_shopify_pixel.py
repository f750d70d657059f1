"""`tagway init --shopify`: the custom pixel run in Node against a sandbox like Shopify's, and what comes of its hits."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.clock import FrozenClock
from gateway.config.load import load
from gateway.setup import shopify
from tests.cli_kit import tagway
from tests.gateway_kit import running
from tests.hook_kit import CART, ORDER_ID, SOURCES, TOKEN, hook
from tests.needs import missing

NODE = shutil.which("node")
SANDBOX = Path(__file__).parent / "clients" / "shopify_sandbox.cjs"
CODE = shopify.pixel("t.shop.example", "/m/e", "wk_shop")
ALLOWED = {
    "marketingAllowed": True,
    "analyticsProcessingAllowed": True,
    "preferencesProcessingAllowed": True,
    "saleOfDataAllowed": True,
}
REFUSED = dict.fromkeys(ALLOWED, False)
COOKIES = {
    "_fbp": "fb.1.1795514300000.1098115397",
    "_fbc": "fb.1.1795514300000.AbCd",
    "_ga": "GA1.1.1098115397.1795514300",
    "_ga_TEST12345": "GS2.1.s1795514300$o3$g1$t1795514390",
    "cart": f"{CART}?key=0123",
}
CONTEXT = {
    "document": {"location": {"href": "https://shop.example/checkouts/cn/1"}, "title": "Checkout", "referrer": "https://shop.example/cart"},
    "navigator": {"language": "de-DE", "userAgent": "Mozilla/5.0 (iPhone)"},
    "window": {"innerWidth": 390, "innerHeight": 700, "screen": {"width": 390, "height": 844}},
}  # fmt: skip
VARIANT = {
    "id": "gid://shopify/ProductVariant/447654529",
    "sku": "SKU-1",
    "title": "38",
    "price": {"amount": 39.9, "currencyCode": "EUR"},
    "product": {"id": "632910392", "title": "Red shoe", "vendor": "Acme", "type": "Shoes"},
}
CHECKOUT = {
    "token": TOKEN,
    "currencyCode": "EUR",
    "email": "ada@shop.example",
    "totalPrice": {"amount": 98.2, "currencyCode": "EUR"},
    "totalTax": {"amount": 13.5, "currencyCode": "EUR"},
    "shippingLine": {"price": {"amount": 4.9, "currencyCode": "EUR"}},
    "discountApplications": [{"type": "DISCOUNT_CODE", "title": "SUMMER"}, {"type": "AUTOMATIC", "title": "Sale"}],
    "billingAddress": {"firstName": "Ada", "lastName": "Byron", "address1": "Hauptstr. 5", "city": "Berlin", "zip": "10115",
                       "provinceCode": "BE", "countryCode": "DE", "phone": "+4915112345678"},
    "lineItems": [{"title": "Red shoe", "quantity": 2, "variant": VARIANT}],
    "order": {"id": f"gid://shopify/OrderIdentity/{ORDER_ID}", "customer": {"id": "207119551"}},
}  # fmt: skip
LINE = {"cartLine": {"quantity": 2, "merchandise": VARIANT, "cost": {"totalAmount": {"amount": 79.8, "currencyCode": "EUR"}}}}


def step(name: str, data: Any = None) -> dict[str, Any]:
    """One event of the shop."""
    event = {"id": f"sh-{name}", "clientId": "shopify-client", "timestamp": "2026-11-24T10:00:00.000Z", "context": CONTEXT}
    return {"event": name, "with": {**event, "data": data or {}}}


STORY = [
    step("page_viewed"),
    step("product_viewed", {"productVariant": VARIANT}),
    step("product_added_to_cart", LINE),
    step("checkout_started", {"checkout": {**CHECKOUT, "order": None}}),
    step("payment_info_submitted", {"checkout": {**CHECKOUT, "order": None}}),
    step("checkout_completed", {"checkout": CHECKOUT}),
]


def play(*steps: dict[str, Any], code: str = CODE, privacy: Any = ALLOWED, **scene: Any) -> dict[str, Any]:
    """Run the pixel; `sent` are the bodies of its requests."""
    if NODE is None:
        missing("node is missing, so the custom pixel is not run: apt-get install nodejs")
    init = {"customerPrivacy": privacy, "data": {"customer": None, "shop": {}}, "context": CONTEXT}
    given = {"pixel": code, "cookies": COOKIES, "init": init, "steps": steps, **scene}
    done = subprocess.run([NODE, str(SANDBOX)], input=json.dumps(given), capture_output=True, text=True, check=True, timeout=30)
    told: dict[str, Any] = json.loads(done.stdout)
    told["sent"] = [json.loads(request["body"]) for request in told["requests"]]
    return told


def test_every_event_of_the_way_to_an_order_is_sent() -> None:
    told = play(*STORY)
    assert [event["name"] for event in told["sent"]] == [
        "page_view",
        "view_item",
        "add_to_cart",
        "begin_checkout",
        "add_payment_info",
        "purchase",
    ]
    assert told["subscribed"] == [one["event"] for one in STORY]
    assert told["warnings"] == []


def test_a_request_needs_no_preflight_and_outlives_the_page() -> None:
    [request] = play(STORY[0])["requests"]
    assert request["url"] == "https://t.shop.example/m/e?k=wk_shop"
    assert (request["method"], request["mode"], request["keepalive"]) == ("POST", "no-cors", True)
    assert (request["credentials"], request["headers"]) == ("omit", {"Content-Type": "text/plain"})


def test_ids_are_those_that_the_webhooks_give() -> None:
    sent = {event["name"]: event for event in play(*STORY)["sent"]}
    assert sent["purchase"]["id"] == sent["purchase"]["props"]["transaction_id"] == str(ORDER_ID)
    assert sent["begin_checkout"]["id"] == TOKEN
    assert sent["page_view"]["id"] == "sh-page_viewed"
    assert {sent[name]["props"]["checkout_token"] for name in ("begin_checkout", "add_payment_info", "purchase")} == {TOKEN}
    assert sent["add_to_cart"]["props"]["cart_token"] == CART


@pytest.mark.parametrize(
    "given", [ORDER_ID, str(ORDER_ID), f"gid://shopify/Order/{ORDER_ID}", f"gid://shopify/Order/{ORDER_ID}?k=1"]
)
def test_an_order_id_is_its_number_however_it_is_written(given: Any) -> None:
    [event] = play(step("checkout_completed", {"checkout": {**CHECKOUT, "order": {"id": given}}}))["sent"]
    assert event["id"] == str(ORDER_ID)


def test_a_purchase_says_what_the_shop_knows() -> None:
    event = play(STORY[-1])["sent"][0]
    assert event["props"] == {
        "transaction_id": str(ORDER_ID), "checkout_token": TOKEN, "cart_token": CART, "value": 98.2, "currency": "EUR",
        "tax": 13.5, "shipping": 4.9, "coupon": "SUMMER",
    }  # fmt: skip
    assert event["items"] == [
        {"id": "447654529", "name": "Red shoe", "brand": "Acme", "category": "Shoes", "variant": "38", "price": 39.9,
         "quantity": 2, "sku": "SKU-1", "product_id": "632910392"},
    ]  # fmt: skip
    assert event["ids"] == {"fbp": COOKIES["_fbp"], "fbc": COOKIES["_fbc"], "ga_client_id": "1098115397.1795514300"}
    assert event["user"]["email"] == "ada@shop.example"
    assert event["page"]["url"] == "https://shop.example/checkouts/cn/1"
    assert event["device"]["screen_height"] == 844


def test_what_the_visitor_allows_goes_with_each_hit() -> None:
    told = play(STORY[0], {"consent": REFUSED}, STORY[0], {"consent": ALLOWED}, STORY[0], privacy=ALLOWED)
    marketing = [event["consent"]["ad_storage"] for event in told["sent"]]
    assert marketing == ["granted", "denied", "granted"]
    assert [event["consent"]["explicit"] for event in told["sent"]] == [False, True, True]
    assert [event["consent"]["sale_opt_out"] for event in told["sent"]] == [False, True, False]


def test_who_refuses_is_not_read() -> None:
    told = play(*STORY, privacy=REFUSED)
    assert set(told["asked"]) == {"cart"}
    for event in told["sent"]:
        assert event["ids"] == {}
        assert "user" not in event
        assert event["consent"]["analytics_storage"] == "denied"
    assert "ada" not in json.dumps(told["sent"])


def test_measuring_alone_reads_no_cookie_of_an_advertiser() -> None:
    told = play(STORY[-1], privacy={**REFUSED, "analyticsProcessingAllowed": True})
    assert set(told["asked"]) == {"cart", "_ga"}
    assert told["sent"][0]["user"] == {"anonymous_id": "shopify-client"}


@pytest.mark.parametrize("privacy", [None, {}])
def test_without_a_word_of_shopify_nothing_is_granted(privacy: Any) -> None:
    event = play(STORY[-1], privacy=privacy)["sent"][0]
    assert "granted" not in json.dumps(event.get("consent", {}))
    assert event["ids"] == {}


def test_the_session_of_analytics_goes_along_where_its_id_is_filled_in() -> None:
    code = CODE.replace('GA4_ID = ""', 'GA4_ID = "G-TEST12345"')
    assert play(STORY[0], code=code)["sent"][0]["ids"]["ga_session_id"] == "1795514300"


def test_a_broken_sandbox_breaks_nothing() -> None:
    told = play({"break": "cookie"}, STORY[-1], {"break": "fetch"}, STORY[0], step("checkout_completed", {}))
    assert [event["name"] for event in told["sent"]] == ["purchase"]
    assert len(told["warnings"]) == 2
    assert len(play(STORY[0], api=False)["sent"]) == 1


async def test_pixel_and_webhook_are_one_order(tmp_path: Path) -> None:
    """The pixel's hits, as a sandboxed frame sends them, then the shop's webhook."""
    bodies = [request["body"] for request in play(*STORY)["requests"]]
    frame = {"Origin": "null", "Content-Type": "text/plain", "User-Agent": "Mozilla/5.0 (iPhone) Safari/605"}
    async with running(tmp_path, {}, sources=SOURCES, clock=FrozenClock(1_795_514_430.0)) as up:
        for body in bodies[:-1]:
            async with up.client.post(f"{up.url}/v1/events?k=wk_shop", data=body, headers=frame) as answer:
                assert answer.status == 200
        path, order, headers = hook("shopify")
        async with up.client.post(up.url + path, data=order, headers=headers) as answer:
            assert answer.status == 200
        async with up.client.post(f"{up.url}/v1/events?k=wk_shop", data=bodies[-1], headers=frame) as answer:
            assert answer.status == 200
        [source] = [one for one in (await up.app.store.audit()).sources if one.source == "shop"]
        assert (source.logged, source.same, source.conflict) == (6, 1, 0)
        [(_, _, found, _)] = await up.app.store.find(str(ORDER_ID))
        event = orjson.loads(found)
        assert event["ids"]["fbp"] == COOKIES["_fbp"]
        assert event["consent"]["ad_storage"] == "granted"
        assert event["raw"]["carried"].startswith("checkout, ")
        metrics = await up.metrics()
        assert "tagway_dropped_fields_total{" not in metrics, "every field of the pixel is used"


# ---------------------------------------------------------------- init


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init_writes_a_shop_that_passes_check(elsewhere: Path) -> None:
    made = tagway("init", "--site", "https://shop.example", "--shopify", "--add", "meta")
    assert made.exit_code == 0, made.stderr
    env = {"SHOPIFY_SECRET": "shpss", "META_PIXEL_ID": "1234567890", "META_ACCESS_TOKEN": "T"}
    checked = tagway("check", env=env)
    assert (checked.exit_code, checked.stderr) == (0, "")
    config = load(Path("configs/gateway.yaml"), env)
    source = config.sources["shop"]
    assert source.null_origin
    assert source.hooks.shopify is not None
    assert source.hooks.shopify.keys == (b"shpss",)
    code = Path("configs/shopify-pixel.js").read_text()
    endpoint = f"https://t.shop.example{config.paths.prefix}/{config.paths.events}?k={source.write_keys[0]}"
    assert f'const ENDPOINT = "{endpoint}";' in code
    assert "SHOPIFY_SECRET=" in Path(".env.example").read_text()


def test_init_prints_the_pixel_and_the_webhooks(elsewhere: Path) -> None:
    made = tagway("init", "--site", "https://shop.example", "--shopify")
    assert 'listen("checkout_completed", "purchase"' in made.stdout
    assert "https://t.shop.example/hooks/shopify/shop" in made.stdout
    assert "orders/create" in made.stdout
    assert "refunds/create" in made.stdout
    assert "SHOPIFY_SECRET" in made.stdout
    assert "<script>" not in made.stdout, "the pixel stands in its place: two would count each page twice"


def test_a_shop_is_added_to_what_is_there(elsewhere: Path) -> None:
    tagway("init", "--site", "https://shop.example")
    made = tagway("init", "--shopify")
    assert made.exit_code == 0, made.stderr
    assert "null_origin: true" in made.stdout
    told = json.loads(tagway("init", "--shopify", "--force", "--json").stdout)
    assert told["pixel"] == Path("configs/shopify-pixel.js").read_text()
    assert told["variables"] == ["SHOPIFY_SECRET"]
    assert tagway("init", "--shopify").exit_code == 1, "nothing is overwritten"


@pytest.mark.parametrize(("yaml", "message"), [
    (None, "name the site with --site"),
    ("sources:\n  a:\n    write_keys: [wk_a]\n  b:\n    write_keys: [wk_b]\n", "name the source with --source: a, b"),
    ("sources:\n  a:\n    write_keys: [wk_a]\n", "sources.a needs hosts and write_keys"),
])  # fmt: skip
def test_what_the_pixel_needs_is_said(elsewhere: Path, yaml: str | None, message: str) -> None:
    if yaml:
        Path("configs").mkdir()
        Path("configs/gateway.yaml").write_text(yaml)
    made = tagway("init", "--shopify")
    assert made.exit_code != 0
    assert message in made.stderr
