"""The lab is as strict as the platforms: each payload gets the vendor's own kind of answer, over real HTTP."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.clock import FrozenClock
from gateway.errors import GatewayError
from gateway.lab import WEBHOOK_SECRET, Lab, start_lab
from gateway.lab.inbox import KEPT, Entry, Inbox

NOW = 1_795_514_400
HASH = hashlib.sha256(b"jane@example.com").hexdigest()
EMPTY = hashlib.sha256(b"").hexdigest()
DAY = 86400
GONE = type("Gone", (), {"__repr__": lambda self: "GONE"})()
"""A value that takes the key out."""


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
async def lab(clock: FrozenClock) -> AsyncIterator[Lab]:
    running = await start_lab("127.0.0.1", 0, clock)
    yield running
    await running.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


def patched(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A deep copy with dotted paths replaced: `patched(event, **{"user_data.em": 1})`; GONE deletes."""
    made = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, last = path.split(".")
        holder: Any = made
        for part in parents:
            holder = holder[int(part)] if part.isdigit() else holder[part]
        if value is GONE:
            del holder[last]
        else:
            holder[int(last) if last.isdigit() else last] = value
    return made


# --- Meta ---------------------------------------------------------------------------------------------------------------

META: dict[str, Any] = {
    "event_name": "Purchase",
    "event_time": NOW - 10,
    "event_id": "e-1",
    "action_source": "website",
    "event_source_url": "https://shop.example/thanks",
    "user_data": {
        "em": [HASH],
        "client_ip_address": "203.0.113.7",
        "client_user_agent": "Mozilla/5.0",
        "fbp": "fb.1.1795514000000.1098115397",
        "fbc": "fb.1.1795514000000.IwAR0aBc",
    },
    "custom_data": {"value": 42.5, "currency": "EUR", "content_ids": ["s-1"], "contents": [{"id": "s-1", "quantity": 1}]},
}


async def post_meta(http: aiohttp.ClientSession, lab: Lab, body: Any, token: str = "t") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with http.post(f"{lab.url('meta')}/v26.0/1234/events", json=body, headers=headers) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"custom_data.value": 0},
        {"event_time": NOW - 7 * DAY + 5},
        {"event_time": NOW + 50},
        {"user_data.em": HASH, "user_data.external_id": "u-1"},
        {"user_data.fbc": "fb.1.1795514000000.IwAR0aBc.AQ"},
        {"user_data.client_ip_address": "2001:db8::7"},
        {"event_name": "Lead", "custom_data": GONE},
        {"event_name": "my_own", "custom_data": {"plan": "pro"}},
        {"action_source": "email", "event_source_url": GONE, "user_data": {"ph": [HASH]}},
        {"action_source": "physical_store", "event_time": NOW - 40 * DAY},
        {
            "data_processing_options": ["LDU"],
            "data_processing_options_country": 0,
            "data_processing_options_state": 0,
        },
        {"user_data.em": GONE, "user_data.fbc": GONE, "user_data.fbp": GONE},
    ],
    ids=str,
)
async def test_meta_accepts(lab: Lab, http: aiohttp.ClientSession, changes: dict[str, Any]) -> None:
    status, body = await post_meta(http, lab, {"data": [patched(META, **changes)]})
    assert (status, body.get("events_received")) == (200, 1), body
    assert lab.inbox("meta")[-1].accepted


