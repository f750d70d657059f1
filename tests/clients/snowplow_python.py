"""A shop's server that uses Snowplow's Python tracker: `snowplow_python.py BASE KEY get|post`."""

import json
import sys

from snowplow_tracker import (
    Emitter,
    PagePing,
    PageView,
    ScreenView,
    SelfDescribing,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
)
from story import CONTEXT, ORDER, PRODUCTS, TRAITS

base, key, method = sys.argv[1:]
failures: list[str] = []
shop = "iglu:com.snowplowanalytics.snowplow.ecommerce"


def entity(name: str, data: dict[str, object]) -> SelfDescribingJson:
    return SelfDescribingJson(f"{shop}/{name}/jsonschema/1-0-0", data)


subject = Subject()
subject.set_platform("web").set_user_id("u-1").set_domain_user_id("anon-1").set_lang("en-GB")
subject.set_screen_resolution(1920, 1080).set_ip_address(CONTEXT["ip"]).set_useragent(CONTEXT["userAgent"])
emitter = Emitter(base, method=method, batch_size=10, on_failure=lambda _sent, failed: failures.extend(map(str, failed)))
tracker = Tracker("sp", emitter, subject=subject, app_id=key, encode_base64=method == "get")

order = {
    "transaction_id": ORDER["order_id"],
    "revenue": ORDER["total"],
    "currency": ORDER["currency"],
    "tax": ORDER["tax"],
    "shipping": ORDER["shipping"],
    "payment_method": "card",
    "total_quantity": 3,
}
products = [
    {**{name: value for name, value in product.items() if name != "product_id"}, "id": product["product_id"], "currency": "EUR"}
    for product in PRODUCTS
]
tracker.track(PageView(CONTEXT["page"]["url"], page_title="Cup", referrer="https://search.example/"))
tracker.track(PagePing(CONTEXT["page"]["url"], max_x=0, max_y=900))
tracker.track(StructuredEvent("video", "play", label="intro", value=12.5))
tracker.track(ScreenView("s-1", "Home"))
tracker.track(
    SelfDescribing(
        SelfDescribingJson(f"{shop}/snowplow_ecommerce_action/jsonschema/1-0-2", {"type": "transaction"}),
        context=[
            entity("transaction", order),
            *(entity("product", product) for product in products),
            entity("user", {"id": "u-1", "email": TRAITS["email"]}),
        ],
    )
)
tracker.flush()
print(json.dumps(failures))
