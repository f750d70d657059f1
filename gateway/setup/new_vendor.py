"""The files a new vendor starts from: a manifest that is sent as it stands, and its golden cases.

Both are working samples of the mapping language, with a comment wherever the author has to look something up at the vendor.
The cases hold what the manifest makes today, so that the contract suite runs before a line is changed.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from gateway.errors import GatewayError

NAME = re.compile(r"[a-z][a-z0-9_]{1,40}")
PURPOSES = {"ads": "[ad_storage, ad_user_data]"}
"""What a category asks of consent; all others need `analytics_storage`."""

_MANIFEST = Template("""\
# $title.  Docs: $docs
# Settings, rules, limits and replies in words: docs/destinations.md#$name
name: $name
category: $category
docs: $docs
settings:
  access_token: {type: str, required: true, secret: true, help: "where in the vendor's account a customer finds it"}
endpoint:
  method: POST
  url: $url
  body: json
auth: {kind: bearer, token: $$setting.access_token}    # or: {kind: header, name: X-Api-Key, value: $$setting.access_token}
limits: {max_age: 7d}              # the oldest event that the vendor takes; later ones end as expired{age}
dedup: {keys: [event_id], window: 48h}
confirms: request                  # event: says of each one whether it was taken; none: answers the same to anything
consent:
  requires: $requires

# Without one of these the vendor can do nothing with the event: it ends as skipped{incomplete}, and is kept.
check:
  any:
    - [$$body.user.email]
    - [$$body.user.external_id]

blocks:
  user:
    email: "$$user.email | email | sha256"
    external_id: "$$user.id // $$user.anonymous_id | sha256"
    ip: $$device.ip
    user_agent: $$device.user_agent

defaults:                          # of every event; empty values are left out
  event: $$name
  event_id: $$event.id              # as it came, so that the vendor can drop what the browser sent too
  event_time: $$event.time | unix
  user: {$$use: user}
  page_url: $$page.url

events:
  page_view: {name: page_view}
  purchase:
    name: purchase
    require: {all: [$$props.value, $$props.currency]}
    body:
      value: $$props.value | num
      currency: $$props.currency
      order_id: $$props.transaction_id
      items:
        $$for: $$items
        $$do: {id: $$item.id, price: $$item.price | num, quantity: $$item.quantity | int}

batch: {max_events: 1}             # more: with `wrap: {data: $$batch}` around them

# What the status does not say; without a rule: 2xx delivered, 408 425 429 5xx retry, 401 403 pause, other 4xx rejected.
response:
  - {status: 200, body: $$res.error, then: rejected, error: $$res.error}
""")

_GOLDEN = Template("""\
# Golden cases of $name: a canonical event in (consent granted, 2026-11-24T10:00:00Z unless it says otherwise), the request out;
# a vendor's reply in, the verdict on each event out. Secrets of the settings come from the environment.
- name: a purchase
  event:
    name: purchase
    user: {id: cust-00123, email: jane.doe@example.com}
    page: {url: https://shop.example/thanks}
    props: {value: 84.8, currency: EUR, transaction_id: T-1001}
    items:
    - {id: SKU-1, price: 84.8, quantity: 1}
  request:
    method: POST
    url: $url
    headers: {Content-Type: application/json, Authorization: Bearer s3cr3t-access-token}
    json:
      event: purchase
      event_id: e-1
      event_time: 1795514400
      user:
        email: 86e0b9e56c17cc4d12387e1949b85053fbe73bc3ce5a1188713a9d300cc6133d
        external_id: f85887fd53cdde7fb3e4f5e069c62147447be99fd9dc25e68ed8ecc4ec31ef77
      page_url: https://shop.example/thanks
      value: 84.8
      currency: EUR
      order_id: T-1001
      items:
      - {id: SKU-1, price: 84.8, quantity: 1}
- name: a purchase without a currency is held
  event: {name: purchase, user: {id: cust-00123}, props: {value: 84.8}}
  outcome: {skipped: incomplete}
- name: nothing about the visitor is held
  event: {name: page_view}
  outcome: {skipped: incomplete}
- name: 'reply: taken'
  reply: {status: 200, json: {}}
  alone: delivered
  of_two: [delivered, delivered]
- name: 'reply: an error in an answer of 200'
  reply: {status: 200, json: {error: no such account}}
  alone: rejected vendor_code
  of_two: [rejected vendor_code, rejected vendor_code]
""")

_SECTION = Template("""\
<a id="$name"></a>
## $title

`POST $url`, token as a bearer token. **Settings.** `access_token`. **Events.** `page_view`, `purchase`.
""")


def new_vendor(root: Path, name: str, title: str, url: str, docs: str, category: str) -> tuple[Path, Path]:
    """Write the manifest and the golden cases of a new vendor into a checkout. Raises GatewayError, and then writes nothing."""
    if not NAME.fullmatch(name):
        raise GatewayError(f"{name} is no name of a vendor: small letters, digits and _, a letter first (acme_ads)")
    for what, address in (("--url", url), ("--docs", docs)):
        if not re.fullmatch(r"https://[^\s\"'{}$#]+", address):
            raise GatewayError(f"{what} must be an https:// address without quotes, braces, $ and #")
    if not (root / "destinations").is_dir() or not (root / "tests" / "golden").is_dir():
        raise GatewayError(f"{root} is no checkout of Tagway: destinations/ or tests/golden/ is missing; name one with --dir")
    places = root / "destinations" / f"{name}.yaml", root / "tests" / "golden" / f"{name}.yaml"
    for place in places:
        if place.exists():
            raise GatewayError(f"{place} is there already; nothing was written")
    words = {"name": name, "title": " ".join(title.split()), "url": url, "docs": docs, "category": category}
    words["requires"] = PURPOSES.get(category, "[analytics_storage]")
    for place, template in zip(places, (_MANIFEST, _GOLDEN), strict=True):
        place.write_text(template.substitute(words))
    return places


def section(name: str, title: str, url: str) -> str:
    """A first section for docs/destinations.md, which names every setting and event."""
    return _SECTION.substitute(name=name, title=" ".join(title.split()), url=url)