@pytest.mark.parametrize(
    ("changes", "place", "subcode"),
    [
        ({"event_name": GONE}, "data[0].event_name", None),
        ({"event_time": GONE}, "data[0].event_time", None),
        ({"event_time": str(NOW)}, "data[0].event_time", 2804001),
        ({"event_time": NOW * 1000}, "data[0].event_time", 2804001),
        ({"event_time": NOW + 3600}, "data[0].event_time", 2804001),
        ({"event_time": NOW - 7 * DAY - 5}, "data[0].event_time", 2804003),
        ({"action_source": "physical_store", "event_time": NOW - 63 * DAY}, "data[0].event_time", 2804003),
        ({"action_source": "web"}, "data[0].action_source", None),
        ({"action_source": GONE}, "data[0].action_source", None),
        ({"action_source": "app"}, "data[0].app_data", None),
        ({"event_source_url": GONE}, "data[0].event_source_url", None),
        ({"event_source_url": "/thanks"}, "data[0].event_source_url", None),
        ({"user_data": {}}, "data[0].user_data", None),
        ({"user_data": GONE}, "data[0].user_data", None),
        ({"user_data.client_user_agent": GONE}, "data[0].user_data.client_user_agent", None),
        ({"user_data.em": ["jane@example.com"]}, "data[0].user_data.em[0]", None),
        ({"user_data.em": [HASH.upper()]}, "data[0].user_data.em[0]", None),
        ({"user_data.em": [EMPTY]}, "data[0].user_data.em[0]", None),
        ({"user_data.em": []}, "data[0].user_data.em", None),
        ({"user_data.em": [""]}, "data[0].user_data.em[0]", None),
        ({"user_data.ph": hashlib.md5(b"1").hexdigest()}, "data[0].user_data.ph", None),
        ({"user_data.country": "us"}, "data[0].user_data.country", None),
        ({"user_data.external_id": "jane@example.com"}, "data[0].user_data.external_id", None),
        ({"user_data.client_user_agent": HASH}, "data[0].user_data.client_user_agent", None),
        ({"user_data.client_ip_address": "localhost"}, "data[0].user_data.client_ip_address", None),
        ({"user_data.fbc": HASH}, "data[0].user_data.fbc", None),
        ({"user_data.fbp": HASH}, "data[0].user_data.fbp", None),
        ({"user_data.email": [HASH]}, "data[0].user_data.email", None),
        (
            {"action_source": "email", "user_data": {"country": [HASH], "st": [HASH], "ge": [HASH]}},
            "data[0].user_data",
            2804050,
        ),
        ({"custom_data.value": GONE}, "data[0].custom_data.value", 2804009),
        ({"custom_data": GONE}, "data[0].custom_data.value", 2804009),
        ({"custom_data.currency": GONE}, "data[0].custom_data.currency", None),
        ({"custom_data.currency": "EURO"}, "data[0].custom_data.currency", None),
        ({"custom_data.value": "42.5"}, "data[0].custom_data.value", None),
        ({"custom_data.content_ids": "s-1"}, "data[0].custom_data.content_ids", None),
        ({"custom_data.contents.0.id": GONE}, "data[0].custom_data.contents[0].id", None),
        ({"custom_data.contents.0.quantity": 1.5}, "data[0].custom_data.contents[0].quantity", None),
        ({"custom_data.content_type": "sku"}, "data[0].custom_data.content_type", None),
        ({"data_processing_options": ["LDU"]}, "data[0].data_processing_options_country", None),
        ({"data_processing_options": "LDU"}, "data[0].data_processing_options", None),
        ({"opt_out": "true"}, "data[0].opt_out", None),
        ({"event_id": ""}, "data[0].event_id", None),
        ({"eventID": "e-1"}, "data[0].eventID", None),
    ],
    ids=str,
)
async def test_meta_refuses_with_a_graph_error(
    lab: Lab, http: aiohttp.ClientSession, changes: dict[str, Any], place: str, subcode: int | None
) -> None:
    status, body = await post_meta(http, lab, {"data": [patched(META, **changes)]})
    error = body["error"]
    assert (status, error["code"], error["type"], error.get("error_subcode")) == (400, 100, "OAuthException", subcode)
    assert f"Param {place} " in error.get("error_user_msg", error["message"])
    entry = lab.inbox("meta")[-1]
    assert not entry.accepted
    assert entry.reason.startswith(f"{place} ")


@pytest.mark.parametrize(
    "body",
    [{}, {"data": []}, {"data": META}, [META], {"data": [META] * 1001}, {"data": [META], "pixel": "1"}, {"data": ["x"]}],
    ids=["no data", "empty", "no list", "bare list", "1001 events", "unknown key", "no object"],
)
async def test_meta_refuses_an_envelope(lab: Lab, http: aiohttp.ClientSession, body: Any) -> None:
    status, answer = await post_meta(http, lab, body)
    assert (status, answer["error"]["code"]) == (400, 100)


@pytest.mark.parametrize("cookie", ["IwAR0aBc", "fb.1.1795514000.IwAR0aBc", "fb.1.1795514000000."])
async def test_meta_warns_of_a_click_id_that_matches_nobody(lab: Lab, http: aiohttp.ClientSession, cookie: str) -> None:
    status, body = await post_meta(http, lab, {"data": [patched(META, **{"user_data.fbc": cookie})]})
    assert status == 200
    assert body["messages"] == list(lab.inbox("meta")[-1].notes)
    assert body["messages"][0].startswith("user_data.fbc must look like")


async def test_one_bad_event_fails_the_whole_meta_request(lab: Lab, http: aiohttp.ClientSession) -> None:
    old = patched(META, event_time=NOW - 8 * DAY, event_id="old")
    status, body = await post_meta(http, lab, {"data": [META, old, patched(META, event_id="e-3")]})
    assert (status, body["error"]["error_subcode"]) == (400, 2804003)
    assert [entry.accepted for entry in lab.inbox("meta")] == [False] * 3
    assert [entry.reason.startswith("not processed") for entry in lab.inbox("meta")] == [True, False, True]
    await post_meta(http, lab, {"data": [META]})
    assert not lab.inbox("meta")[-1].duplicate, "a request that failed must not mark its ids as seen"


