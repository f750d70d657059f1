"""Other products' browser libraries, unmodified, on a small shop in Chromium, pointed at a gateway by nothing but its address.

Each is bundled from its npm package into a script of the shop's pages, tells the story of tests/clients/story.py from the first
view to the purchase, and must leave the page without an error. The recipes say what the scripts do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from gateway.lab.server import Lab
from tests.browser_kit import AGENT, BrowserThread, Site, arrived, browser_thread, shop_and_gateway
from tests.client_kit import CLIENTS, node_modules, run
from tests.clients.story import ORDER, PRODUCTS, TRAITS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FOLDER = CLIENTS / "browser"
PATHS = ("/", "/cart", "/checkout", "/thanks")
STEPS = ["view_item", "add_to_cart", "begin_checkout", "purchase"]
COOKIES = {
    "_ga": "GA1.1.1098115397.1795514300",
    "_ga_ABC1234567": "GS2.1.s1795514300$o3$g0$t1795514300$j60$l0$h0",
    "_fbp": "fb.1.1795514300000.1234567890",
}
CHOICE = {"_tw_consent": "v1.gggg.1795514000.e"}
"""The visitor's own choice, as a cookie that goes with each hit."""
NOBODY_ASKS = "    consent:\n      unknown: jurisdiction\n      jurisdiction: none\n"
STORY = {"ORDER": ORDER, "PRODUCTS": PRODUCTS, "TRAITS": TRAITS}


@pytest.fixture(scope="module")
def chrome() -> Iterator[BrowserThread]:
    with browser_thread() as thread:
        yield thread


async def bundled(client: str) -> str:
    """The script of the shop's pages with the library in it."""
    modules = await node_modules(FOLDER)
    options = ("--bundle", "--format=esm", "--target=es2022", "--log-level=error", "--main-fields=module,main")
    return await run(str(modules / ".bin" / "esbuild"), str(FOLDER / f"{client}.js"), *options, NODE_PATH=str(modules))


def shop(one: Site, script: str) -> None:
    """Four pages that carry it."""
    told = {"host": f"t.shop.example:{one.gateway_port}", "key": "wk_shop", "measurement": "G-TEST12345", "story": STORY}
    one.pages["/script.js"] = script
    for path in PATHS:
        one.pages[path] = (
            f"<!doctype html><title>Cup</title><link rel=icon href='data:,'><script>window.shop = {json.dumps(told)}</script>"
            "<script type=module src=/script.js></script><h1>Cup</h1>"
        )


def buy(browser: Browser, one: Site, cookies: dict[str, str]) -> list[str]:
    """From page to page; the ids that the library told, and what the page asked of others or complained of is an error."""
    context = browser.new_context(user_agent=AGENT)
    context.add_cookies([{"name": n, "value": v, "domain": ".shop.example", "path": "/"} for n, v in cookies.items()])
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: None if ".example:" in asked.url or asked.url == "data:," else faults.append(asked.url))
    ids = []
    for path in PATHS:
        page.goto(one.url + path)
        page.wait_for_function("window.done")
        ids.append(str(page.evaluate("window.done")))
        page.wait_for_timeout(300)
    context.close()
    assert faults == []
    return ids


async def settled(one: Site, lab: Lab) -> dict[str, dict[str, Any]]:
    """The canonical events by name, once the purchase is there; those of each page come once per page."""
    assert one.gateway
    for _ in range(50):
        await one.gateway.idle()
        found = {event["name"]: event for event in arrived(lab)}
        if set(STEPS) <= set(found):
            break
        await asyncio.sleep(0.1)
    steps = [event["name"] for event in arrived(lab) if event["name"] in STEPS]
    assert sorted(steps) == sorted(STEPS)
    assert [event["name"] for event in arrived(lab)].count("page_view") == len(PATHS)
    return found


