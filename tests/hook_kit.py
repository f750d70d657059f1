"""Shops in tests: orders as their webhooks write them, signed as they sign them."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from typing import Any

import orjson

SECRETS = {"shopify": "shpss-secret", "woocommerce": "wc-secret", "stripe": "whsec_secret"}
OLD = "the-secret-before"
SOURCES = (
    "  shop:\n    hosts: [t.shop.example]\n    write_keys: [wk_shop]\n    null_origin: true\n"
    "    origins: ['https://shop.example']\n    hooks:\n"
    + "".join(f"      {shop}:\n        secret: [{secret}, {OLD}]\n" for shop, secret in SECRETS.items())
    + "  other:\n    write_keys: [wk_other]\n    hooks:\n      shopify:\n        secret: another-secret\n"
)
TOKEN, CART = "tok-5d0c7a1e9f", "cart-77aa10"
ORDER_ID = 5678901234567
"""The order that the functions below tell of."""


def shopify_order(**changes: Any) -> dict[str, Any]:
    """An `orders/create`, with the parts that matter here; amounts are text, as Shopify's are."""
    order = {
        "id": ORDER_ID,
        "admin_graphql_api_id": f"gid://shopify/Order/{ORDER_ID}",
        "name": "#1001",
        "order_number": 1001,
        "created_at": "2026-11-24T05:00:00-05:00",
        "processed_at": "2026-11-24T05:00:00-05:00",
        "test": False,
        "email": "ada@shop.example",
        "total_price": "98.20",
        "total_tax": "13.50",
        "currency": "EUR",
        "presentment_currency": "EUR",
        "total_price_set": _both("98.20"),
        "total_tax_set": _both("13.50"),
        "total_shipping_price_set": _both("4.90"),
        "total_discounts": "0.00",
        "checkout_token": TOKEN,
        "cart_token": CART,
        "landing_site": "/?gclid=Cj0KCQiA1234567890abc&utm_source=news",
        "referring_site": "https://www.google.com/",
        "order_status_url": f"https://shop.example/690933842/orders/{TOKEN}/authenticate?key=secret",
        "client_details": {"browser_ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0"},
        "buyer_accepts_marketing": True,
        "financial_status": "paid",
        "source_name": "web",
        "note_attributes": [],
        "line_items": [
            {
                "id": 1,
                "variant_id": 447654529,
                "product_id": 632910392,
                "title": "Red shoe",
                "vendor": "Acme",
                "variant_title": "38",
                "sku": "SKU-1",
                "quantity": 2,
                "price": "39.90",
            }
        ],
    }
    return {**order, **changes}


def _both(amount: str) -> dict[str, Any]:
    money = {"amount": amount, "currency_code": "EUR"}
    return {"shop_money": money, "presentment_money": money}


def woo_order(**changes: Any) -> dict[str, Any]:
    """An `order.created`."""
    order = {
        "id": 1842,
        "number": "1842",
        "status": "processing",
        "currency": "EUR",
        "date_created_gmt": "2026-11-24T10:00:00",
        "date_modified_gmt": "2026-11-24T10:00:05",
        "total": "98.20",
        "total_tax": "13.50",
        "shipping_total": "4.90",
        "discount_total": "0.00",
        "customer_id": 0,
        "billing": {"first_name": "Ada", "last_name": "Byron", "email": "ada@shop.example", "phone": "+4915112345678"},
        "shipping": {},
        "customer_ip_address": "203.0.113.7",
        "customer_user_agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0",
        "meta_data": [],
        "line_items": [
            {"name": "Red shoe", "product_id": 93, "variation_id": 0, "quantity": 2, "subtotal": "79.80", "total": "79.80"}
        ],
        "refunds": [],
    }
    return {**order, **changes}


def stripe_event(kind: str = "checkout.session.completed", **changes: Any) -> dict[str, Any]:
    """An event of Stripe's; `changes` are of its object."""
    session = {
        "id": "cs_live_a1b2c3",
        "object": "checkout.session",
        "amount_total": 9820,
        "currency": "eur",
        "payment_status": "paid",
        "mode": "payment",
        "payment_intent": "pi_3Nabc",
        "customer_details": {"email": "ada@shop.example", "name": "Ada Byron"},
        "metadata": {"order_id": "T-1001"},
        "total_details": {"amount_discount": 0, "amount_shipping": 490, "amount_tax": 1350},
        **changes,
    }
    return {
        "id": "evt_1",
        "object": "event",
        "type": kind,
        "created": 1795514400,
        "livemode": True,
        "data": {"object": session},
    }


def signed(shop: str, body: bytes, *, secret: str | None = None, at: float = 1795514400.0, topic: str = "") -> dict[str, str]:
    """The headers of a webhook."""
    key = (secret or SECRETS[shop]).encode()
    if shop == "stripe":
        digest = hmac.new(key, f"{int(at)}.".encode() + body, hashlib.sha256).hexdigest()
        return {
            "Stripe-Signature": f"t={int(at)},v1={digest},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
        }
    digest = b64encode(hmac.new(key, body, hashlib.sha256).digest()).decode()
    if shop == "shopify":
        return {"X-Shopify-Topic": topic or "orders/create", "X-Shopify-Hmac-Sha256": digest}
    return {
        "X-WC-Webhook-Topic": topic or "order.created",
        "X-WC-Webhook-Signature": digest,
        "Referer": "https://shop.example/",
    }


ORDERS = {"shopify": shopify_order, "woocommerce": woo_order, "stripe": stripe_event}


def hook(shop: str, order: Any = None, **signing: Any) -> tuple[str, bytes, dict[str, str]]:
    """(path, body, headers) of a webhook for the source `shop`."""
    body = orjson.dumps(ORDERS[shop]() if order is None else order)
    return f"/hooks/{shop}/shop", body, signed(shop, body, **signing)