@pytest.mark.parametrize(
    ("token", "status", "code", "subcode"),
    [("", 401, 104, None), ("expired", 500, 190, 463), ("forbidden", 400, 100, 33), ("throttled", 400, 4, None)],
)
async def test_meta_tokens(
    lab: Lab, http: aiohttp.ClientSession, token: str, status: int, code: int, subcode: int | None
) -> None:
    seen, body = await post_meta(http, lab, {"data": [META]}, token)
    assert (seen, body["error"]["code"], body["error"].get("error_subcode")) == (status, code, subcode)
    assert lab.inbox("meta") == []


async def test_meta_counts_a_repeat_within_48_hours_once(lab: Lab, http: aiohttp.ClientSession, clock: FrozenClock) -> None:
    lead = patched(META, event_name="Lead")
    for event in (META, META, lead, patched(META, event_id=GONE), patched(META, event_id=GONE)):
        await post_meta(http, lab, {"data": [event]})
    clock.advance(49 * 3600)
    await post_meta(http, lab, {"data": [META]})
    assert [entry.duplicate for entry in lab.inbox("meta")] == [False, True, False, False, False, False]


@pytest.mark.parametrize("path", ["/26.0/1234/events", "/v26.0/events", "/v26.0/1234/event", "/v26.0/1234/events/"])
async def test_meta_knows_its_paths_only(lab: Lab, http: aiohttp.ClientSession, path: str) -> None:
    async with http.post(lab.url("meta") + path, json={"data": [META]}) as response:
        assert response.status == 404


async def test_meta_takes_json_only(lab: Lab, http: aiohttp.ClientSession) -> None:
    url, headers = f"{lab.url('meta')}/v26.0/1234/events", {"Authorization": "Bearer t"}
    async with http.post(url, data={"data": json.dumps([META])}, headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, 100)


# --- TikTok -------------------------------------------------------------------------------------------------------------

TIKTOK: dict[str, Any] = {
    "event": "Purchase",
    "event_time": NOW - 10,
    "event_id": "e-1",
    "user": {
        "email": HASH,
        "phone": [HASH],
        "ttclid": "E.C.P.abc",
        "ttp": "ttp1",
        "ip": "203.0.113.7",
        "user_agent": "Mozilla/5.0",
        "city": "sanfrancisco",
    },
    "properties": {
        "value": 42.5,
        "currency": "EUR",
        "content_type": "product",
        "contents": [{"content_id": "s-1", "price": 42.5, "quantity": 1}],
        "plan": "pro",
    },
    "page": {"url": "https://shop.example/thanks"},
}


async def post_tiktok(http: aiohttp.ClientSession, lab: Lab, events: Any, token: str = "t", **envelope: Any) -> dict[str, Any]:
    body = {"event_source": "web", "event_source_id": "C123", "data": events} | envelope
    url = f"{lab.url('tiktok')}/open_api/v1.3/event/track/"
    async with http.post(url, json=body, headers={"Access-Token": token}) as response:
        assert response.status == 200
        return dict(await response.json())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"properties": GONE},
        {"event_time": NOW - 7 * DAY + 5},
        {"limited_data_use": True},
        {"user.external_id": [HASH, HASH]},
        {"properties.value": 0},
    ],
    ids=str,
)
async def test_tiktok_accepts(lab: Lab, http: aiohttp.ClientSession, changes: dict[str, Any]) -> None:
    body = await post_tiktok(http, lab, [patched(TIKTOK, **changes)])
    assert (body["code"], body["message"]) == (0, "OK")
    assert lab.inbox("tiktok")[-1].accepted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event": GONE}, "Batch.0.event: Missing data for required field."),
        ({"event_time": str(NOW)}, "Batch.0.event_time: Not a valid integer."),
        ({"event_time": NOW * 1000}, "Batch.0.event_time: Must be in seconds, not milliseconds."),
        ({"event_time": NOW + 3600}, "Batch.0.event_time: Must not be in the future."),
        ({"event_time": NOW - 7 * DAY - 5}, "Batch.0.event_time: Must be within the last 7 days."),
        ({"user": GONE}, "Batch.0.user: Missing data for required field."),
        ({"user.email": "jane@example.com"}, "Batch.0.user.email: is an e-mail address in the clear"),
        ({"user.email": EMPTY}, "Batch.0.user.email: is the hash of nothing"),
        ({"user.phone": [HASH, ""]}, "Batch.0.user.phone.1: must be SHA-256"),
        ({"user.city": HASH}, "Batch.0.user.city: Must be lower-case letters and digits, not hashed."),
        ({"user.country": "US"}, "Batch.0.user.country: Must be lower-case"),
        ({"user.ip": "nowhere"}, "Batch.0.user.ip: must be an IP address"),
        ({"user.ttclid": HASH}, "Batch.0.user.ttclid: must not be hashed"),
        ({"user.em": HASH}, "Batch.0.user.em: Unknown field."),
        ({"page": {"url": "/thanks"}}, "Batch.0.page.url: must be a whole http(s) address"),
        ({"properties.value": "42.5"}, "Batch.0.properties.value: must be a number"),
        ({"properties.currency": GONE}, "Batch.0.properties.currency: Missing data for required field."),
        ({"properties.currency": "eur"}, "Batch.0.properties.currency: must be an ISO 4217 code"),
        ({"properties.contents.0.content_id": 7}, "Batch.0.properties.contents.0.content_id: Not a valid string."),
        ({"properties.content_type": "sku"}, "Batch.0.properties.content_type: must be one of product, product_group"),
        ({"limited_data_use": "yes"}, "Batch.0.limited_data_use: must be true or false"),
        ({"context": {"user": {}}}, "Batch.0.context: Unknown field."),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_tiktok_refuses_with_200_and_the_index_in_words(
    lab: Lab, http: aiohttp.ClientSession, changes: dict[str, Any], message: str
) -> None:
    body = await post_tiktok(http, lab, [patched(TIKTOK, **changes)])
    assert body["code"] == 40002
    assert body["message"].startswith(message)
    assert not lab.inbox("tiktok")[-1].accepted


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"page": GONE}, "page.url is missing"),
        ({"properties.value": GONE}, "properties.value is missing"),
        ({"user": {}}, "user is empty"),
    ],
    ids=str,
)
async def test_tiktok_notes_what_it_makes_less_of(
    lab: Lab, http: aiohttp.ClientSession, changes: dict[str, Any], note: str
) -> None:
    assert (await post_tiktok(http, lab, [patched(TIKTOK, **changes)]))["code"] == 0
    assert lab.inbox("tiktok")[-1].notes[0].startswith(note)


