"""Sample events for `tagway send` and for trying things out: native hits of an invented customer on the site's own pages.

Each has what the platforms ask of such an event, an id of its own, and consent to everything (it is nobody's). Addresses are of
the blocks reserved for documentation.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from gateway.config.models import Gateway
from gateway.errors import GatewayError

GRANTED = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage", "functional"), "granted")
_ITEM = {"id": "sample-1", "name": "Sample cup", "brand": "Tagway", "category": "Cups", "price": 42.5, "quantity": 1}
_CART: dict[str, Any] = {"props": {"value": 42.5, "currency": "EUR"}, "items": [_ITEM]}
_LEAD: dict[str, Any] = {"props": {"value": 10, "currency": "EUR"}}
EVENTS: dict[str, dict[str, Any]] = {
    "page_view": {},
    "view_item": _CART,
    "search": {"props": {"search_term": "cup"}},
    "add_to_cart": _CART,
    "begin_checkout": _CART,
    "add_payment_info": {**_CART, "props": {"value": 42.5, "currency": "EUR", "payment_type": "card"}},
    "purchase": _CART,
    "sign_up": {"props": {"method": "email"}},
    "login": {"props": {"method": "email"}},
    "generate_lead": _LEAD,
    "subscribe": _LEAD,
    "start_trial": _LEAD,
    "contact": {},
}
"""The names that `send` knows, and what each has beside what all have."""


def sample(name: str, site: str, now: float | None = None) -> dict[str, Any]:
    """A hit for /v1/events. Raises GatewayError for a name without a sample."""
    if name not in EVENTS:
        raise GatewayError(f"there is no sample of {name}; there are {', '.join(EVENTS)}; or give one with --file event.json")
    at = time.time() if now is None else now
    event: dict[str, Any] = {
        "name": name,
        "id": f"tagway-sample-{uuid.uuid4()}",
        "user": {"id": "tagway-sample", "email": "sample@example.com", "phone": "+12025550123"},
        "device": {"ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
        "ids": {"ga_client_id": f"1000000001.{int(at)}", "ga_session_id": str(int(at))},
        "page": {"url": f"{site}/tagway-sample", "title": "Sample"},
        "consent": GRANTED,
        **{key: dict(value) if isinstance(value, dict) else value for key, value in EVENTS[name].items()},
    }
    if name == "purchase":
        event["props"]["transaction_id"] = f"sample-{int(at)}"
    return event


def site_of(config: Gateway, source: str) -> str:
    """The site's own address, for the pages of a sample."""
    origins = config.sources[source].origins if source in config.sources else []
    return origins[0] if origins else "https://shop.example"