def check_purchase(event: dict[str, Any], dialect: str, *, with_cookies: bool = True) -> None:
    """The order of the story in canonical fields, and what a browser's own request says, cookies where they came with it."""
    assert event["dialect"] == dialect
    told = {"value": 47.4, "currency": "EUR", "transaction_id": "o-1", "tax": 6.4, "shipping": 4.9}
    assert {key: event["props"][key] for key in told} == told
    items = [{key: item.get(key) for key in ("id", "name", "category", "price", "quantity")} for item in event["items"]]
    assert items == [
        {"id": one["product_id"], **{key: value for key, value in one.items() if key != "product_id"}} for one in PRODUCTS
    ]
    assert event["user"]["id"] == "u-1"
    assert event["page"]["url"].endswith("/thanks")
    if dialect != "snowplow":  # whose tracker says it on page views alone
        assert event["page"]["title"] == "Cup"
    assert event["device"]["user_agent"] == AGENT
    assert event.get("ids", {}).get("fbp") == (COOKIES["_fbp"] if with_cookies else None)


def check_vendors(lab: Lab, event: dict[str, Any], *, with_cookies: bool = True) -> None:
    """What Meta, TikTok and GA4 were sent of it; GA4 takes nobody without a client id."""
    [meta] = [entry for entry in lab.inbox("meta") if entry.name == "Purchase"]
    assert (meta.accepted, meta.id) == (True, event["id"])
    custom = meta.payload["custom_data"]
    assert (custom["value"], custom["currency"], custom["order_id"]) == (47.4, "EUR", "o-1")
    assert [content["id"] for content in custom["contents"]] == ["sku-1", "sku-2"]
    assert meta.payload["user_data"].get("fbp") == (COOKIES["_fbp"] if with_cookies else None)
    assert [entry.id for entry in lab.inbox("tiktok") if entry.name == "Purchase"] == [event["id"]]
    for vendor in ("meta", "tiktok", "ga4"):
        assert all(entry.accepted for entry in lab.inbox(vendor)), vendor


def check_ga4(lab: Lab) -> None:
    """As Measurement Protocol; of the visitor whose `_ga` cookie came with the hit."""
    [ga4] = [entry.payload for entry in lab.inbox("ga4") if entry.name == "purchase"]
    assert (ga4["params"]["value"], ga4["params"]["transaction_id"]) == (47.4, "o-1")


async def test_segments_browser_library_speaks_to_the_gateway(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, await bundled("segment"))
        ids = await chrome(buy, one, COOKIES)
        events = await settled(one, lab)
        bought = events["purchase"]
        check_purchase(bought, "segment")
        check_vendors(lab, bought)
        check_ga4(lab)
        assert bought["id"] == ids[-1]
        assert bought["ids"]["ga_client_id"] == "1098115397.1795514300"
        assert bought["consent"]["ad_storage"] == "granted"
        assert events["identify"]["user"]["traits"]["plan"] == "gold"
        assert events["page_view"]["user"]["anonymous_id"]


async def test_snowplows_browser_tracker_speaks_to_the_gateway(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, await bundled("snowplow"))
        await chrome(buy, one, {**COOKIES, **CHOICE})
        events = await settled(one, lab)
        bought = events["purchase"]
        check_purchase(bought, "snowplow")
        check_vendors(lab, bought)
        check_ga4(lab)
        assert [source["name"] for source in bought["consent"]["sources"]] == ["_tw_consent"]
        assert bought["ids"]["snowplow_domain_userid"]


async def test_rudderstacks_browser_library_speaks_to_the_gateway(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, await bundled("rudder"))
        await chrome(buy, one, COOKIES)
        events = await settled(one, lab)
        bought = events["purchase"]
        check_purchase(bought, "segment", with_cookies=False)
        check_vendors(lab, bought, with_cookies=False)
        assert bought["id"] == "o-1"
        assert bought["consent"]["ad_storage"] == "granted", "what the page allowed as RudderStack says it"
        assert "referrer" not in events["view_item"]["page"]
        assert events["identify"]["user"]["traits"]["plan"] == "gold"


async def test_a_small_client_of_ga4_speaks_to_the_gateway(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    """Under the default role the page sends to Google too: the hit goes to the others alone."""
    async with shop_and_gateway(tmp_path, lab, source=NOBODY_ASKS) as one:
        shop(one, await bundled("ga4"))
        await chrome(buy, one, COOKIES)
        events = await settled(one, lab)
        bought = events["purchase"]
        check_purchase(bought, "ga4")
        check_vendors(lab, bought)
        assert bought["id"] == "o-1"
        assert bought["ids"]["ga_measurement_id"] == "G-TEST12345"
        assert lab.inbox("ga4") == []
        assert one.gateway
        assert set(await one.gateway.outcomes("ga4")) == {"skipped{loop}"}