@pytest.mark.parametrize(
    "envelope",
    [{"event_source": "website"}, {"event_source_id": ""}, {"data": []}, {"data": [TIKTOK] * 1001}, {"pixel_code": "C1"}],
    ids=["unknown source", "no pixel", "empty", "1001 events", "Events 1.0"],
)
async def test_tiktok_refuses_an_envelope(lab: Lab, http: aiohttp.ClientSession, envelope: dict[str, Any]) -> None:
    assert (await post_tiktok(http, lab, [TIKTOK], **envelope))["code"] == 40002


@pytest.mark.parametrize(
    ("token", "code"), [("", 40101), ("expired", 40102), ("revoked", 40105), ("forbidden", 40001), ("throttled", 40100)]
)
async def test_tiktok_tokens(lab: Lab, http: aiohttp.ClientSession, token: str, code: int) -> None:
    assert (await post_tiktok(http, lab, [TIKTOK], token))["code"] == code


async def test_tiktok_names_the_bad_event_and_counts_repeats_once(lab: Lab, http: aiohttp.ClientSession) -> None:
    body = await post_tiktok(http, lab, [TIKTOK, patched(TIKTOK, event_id="e-2", event=GONE)])
    assert body["message"] == "Batch.1.event: Missing data for required field."
    for _ in range(2):
        await post_tiktok(http, lab, [TIKTOK])
    assert [entry.duplicate for entry in lab.inbox("tiktok")[-2:]] == [False, True]


async def test_tiktok_wants_its_trailing_slash(lab: Lab, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{lab.url('tiktok')}/open_api/v1.3/event/track", json={}) as response:
        assert response.status == 404


# --- GA4 ----------------------------------------------------------------------------------------------------------------

GA4: dict[str, Any] = {
    "client_id": "123.456",
    "timestamp_micros": NOW * 10**6,
    "consent": {"ad_user_data": "GRANTED", "ad_personalization": "DENIED"},
    "events": [
        {
            "name": "purchase",
            "params": {
                "session_id": "1795514000",
                "engagement_time_msec": 100,
                "page_location": "https://shop.example/" + "x" * 500,
                "transaction_id": "T-1",
                "value": 42.5,
                "currency": "EUR",
                "items": [{"item_id": "s-1", "price": 42.5, "quantity": 1}],
            },
        }
    ],
}
STREAM = {"api_secret": "s", "measurement_id": "G-1"}


async def post_ga4(
    http: aiohttp.ClientSession, lab: Lab, body: Any, path: str = "/mp/collect", **query: str
) -> tuple[int, bytes]:
    async with http.post(lab.url("ga4") + path, json=body, params=query or STREAM) as response:
        return response.status, await response.read()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"events.0.timestamp_micros": (NOW - 71 * 3600) * 10**6},
        {"user_data": {"sha256_email_address": [HASH], "address": [{"sha256_first_name": HASH, "city": "berlin"}]}},
        {"user_properties": {"plan": {"value": "pro"}}, "ip_override": "203.0.113.7"},
        {"device": {"category": "mobile", "language": "en"}, "user_location": {"country_id": "DE"}},
        {"events.0.name": "my_own_event"},
    ],
    ids=str,
)
async def test_ga4_records(lab: Lab, http: aiohttp.ClientSession, changes: dict[str, Any]) -> None:
    assert await post_ga4(http, lab, patched(GA4, **changes)) == (204, b"")
    entry = lab.inbox("ga4")[-1]
    assert (entry.accepted, entry.reason, entry.notes) == (True, "", ())


