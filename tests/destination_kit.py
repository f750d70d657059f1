"""What the destination tests are made with: a vendor compiled from a customer's file, golden cases, and sample events."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import yaml

from gateway.config.load import load
from gateway.destination import Batch, Part, Reply, Request
from gateway.event import Event
from gateway.manifest import load_manifest
from gateway.meter import Meter
from gateway.outcomes import Ending
from gateway.plans import Ready, prepare_one

NOW = 1_795_514_460.0
TIME = "2026-11-24T10:00:00.000Z"
GOLDEN = Path(__file__).parent / "golden"
SETTINGS: dict[str, dict[str, Any]] = {
    "meta": {"pixel_id": "1234567890", "access_token": "s3cr3t-access-token"},
    "ga4": {"measurement_id": "G-TEST12345", "api_secret": "s3cr3t-api-secret"},
    "tiktok": {"pixel_id": "CPIXEL123", "access_token": "s3cr3t-access-token"},
    "webhook": {"url": "https://hooks.example.com/tagway"},
}
"""The least that each vendor's file must say. Every secret in these tests begins with `s3cr3t`."""
GRANTED = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage", "functional"), "granted")


def ready(vendor: str, settings: Mapping[str, Any] | None = None, file: Mapping[str, Any] | None = None) -> Ready:
    """A vendor with a customer's file, loaded from YAML as any other. Raises ConfigErrors."""
    key = orjson.dumps([vendor, {**SETTINGS[vendor], **(settings or {})}, file or {}], option=orjson.OPT_SORT_KEYS)
    return _ready(key)


@lru_cache(maxsize=256)
def _ready(key: bytes) -> Ready:
    vendor, settings, file = orjson.loads(key)
    environment: dict[str, str] = {}
    secrets = {name for name, spec in load_manifest(vendor).settings.items() if spec.secret}
    given = {name: _hidden(name, value, environment) if name in secrets else value for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        tree = {
            "sources": {"shop": {"write_keys": ["wk_shop"]}},
            "destinations": {vendor: {"type": vendor, "settings": given, **file}},
        }
        config.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
        gateway = load(config, environment)
        return prepare_one(gateway.destinations[vendor], Meter())


def _hidden(name: str, value: Any, environment: dict[str, str]) -> Any:
    """A secret as a reference to the environment."""
    if isinstance(value, list):
        return [_hidden(f"{name}_{i}", one, environment) for i, one in enumerate(value)]
    if isinstance(value, dict):
        return {key: _hidden(f"{name}_{i}", one, environment) for i, (key, one) in enumerate(value.items())}
    environment[name.upper()] = str(value)
    return "${" + name.upper() + "}"


def event(data: Mapping[str, Any]) -> Event:
    """A valid canonical event: what a case leaves out is filled."""
    base = {"v": 1, "id": "e-1", "name": "purchase", "time": TIME, "received": "2026-11-24T10:00:01.000Z", "source": "shop"}
    return Event({**base, "dialect": "json", "consent": dict(GRANTED), **copy.deepcopy(dict(data))})


def parts(one: Ready, data: Mapping[str, Any]) -> list[Part]:
    """The parts of an event that must have some."""
    made = one.plan.parts(event(data), NOW)
    assert isinstance(made, list), made
    return made


def request(one: Ready, made: list[Part]) -> Request:
    """The request of the parts, as one batch."""
    return one.destination.request(Batch(made[0].envelope, tuple(made)), NOW)


def batch_of(one: Ready, count: int, data: Mapping[str, Any] | None = None) -> Batch:
    """A batch of so many equal events with ids e-1, e-2 …"""
    made = [parts(one, {**(data or FULL), "id": f"e-{n + 1}"})[0] for n in range(count)]
    return Batch(made[0].envelope, tuple(made))


def reply(given: Mapping[str, Any]) -> Reply:
    """A golden case's `reply`: status and json, text or error."""
    body = orjson.dumps(given["json"]) if "json" in given else str(given.get("text", "")).encode()
    return Reply(int(given.get("status", 0)), dict(given.get("headers", {})), body, str(given.get("error", "")))


def described(ending: Ending) -> dict[str, str]:
    """An ending as golden cases write it: `{skipped: incomplete}`."""
    return {str(ending.outcome.value): ending.reason}


def golden(vendor: str) -> list[dict[str, Any]]:
    """The golden cases of a vendor."""
    cases: list[dict[str, Any]] = yaml.safe_load((GOLDEN / f"{vendor}.yaml").read_text())
    return cases


FULL: dict[str, Any] = {
    "user": {
        "id": "cust-00123", "anonymous_id": "anon-77", "email": "  Jane.Doe+Shop@Example.COM ", "phone": "+1 (650) 555-1234",
        "first_name": "Mary-Jane", "last_name": "O'Neil", "street": "1 Market St.", "city": "San Francisco",
        "state": "California", "zip": "94025-1234", "country": "US", "birthdate": "1985-03-07", "gender": "Female",
        "traits": {"plan": "gold", "email": "jane@example.com"},
    },
    "page": {"url": "https://shop.example/thanks?fbclid=IwAR0AbC", "title": "Thanks", "referrer": "https://shop.example/cart"},
    "device": {
        "ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "language": "en-US",
        "timezone": "Europe/Berlin", "screen_width": 1920, "screen_height": 1080, "viewport_width": 1200,
        "viewport_height": 800, "type": "desktop", "os": "Linux", "os_version": "6.1", "browser": "Firefox", "id": "dev-1",
        "model": "X1", "manufacturer": "Acme", "advertising_id": "7A3CBEA0-BDF5-11E4-8DFC-AA07A5B093DB", "ad_tracking": True,
    },
    "geo": {"country": "US", "region": "CA", "city": "San Francisco"},
    "campaign": {"source": "news", "medium": "email", "name": "fall"},
    "ids": {
        "fbp": "fb.1.1795514300000.1098115397", "fbc": "fb.1.1795514300000.IwAR0AbC", "ga_client_id": "1098115397.1795514300",
        "ga_session_id": "1795514300", "ttclid": "E.C.P.abc", "ttp": "2abc", "lead_id": "9001",
    },
    "session": {"id": "1795514300", "number": 3},
    "engagement_ms": 1200,
    "props": {
        "value": 84.8, "currency": "EUR", "transaction_id": "T-1001", "tax": 13.5, "shipping": 4.9, "coupon": "SUMMER",
        "search_term": "red shoes", "method": "card", "category": "Shoes", "group_id": "g-1", "colour": "red",
        "payment_type": "card", "shipping_tier": "express", "promotion_id": "P-1", "promotion_name": "Summer sale",
    },
    "items": [
        {"id": "SKU-1", "name": "Red shoe", "brand": "Acme", "category": "Shoes", "variant": "38", "price": 39.9,
         "quantity": 2, "index": 1, "discount": 1.5, "coupon": "TWO"},
        {"id": "SKU-2", "name": "Sock", "category": "Socks", "price": 5, "quantity": 1},
    ],
    "app": {"name": "Shop", "version": "2.1", "build": "7", "namespace": "com.example.shop"},
}  # fmt: skip
"""An event with every field that the schema knows and a vendor may take."""
