"""What `tagway init --shopify` gives: the custom pixel for Shopify's sandbox, and how to point the webhooks.

The pixel is shopify_pixel.js with the gateway's address in it; it is written in plain JavaScript as it is pasted.
"""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).with_name("shopify_pixel.js")
PIXEL_FILE = "shopify-pixel.js"
SECRET = "SHOPIFY_SECRET"
TOPICS = (("Order creation", "orders/create"), ("Refund create", "refunds/create"), ("Order cancellation", "orders/cancelled"))
"""What the admin calls a webhook, and its topic."""
SETTINGS = f"""\
    null_origin: true                    # the custom pixel's sandbox has no origin
    hooks:
      shopify:
        secret: ${{{SECRET}}}        # signs the webhooks
"""


def pixel(host: str, path: str, write_key: str) -> str:
    """The JavaScript to paste. `path` is the events route as the gateway names it, from the slash on."""
    return FILE.read_text(encoding="utf-8").replace("__ENDPOINT__", f"https://{host}{path}?k={write_key}")


def steps(host: str, source: str) -> list[str]:
    """What to do in Shopify's admin, one line each."""
    return [
        f"Shopify, Settings, Customer events, Add custom pixel: paste {PIXEL_FILE}; Permission: Required, Marketing and",
        "  Analytics; Data sale: Data collected does not qualify as data sale, unless yours does; save, connect.",
        "Shopify, Settings, Notifications, Webhooks, Create webhook, format JSON, for each of",
        *(f"  {name} ({topic})" for name, topic in TOPICS),
        f"  the URL https://{host}/hooks/shopify/{source}",
        f"The key that the page names below them goes into {SECRET}.",
        "Test: Send test notification there. `tagway tap` shows the order; a test order goes to no destination in mode live.",
    ]