GA4_DROPS = [
    ({"client_id": GONE}, "client_id is required", "VALUE_REQUIRED"),
    ({"clientId": "1.2"}, "clientId is no field", "NAME_INVALID"),
    ({"timestamp_micros": NOW * 1000}, "timestamp_micros must be microseconds", "VALUE_INVALID"),
    ({"timestamp_micros": (NOW - 73 * 3600) * 10**6}, "timestamp_micros is more than 72 hours old", "VALUE_OUT_OF_BOUNDS"),
    ({"timestamp_micros": (NOW + 3600) * 10**6}, "timestamp_micros lies in the future", "VALUE_OUT_OF_BOUNDS"),
    ({"consent.ad_user_data": "granted"}, "consent.ad_user_data must be one of", "VALUE_INVALID"),
    ({"consent.analytics_storage": "GRANTED"}, "consent.analytics_storage is no field", "NAME_INVALID"),
    ({"user_id": "jane@example.com"}, "user_id must be text", "VALUE_INVALID"),
    ({"user_data": {"sha256_email_address": ["jane@example.com"]}}, "user_data.sha256_email_address[0] is an e-mail", None),
    ({"user_data": {"address": [{"city": HASH}]}}, "user_data.address[0].city must not be hashed", "VALUE_INVALID"),
    ({"user_properties": {"user_id": {"value": "1"}}}, "user_properties.user_id is a reserved name", "NAME_RESERVED"),
    ({"user_properties": {"plan": "pro"}}, 'user_properties.plan must be {"value": …}', "VALUE_REQUIRED"),
    ({"user_properties": {"plan": {"value": "p" * 37}}}, "user_properties.plan is longer", "VALUE_OUT_OF_BOUNDS"),
    ({"device": {"language": "en"}}, "device.category is required", "VALUE_REQUIRED"),
    ({"ip_override": "x"}, "ip_override must be an IP address", "VALUE_INVALID"),
    ({"events.0.name": "session_start"}, "events[0].name session_start is reserved", "NAME_RESERVED"),
    ({"events.0.name": "ga_thing"}, "events[0].name ga_thing is reserved", "NAME_RESERVED"),
    ({"events.0.name": "Order Completed"}, "events[0].name must be 1 to 40", "NAME_INVALID"),
    ({"events.0.name": "e" * 41}, "events[0].name must be 1 to 40", "NAME_INVALID"),
    ({"events.0.params.session_id": "0193-uuid"}, "events[0].params.session_id must be digits", "VALUE_INVALID"),
    ({"events.0.params.engagement_time_msec": 0}, "events[0].params.engagement_time_msec must be", "VALUE_INVALID"),
    ({"events.0.params.transaction_id": GONE}, "events[0].params.transaction_id is required for purchase", "VALUE_REQUIRED"),
    ({"events.0.params.currency": "eur"}, "events[0].params.currency must be an ISO 4217", "VALUE_INVALID"),
    ({"events.0.params.value": "42.5"}, "events[0].params.value must be a number", "VALUE_INVALID"),
    ({"events.0.params.ga_x": 1}, "events[0].params.ga_x is a reserved name", "NAME_RESERVED"),
    ({"events.0.params.odd name": 1}, "events[0].params.odd name must be", "NAME_INVALID"),
    ({"events.0.params.nested": {"a": 1}}, "events[0].params.nested must be text or a number", "VALUE_INVALID"),
    ({"events.0.params.items.0.item_id": GONE}, "events[0].params.items[0].item_id item_id or item_name", "VALUE_REQUIRED"),
    ({"events.0.params.items.0.quantity": 1.5}, "events[0].params.items[0].quantity must be a whole", "VALUE_INVALID"),
    ({"events.0.params.items": [{"item_id": "a"}] * 201}, "events[0].params.items must hold at", "EXCEEDED_MAX_ENTITIES"),
    ({"events": [{"name": "scroll"}] * 26}, "events must hold at most 25", "EXCEEDED_MAX_ENTITIES"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason", "code"), GA4_DROPS, ids=[reason[:50] for _, reason, _ in GA4_DROPS])
async def test_ga4_answers_204_and_the_inbox_and_the_debug_endpoint_say_why_it_is_dropped(
    lab: Lab, http: aiohttp.ClientSession, changes: dict[str, Any], reason: str, code: str | None
) -> None:
    body = patched({**GA4, "events": GA4["events"]}, **changes)
    assert await post_ga4(http, lab, body) == (204, b"")
    assert not lab.inbox("ga4")[-1].accepted
    assert lab.inbox("ga4")[-1].reason.startswith(reason)
    received = len(lab.inbox("ga4"))
    strict = body | {"validation_behavior": "ENFORCE_RECOMMENDATIONS"}
    status, answer = await post_ga4(http, lab, strict, "/debug/mp/collect")
    messages = json.loads(answer)["validationMessages"]
    found = [one for one in messages if one["description"].startswith(reason)]
    assert status == 200
    assert found
    assert code is None or found[0]["validationCode"] == code
    assert len(lab.inbox("ga4")) == received, "the debug endpoint records nothing"


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"events.0.params.session_id": GONE}, "events[0].params.session_id is missing"),
        ({"events.0.params.engagement_time_msec": GONE}, "engagement_time_msec is missing"),
        ({"events.0.params.coupon": "c" * 101}, "params.coupon is cut after 100"),
        ({"events.0.params.items": GONE}, "params.items is recommended for purchase"),
        ({"events.0.params.currency": GONE}, "params.currency is required with value"),
        ({"events.0": {"name": "x", "params": {f"p{i}": i for i in range(26)}}}, "params holds more than 25 parameters"),
    ],
    ids=str,
)
async def test_ga4_notes_what_it_would_cut_or_not_report(
    lab: Lab, http: aiohttp.ClientSession, changes: dict[str, Any], note: str
) -> None:
    await post_ga4(http, lab, patched(GA4, **changes))
    entry = lab.inbox("ga4")[-1]
    assert entry.accepted
    assert note in " ".join(f"events[0].{one}" if not one.startswith("events") else one for one in entry.notes)


