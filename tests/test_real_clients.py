"""Other products' own clients, unmodified, pointed at a gateway by nothing but its address and a key.

Each runs in a process of its own (tests/clients), tells the same story of one visitor and one order, and must hear no
failure; what arrived, what was made of it and what the vendors' emulators were sent is then compared with the story.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.lab.server import Lab
from tests.client_kit import CLIENTS, node_modules, run
from tests.clients.story import CONTEXT, ORDER, PRODUCTS, TRAITS
from tests.gateway_kit import Running, lab_files, running

pytestmark = pytest.mark.slow

MAIL = hashlib.sha256(b"jane@example.com").hexdigest()
NOBODY_ASKS = """\
  shop:
    write_keys: [wk_shop]
    server_keys: [sk_shop]
    consent:
      unknown: jurisdiction
      jurisdiction: none
"""
"""A source where the law asks for no consent: Snowplow's trackers say nothing of it."""


async def speak(client: str, gateway: Running, key: str, *more: str) -> None:
    """Let a Python client tell its story; it must hear of no failure."""
    heard = await run(sys.executable, str(CLIENTS / client), gateway.url, key, *more)
    assert json.loads(heard) == []
    await gateway.idle()


def arrived(lab: Lab) -> dict[str, dict[str, Any]]:
    """The canonical events that the webhook got, by name."""
    found = {entry.payload["name"]: entry.payload for entry in lab.inbox("webhook")}
    assert all(entry.accepted for entry in lab.inbox("webhook"))
    return found


def check_order(event: dict[str, Any]) -> None:
    """The order of the story, in canonical fields, with the visitor that a server speaks for."""
    check_products(event)
    assert event["device"]["ip"] == "203.0.113.7"
    assert event["device"]["user_agent"] == CONTEXT["userAgent"]
    assert event["user"]["id"] == "u-1"


def check_products(event: dict[str, Any]) -> None:
    """What was bought, for how much."""
    assert event["name"] == "purchase"
    told = {"value": 47.4, "currency": "EUR", "transaction_id": "o-1", "tax": 6.4, "shipping": 4.9}
    assert {key: event["props"][key] for key in told} == told
    items = [{key: item.get(key) for key in ("id", "name", "category", "price", "quantity")} for item in event["items"]]
    assert items == [
        {"id": one["product_id"], **{key: value for key, value in one.items() if key != "product_id"}} for one in PRODUCTS
    ]


def check_vendors(lab: Lab, event_id: str) -> None:
    """What Meta, TikTok and GA4 were sent of the order."""
    [meta] = [entry.payload for entry in lab.inbox("meta") if entry.payload["event_name"] == "Purchase"]
    assert meta["event_id"] == event_id
    assert meta["user_data"]["em"] == [MAIL]
    assert meta["user_data"]["client_ip_address"] == "203.0.113.7"
    custom = meta["custom_data"]
    assert (custom["value"], custom["currency"], custom["order_id"]) == (47.4, "EUR", "o-1")
    assert [content["id"] for content in custom["contents"]] == ["sku-1", "sku-2"]
    assert [entry.id for entry in lab.inbox("tiktok") if entry.name == "Purchase"] == [event_id]
    [ga4] = [entry.payload for entry in lab.inbox("ga4") if entry.name == "purchase"]
    assert (ga4["params"]["value"], ga4["params"]["transaction_id"]) == (47.4, "o-1")
    for vendor in ("meta", "tiktok", "ga4"):
        assert all(entry.accepted for entry in lab.inbox(vendor)), vendor


def check_calls(lab: Lab) -> None:
    """All six kinds of call of a Segment library."""
    events = arrived(lab)
    assert set(events) == {"identify", "group", "alias", "page_view", "screen_view", "purchase"}
    assert {event["id"] for event in events.values()} == {
        *("m-identify", "m-group", "m-alias", "m-page", "m-screen", "m-order")
    }
    check_order(events["purchase"])
    check_vendors(lab, "m-order")
    assert events["identify"]["user"]["first_name"] == "Jane"
    assert events["identify"]["user"]["traits"]["plan"] == "gold"
    assert events["group"]["props"]["group_id"] == "g-1"
    assert events["alias"]["props"]["previous_id"] == "old-1"
    assert events["page_view"]["page"]["url"] == CONTEXT["page"]["url"]
    assert events["page_view"]["props"] == {"name": "Cup", "category": "Shop"}
    assert events["screen_view"]["props"]["name"] == "Home"
    assert {event["dialect"] for event in events.values()} == {"segment"}
    assert events["purchase"]["consent"]["ad_storage"] == "granted"


