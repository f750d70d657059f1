"""The event of docs/mapping.md, and an example of every function, worked out when the page's table is made.

A function without an example here, or an example that gives nothing, fails tests/test_docs_mapping.py.
"""

from __future__ import annotations

import json
from typing import Any

from docs.reference import table
from gateway.mapping import FUNCTIONS
from tests.mapping_kit import value_of

EVENT: dict[str, Any] = {
    "name": "purchase",
    "id": "order-1001",
    "time": "2026-11-24T10:00:00.000Z",
    "user": {
        "id": "U-7",
        "email": ["Jane.Doe+shop@Example.com"],
        "phone": "+49 (151) 555-0100",
        "first_name": "Anne Marie",
        "last_name": "O'Neill 2",
        "city": "New York",
        "state": "New York",
        "zip": "10001-1234",
        "country": "USA",
        "gender": "Female",
        "birthdate": "1990-04-01",
        "traits": {"plan": "Pro", "address": {"floor": 3, "door": "left"}},
    },
    "page": {"url": "https://shop.example/thanks?a=1", "title": "Thank you"},
    "props": {
        "transaction_id": "1001",
        "value": 42.5,
        "currency": "EUR",
        "tax": "6.80",
        "coupon": " Summer-24 ",
        "colours": "red, blue,, red",
        "gift": "yes",
        "quiz_name": "Winter",
        "newsletter": False,
    },
    "items": [
        {"id": "sku-1", "name": "Cup", "category": "Cups", "price": 10, "quantity": 3},
        {"id": "sku-2", "name": "Saucer", "category": "Cups", "price": 12.5},
        {"name": "Gift wrap", "price": 0},
    ],
    "consent": {"ad_storage": "granted", "ad_user_data": "granted", "analytics_storage": "denied"},
}
"""The event of docs/mapping.md, and of the examples of functions below."""
TABLES = "{colour_names: {red: rot, _: bunt}, short: {transaction_id: order, currency: cur}}"
EXAMPLES = {
    "lower": "$user.id | lower",
    "upper": "$props.gift | upper",
    "trim": "$props.coupon | trim",
    "strip": "$user.phone | strip:' ()-'",
    "replace": "$props.coupon | trim | replace:'-',' '",
    "slice": "$props.quiz_name | slice:0,3",
    "split": "$props.colours | split:','",
    "join": "$items | pluck:'id' | join:'|'",
    "prefix": "$props.transaction_id | prefix:'no-'",
    "urlencode": "$page.url | urlencode",
    "base64": "$user.id | base64",
    "json": "$user.traits | json",
    "matches": "$props.transaction_id | matches:'[0-9]+'",
    "clip": "$page.title | clip:5",
    "str": "$props.value | str",
    "num": "$props.tax | num",
    "int": "$props.value | int",
    "bool": "$props.gift | bool",
    "list": "$props.gift | list",
    "first": "$user.email | first",
    "last": "$items | pluck:'id' | last",
    "len": "$items | len",
    "unique": "$props.colours | split:',' | unique",
    "compact": "[$props.gift, $props.nothing, $props.currency] | compact",
    "sum": "$items | sum:'price','quantity'",
    "pluck": "$items | pluck:'price'",
    "head": "$items | pluck:'name' | head:2",
    "lacking": "$items | lacking:'id' | pluck:'name'",
    "sha256": "$user.id | sha256",
    "sha1": "$user.id | sha1",
    "md5": "$user.id | md5",
    "raw_only": "$user.id | raw_only",
    "hmac_sha256": "$event.id | hmac_sha256:$setting.token",
    "sha256_values": "$props | pick:gift | sha256_values",
    "email": "$user.email | email",
    "email_gmail": "$user.email | email_gmail",
    "email_strict": "$user.email | email_strict",
    "phone": "$user.phone | phone",
    "phone_digits": "$user.phone | phone_digits",
    "name": "$user.first_name | name",
    "name_spaced": "$user.last_name | name_spaced",
    "name_letters": "$user.last_name | name_letters",
    "name_compact": "$user.last_name | name_compact",
    "city": "$user.city | city",
    "plain_place": "$user.city | plain_place",
    "state": "$user.state | state",
    "zip": "$user.zip | zip",
    "zip_compact": "$user.zip | zip_compact",
    "country": "$user.country | country",
    "gender": "$user.gender | gender",
    "dob": "$user.birthdate | dob",
    "money": "$props.value | money:2",
    "minor": "$props.value | minor:$props.currency",
    "micros": "$props.value | micros",
    "round": "$props.value | round",
    "unix": "$event.time | unix",
    "unix_ms": "$event.time | unix_ms",
    "unix_us": "$event.time | unix_us",
    "iso": "$event.time | iso",
    "date": "$event.time | date:'%Y-%m-%d'",
    "age_s": "$event.time | age_s",
    "map": "$props.colours | split:',' | map:colour_names",
    "pick": "$props | pick:currency,value",
    "omit": "$items[0] | omit:name,category",
    "rename": "$props | pick:currency,transaction_id | rename:short",
    "snake": "$page.title | snake",
    "camel": "$props | pick:quiz_name | camel",
    "flatten": "$user.traits | flatten",
    "keys": "$user | keys:'.*_name'",
    "scalars": "$user.traits | scalars",
    "nested": "$user.traits | nested",
    "values": "$user.traits.address | values",
    "wrap": "$props | pick:gift | wrap:value",
    "default": "$props.nothing | default:'none'",
    "empty": "$props.nothing | empty",
    "exists": "$props.gift | exists",
    "eq": "$props.currency | eq:'EUR'",
    "then": "$props.gift | then:1",
}
"""An example of each function, worked out when the table is made (and by a test)."""


def functions() -> str:
    """The functions of mapping expressions by group, each with an example and what it gives for EVENT."""
    made = []
    for group in dict.fromkeys(one.group for one in FUNCTIONS.values()):
        rows = [
            [f"`{one.name}`", one.help, _cell(EXAMPLES[name]), _cell(json.dumps(example(name), ensure_ascii=False))]
            for name, one in FUNCTIONS.items()
            if one.group == group
        ]
        made.append(table([group, "", "example", "gives"], rows))
    return "\n".join(made)


def example(name: str) -> Any:
    """What the example of a function gives."""
    data = {key: value for key, value in EVENT.items() if key not in ("name", "id", "time")}
    return value_of(EXAMPLES[name], tables=TABLES, **data, id=EVENT["id"])


def _cell(code: str) -> str:
    shown = code if len(code) <= 60 else f"{code[:58]}…"
    return f"`{shown.replace('|', chr(92) + '|')}`"