@pytest.mark.parametrize(
    "query",
    [{"measurement_id": "G-1"}, {"api_secret": "expired", "measurement_id": "G-1"}, {"api_secret": "s"}],
    ids=["no secret", "wrong secret", "no stream"],
)
async def test_ga4_drops_silently_what_names_no_stream(lab: Lab, http: aiohttp.ClientSession, query: dict[str, str]) -> None:
    assert await post_ga4(http, lab, GA4, **query) == (204, b"")
    assert not lab.inbox("ga4")[-1].accepted
    status, answer = await post_ga4(http, lab, GA4, "/debug/mp/collect", **query)
    assert (status, json.loads(answer)) == (200, {"validationMessages": []})


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"client_id": "1.2", "events": []}', b'{"x": "' + b"y" * 130_001 + b'"}'])
async def test_ga4_answers_204_to_anything(lab: Lab, http: aiohttp.ClientSession, body: bytes) -> None:
    async with http.post(f"{lab.url('ga4')}/mp/collect", data=body, params=STREAM) as response:
        assert (response.status, await response.read()) == (204, b"")
    assert not lab.inbox("ga4")[-1].accepted


async def test_ga4_apps_are_known_by_their_instance_id(lab: Lab, http: aiohttp.ClientSession) -> None:
    app = {"api_secret": "s", "firebase_app_id": "1:2:android:3"}
    await post_ga4(http, lab, GA4, **app)
    await post_ga4(http, lab, patched(GA4, client_id=GONE, app_instance_id="0" * 32), **app)
    assert [entry.accepted for entry in lab.inbox("ga4")] == [False, True]


async def test_the_debug_endpoint_gives_details_only_when_asked_to_enforce(lab: Lab, http: aiohttp.ClientSession) -> None:
    body = patched(GA4, **{"events.0.name": "session_start"})
    assert json.loads((await post_ga4(http, lab, body, "/debug/mp/collect"))[1]) == {"validationMessages": []}
    strict = body | {"validation_behavior": "ENFORCE_RECOMMENDATIONS"}
    (message,) = json.loads((await post_ga4(http, lab, strict, "/debug/mp/collect"))[1])["validationMessages"]
    assert message == {
        "fieldPath": "events[0].name",
        "description": "events[0].name session_start is reserved",
        "validationCode": "NAME_RESERVED",
    }


# --- webhook ------------------------------------------------------------------------------------------------------------

EVENT = {"v": 1, "id": "e-1", "name": "purchase", "props": {"value": 42.5}}


def signed(body: bytes, at: int = NOW, secret: str = WEBHOOK_SECRET) -> str:
    return f"t={at},v1=" + hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


