"""A shop's server that uses the Measurement Protocol library ga4mp: `ga4mp_python.py BASE KEY`."""

import json
import sys

from ga4mp import GtagMP
from story import CONTEXT, ORDER, PRODUCTS

base, key = sys.argv[1:]
ga = GtagMP(api_secret=key, measurement_id="G-TEST12345", client_id="1098115397.1795514300")
ga._base_domain = f"{base}/mp/collect"
ga.store.set_user_property("user_id", "u-1")
ga.store.set_user_property("plan", "gold")

view = ga.create_new_event("page_view")
view.set_event_param("page_location", CONTEXT["page"]["url"])
view.set_event_param("page_title", CONTEXT["page"]["title"])
order = ga.create_new_event("purchase")
told = {**ORDER, "transaction_id": ORDER["order_id"], "value": ORDER["total"]}
for name in ("transaction_id", "value", "currency", "tax", "shipping"):
    order.set_event_param(name, told[name])
for product in PRODUCTS:
    item = order.create_new_item(item_id=product["product_id"], item_name=product["name"])
    item.set_parameter("item_category", product["category"])
    item.set_parameter("price", product["price"])
    item.set_parameter("quantity", product["quantity"])
    order.add_item_to_event(item)
ga.send([view, order])
print(json.dumps([]))
