"""A shop's server that uses RudderStack's Python library: `rudder_python.py BASE KEY`."""

import json
import sys

import rudderstack.analytics as analytics
from story import CONTEXT, ORDER, PRODUCTS, TRAITS

base, key = sys.argv[1:]
failures: list[str] = []
analytics.write_key = key
analytics.dataPlaneUrl = base
analytics.gzip = True
analytics.max_retries = 2
analytics.on_error = lambda error, _items: failures.append(str(error))

analytics.identify("u-1", TRAITS, context=dict(CONTEXT), message_id="m-identify")
analytics.group("u-1", "g-1", {"plan": "gold"}, context=dict(CONTEXT), message_id="m-group")
analytics.alias("old-1", "u-1", context=dict(CONTEXT), message_id="m-alias")
analytics.page("u-1", "Shop", "Cup", {"url": CONTEXT["page"]["url"]}, context=dict(CONTEXT), message_id="m-page")
analytics.screen("u-1", "App", "Home", context=dict(CONTEXT), message_id="m-screen")
context = {**CONTEXT, "traits": TRAITS}
analytics.track("u-1", "Order Completed", {**ORDER, "products": PRODUCTS}, context=context, message_id="m-order")
analytics.flush()
analytics.shutdown()
print(json.dumps(failures))