async def post_webhook(
    http: aiohttp.ClientSession, lab: Lab, body: bytes, *, kind: str = "application/json", **headers: str
) -> tuple[int, dict[str, Any]]:
    sent = {"Content-Type": kind, "X-Event-Id": "e-1", "Idempotency-Key": "e-1", "X-Signature-256": signed(body)}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.post(lab.url("webhook"), data=body, headers={k: v for k, v in sent.items() if v}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("body", "kind", "names"),
    [
        (json.dumps(EVENT).encode(), "application/json", ["purchase"]),
        (json.dumps([EVENT, EVENT | {"id": "e-2"}]).encode(), "application/json; charset=utf-8", ["purchase"] * 2),
        (json.dumps({"events": [EVENT]}).encode(), "application/json", ["purchase"]),
        (b'{"name":"a"}\n{"name":"b"}\n', "application/x-ndjson", ["a", "b"]),
        (b"event=Order&currency=USD", "application/x-www-form-urlencoded", ["Order"]),
        (b"<r><name>a</name></r>", "application/xml", ["a"]),
    ],
)
async def test_webhooks_are_read_by_their_content_type(
    lab: Lab, http: aiohttp.ClientSession, body: bytes, kind: str, names: list[str]
) -> None:
    assert (await post_webhook(http, lab, body, kind=kind))[0] == 200
    assert [(entry.name, entry.accepted) for entry in lab.inbox("webhook")] == [(name, True) for name in names]


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"X_Signature_256": ""}, 401, "X-Signature-256 is missing"),
        ({"X_Signature_256": "sha256=abc"}, 401, "X-Signature-256 must look like"),
        ({"X_Signature_256": signed(b"other")}, 401, "the signature does not match the body"),
        ({"X_Signature_256": signed(b"{}", secret="wrong")}, 401, "the signature does not match the body"),
        ({"X_Signature_256": signed(b"{}", at=NOW - 301)}, 401, "the signature is older than five minutes"),
        ({"X_Event_Id": ""}, 400, "x-event-id is missing"),
        ({"Idempotency_Key": ""}, 400, "idempotency-key is missing"),
        ({"kind": "application/json", "X_Signature_256": signed(b"{}")}, 200, ""),
        ({"X_Signature_256": signed(b"{}", secret="old") + signed(b"{}").removeprefix(f"t={NOW}")}, 200, ""),
    ],
    ids=["unsigned", "another form", "other body", "other secret", "old", "no event id", "no key", "signed", "rotating"],
)
async def test_webhooks_are_verified(
    lab: Lab, http: aiohttp.ClientSession, headers: dict[str, str], status: int, reason: str
) -> None:
    seen, body = await post_webhook(http, lab, b"{}", **headers)
    assert seen == status
    assert body.get("error", "").startswith(reason)
    assert lab.inbox("webhook")[-1].accepted is (status == 200)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{", "application/json"), (b"[]", "application/json"), (b"x", "image/png"), (b"<a>", "text/xml"),
     (b"1\n", "application/x-ndjson")],
)  # fmt: skip
async def test_webhooks_that_are_not_what_they_say_are_refused(
    lab: Lab, http: aiohttp.ClientSession, body: bytes, kind: str
) -> None:
    assert (await post_webhook(http, lab, body, kind=kind))[0] == 400


async def test_the_bare_address_of_the_hook_is_verified_too(lab: Lab, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{lab.url()}/webhook", json=EVENT) as response:
        assert response.status == 401


async def test_a_repeated_idempotency_key_is_a_duplicate(lab: Lab, http: aiohttp.ClientSession) -> None:
    for key in ("k-1", "k-1", "k-2"):
        await post_webhook(http, lab, json.dumps(EVENT).encode(), Idempotency_Key=key)
    assert [entry.duplicate for entry in lab.inbox("webhook")] == [False, True, False]


async def test_the_unsigned_hook_takes_requests_without_a_signature(lab: Lab, http: aiohttp.ClientSession) -> None:
    headers = {"X-Event-Id": "e-1", "Idempotency-Key": "e-1"}
    async with http.put(f"{lab.url()}/webhook/unsigned/a", json=EVENT, headers=headers) as response:
        assert response.status == 200


# --- switches, inbox, stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "mode", "status", "words"),
    [
        ("meta", "500", 500, b'"is_transient":true'),
        ("meta", "429", 400, b'"code":4'),
        ("meta", "401", 500, b'"code":190'),
        ("tiktok", "500", 502, b"<html>"),
        ("tiktok", "429", 200, b'"code":40100'),
        ("tiktok", "401", 200, b'"code":40105'),
        ("ga4", "500", 500, b"<html>"),
        ("ga4", "429", 429, b""),
        ("ga4", "401", 204, b""),
        ("webhook", "500", 500, b"down"),
        ("webhook", "429", 429, b"down"),
        ("webhook", "401", 401, b"down"),
    ],
)
async def test_a_vendor_that_is_down_says_so_in_its_own_way(
    lab: Lab, http: aiohttp.ClientSession, vendor: str, mode: Any, status: int, words: bytes
) -> None:
    lab.down(vendor, mode)
    async with http.post(lab.url(vendor) + "/anything", data=b"{}") as response:
        assert response.status == status
        assert words in await response.read()
        assert ("Retry-After" in response.headers) is (mode == "429" and vendor != "tiktok")
    assert lab.requests(vendor)[-1].status == status