@pytest.mark.parametrize("client", ["segment_python.py", "rudder_python.py"])
async def test_a_python_library_of_segments_kind_speaks_to_the_gateway(tmp_path: Path, lab: Lab, client: str) -> None:
    async with running(tmp_path, lab_files(lab)) as gateway:
        await speak(client, gateway, "sk_shop")
        check_calls(lab)


async def test_segments_node_library_speaks_to_the_gateway(tmp_path: Path, lab: Lab) -> None:
    modules = await node_modules()
    story = json.dumps({"CONTEXT": CONTEXT, "TRAITS": TRAITS, "ORDER": ORDER, "PRODUCTS": PRODUCTS})
    async with running(tmp_path, lab_files(lab)) as gateway:
        script = str(CLIENTS / "segment_node.cjs")
        heard = await run("node", script, gateway.url, "sk_shop", story, NODE_PATH=str(modules))
        assert json.loads(heard) == []
        await gateway.idle()
        check_calls(lab)


@pytest.mark.parametrize("method", ["post", "get"])
async def test_snowplows_node_tracker_speaks_to_the_gateway(tmp_path: Path, lab: Lab, method: str) -> None:
    """By GET an order and its lines are hits of their own: nothing says which belong together."""
    modules = await node_modules()
    story = json.dumps({"CONTEXT": CONTEXT, "ORDER": ORDER, "PRODUCTS": PRODUCTS})
    async with running(tmp_path, lab_files(lab), sources=NOBODY_ASKS) as gateway:
        script = str(CLIENTS / "snowplow_node.cjs")
        heard = await run("node", script, gateway.url, "wk_shop", method, story, NODE_PATH=str(modules))
        assert json.loads(heard) == []
        await gateway.idle()
        events = arrived(lab)
        assert events["page_view"]["page"]["referrer"] == CONTEXT["page"]["referrer"]
        bought = events["purchase"]
        if method == "post":
            assert set(events) == {"page_view", "purchase"}
            check_order(bought)
        assert bought["device"]["ip"] == "203.0.113.7", "Node's fetch sends a header of browsers, and is none"
        assert (bought["props"]["value"], bought["props"]["transaction_id"]) == (47.4, "o-1")
        assert await gateway.outcomes("webhook") == {"delivered": len(lab.inbox("webhook"))}


@pytest.mark.parametrize("method", ["post", "get"])
async def test_snowplows_python_tracker_speaks_to_the_gateway(tmp_path: Path, lab: Lab, method: str) -> None:
    async with running(tmp_path, lab_files(lab), sources=NOBODY_ASKS) as gateway:
        await speak("snowplow_python.py", gateway, "wk_shop", method)
        events = arrived(lab)
        assert set(events) == {"page_view", "page_ping", "play", "screen_view", "purchase"}
        check_order(events["purchase"])
        check_vendors(lab, events["purchase"]["id"])
        assert events["play"]["props"] == {"category": "video", "label": "intro", "value": 12.5}
        assert events["page_view"]["page"] == {
            "url": CONTEXT["page"]["url"],
            "title": "Cup",
            "referrer": "https://search.example/",
        }
        assert events["page_view"]["ids"]["snowplow_domain_userid"] == "anon-1"
        assert events["page_view"]["device"]["screen_width"] == 1920
        assert {event["dialect"] for event in events.values()} == {"snowplow"}


async def test_a_python_library_hears_nothing_of_a_key_that_nobody_has(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab)) as gateway:
        await speak("segment_python.py", gateway, "wk_stranger")
        assert lab.inbox("webhook") == []
        assert 'tagway_refused_total{reason="unknown_key",route="/v1/batch"}' in await gateway.metrics()


async def test_a_measurement_protocol_library_speaks_to_the_gateway(tmp_path: Path, lab: Lab) -> None:
    sources = NOBODY_ASKS + "    ga4_ids: [G-TEST12345]\n"
    async with running(tmp_path, lab_files(lab, ["webhook", "ga4"]), sources=sources) as gateway:
        await speak("ga4mp_python.py", gateway, "sk_shop")
        events = arrived(lab)
        assert set(events) == {"page_view", "purchase"}
        bought = events["purchase"]
        [sent] = [entry for entry in lab.inbox("ga4") if entry.name == "purchase"]
        assert (sent.accepted, sent.payload["params"]["value"]) == (True, 47.4)
        assert await gateway.outcomes("ga4") == {"delivered": 2}
        check_products(bought)
        assert bought["id"] == "o-1"
        assert bought["user"]["id"] == "u-1"
        assert bought["ids"]["ga_client_id"] == "1098115397.1795514300"
        assert events["page_view"]["page"] == {"url": CONTEXT["page"]["url"], "title": "Cup"}
        assert {event["dialect"] for event in events.values()} == {"ga4"}