async def test_a_reset_cuts_the_connection(lab: Lab, http: aiohttp.ClientSession) -> None:
    lab.down("meta", "reset")
    with pytest.raises(aiohttp.ClientConnectionError):
        await post_meta(http, lab, {"data": [META]})
    lab.down("meta", None)
    assert (await post_meta(http, lab, {"data": [META]}))[0] == 200


async def test_a_hang_holds_requests_until_the_switch_is_turned(lab: Lab, http: aiohttp.ClientSession) -> None:
    lab.down("meta", "hang")
    hung = asyncio.create_task(post_meta(http, lab, {"data": [META]}))
    others = await post_tiktok(http, lab, [TIKTOK])
    assert others["code"] == 0
    assert not hung.done()
    lab.down("meta", None)
    with pytest.raises(aiohttp.ClientConnectionError):
        await hung


async def test_the_switch_works_over_http(lab: Lab, http: aiohttp.ClientSession) -> None:
    for vendor, body, status in (
        ("meta", {"mode": "500"}, 200),
        ("meta", {"mode": "broken"}, 400),
        ("meta", {}, 400),
        ("nobody", {"mode": None}, 404),
    ):
        async with http.post(f"{lab.url()}/switch/{vendor}", json=body) as response:
            assert response.status == status, body
    async with http.get(f"{lab.url()}/switch") as response:
        assert await response.json() == {"meta": "500", "ga4": None, "tiktok": None, "webhook": None}
    async with http.post(f"{lab.url()}/switch/meta", json={"mode": None}) as response:
        assert (await response.json())["meta"] is None


async def test_the_inbox_is_shown_over_http(lab: Lab, http: aiohttp.ClientSession) -> None:
    for number in range(3):
        await post_meta(http, lab, {"data": [patched(META, event_id=f"e-{number}")]})
    async with http.get(f"{lab.url()}/inbox") as response:
        shown = await response.json()
    assert {vendor: len(entries) for vendor, entries in shown.items()} == {"meta": 3, "ga4": 0, "tiktok": 0, "webhook": 0}
    assert shown["meta"][0] | {"payload": None} == {
        "at": "2026-11-24T10:00:00.000Z",
        "vendor": "meta",
        "name": "Purchase",
        "id": "e-0",
        "accepted": True,
        "reason": "",
        "payload": None,
        "duplicate": False,
        "notes": [],
    }
    async with http.get(f"{lab.url()}/inbox/meta?limit=1") as response:
        assert [entry["id"] for entry in await response.json()] == ["e-2"]
    async with http.post(f"{lab.url()}/clear") as response:
        assert response.status == 200
    assert lab.inbox("meta") == []


@pytest.mark.parametrize(
    ("path", "status"), [("/inbox/nobody", 404), ("/inbox?limit=x", 400), ("/nobody/at/all", 404), ("/", 404)]
)
async def test_unknown_addresses_are_refused(lab: Lab, http: aiohttp.ClientSession, path: str, status: int) -> None:
    async with http.get(lab.url() + path) as response:
        assert response.status == status


async def test_the_stream_shows_events_as_they_arrive(lab: Lab, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{lab.url()}/stream", headers={"Origin": "http://127.0.0.1:9090"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "http://127.0.0.1:9090"
        assert (await response.content.readline()).startswith(b":")
        await post_meta(http, lab, {"data": [META]})
        await response.content.readline()
        line = await response.content.readline()
    assert json.loads(line.removeprefix(b"data: "))["id"] == "e-1"


async def test_pages_of_other_sites_can_neither_read_nor_switch(lab: Lab, http: aiohttp.ClientSession) -> None:
    for method, path in (("GET", "/inbox"), ("POST", "/switch/meta"), ("OPTIONS", "/switch/meta")):
        async with http.request(method, lab.url() + path, headers={"Origin": "https://evil.example"}) as response:
            assert response.status == 403
    async with http.options(f"{lab.url()}/switch/meta", headers={"Origin": "http://localhost:9090"}) as response:
        assert response.status == 204


async def test_a_lab_with_a_watcher_closes_at_once(http: aiohttp.ClientSession) -> None:
    lab = await start_lab("127.0.0.1", 0)
    async with http.get(f"{lab.url()}/stream") as response:
        await response.content.readline()
        await asyncio.wait_for(lab.close(), 5)


async def test_a_taken_address_is_said_in_words(lab: Lab) -> None:
    port = int(lab.url().rsplit(":", 1)[1])
    with pytest.raises(GatewayError, match="the lab cannot listen on"):
        await start_lab("127.0.0.1", port)


async def test_memory_is_bounded() -> None:
    inbox = Inbox(("meta",))
    with inbox.reading() as reader:
        for number in range(3 * KEPT):
            inbox.add(Entry(0.0, "meta", "x", str(number), True, "", None))
        assert len(inbox.entries["meta"]) == KEPT
        assert reader.get_nowait().id == str(2 * KEPT)
