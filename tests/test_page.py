"""The page's routes: what they show, that nothing personal or secret leaves through them, and who may ask."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.app import Tagway
from gateway.config.load import load
from gateway.consent_watch import LEAST, SPAN, ConsentWatch
from gateway.lab import Lab, start_lab
from gateway.mapping import FieldTrace
from gateway.mapping.trace_expression import Step
from gateway.page.mask import NOBODY, Known, Mask, personal
from gateway.page.story import field_json
from gateway.queue.base import Audit, LaneCount
from tests.gateway_kit import DENIED, GRANTED, Running, lab_files, purchase, running, write_files

STATIC = Path(__file__).parents[1] / "gateway" / "page" / "static"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = await start_lab("127.0.0.1", 0)
    yield made
    await made.close()


@pytest.fixture
async def gateway(tmp_path: Path, lab: Lab) -> AsyncIterator[Running]:
    async with running(tmp_path, lab_files(lab)) as up:
        yield up


def base(gateway: Running) -> str:
    return f"http://{gateway.app.addresses['admin']}"


async def status_of(gateway: Running, path: str, method: str = "GET", **options: Any) -> int:
    async with gateway.client.request(method, base(gateway) + path, **options) as answer:
        await answer.read()
        return answer.status


@asynccontextmanager
async def streaming(gateway: Running) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async with gateway.client.get(f"{base(gateway)}/stream") as answer:
        assert answer.content_type == "text/event-stream"

        async def messages() -> AsyncIterator[dict[str, Any]]:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

        yield messages()


# what it shows


async def test_a_recent_event_shows_each_destination_with_outcome_words_and_the_vendors_status(gateway: Running) -> None:
    await gateway.send(purchase("e-1"))
    await gateway.idle()
    (event,) = (await gateway.admin("GET", "/recent"))["events"]
    assert (event["name"], event["order"], event["value"]) == ("purchase", "o-e-1", "42.50 EUR")
    assert {lane: (end["state"], end["words"], end["status"]) for lane, end in event["ends"].items()} == {
        "meta": ("delivered", "delivered", 200),
        "ga4": ("delivered", "delivered", 204),
        "tiktok": ("delivered", "delivered", 200),
        "webhook": ("delivered", "delivered", 200),
    }
    assert event["ends"]["ga4"]["unconfirmed"]


async def test_an_event_without_consent_names_the_deciding_signal(gateway: Running) -> None:
    await gateway.send(purchase("e-1", consent={**GRANTED, "ad_storage": "denied"}))
    await gateway.idle()
    (event,) = (await gateway.admin("GET", "/recent?destination=meta&outcome=skipped&reason=consent"))["events"]
    assert event["ends"]["meta"]["detail"] == "ad_storage is denied (event)"
    assert event["ends"]["ga4"]["state"] == "delivered"


async def test_an_event_of_a_vendor_that_is_down_is_shown_as_tried_again_with_the_reason(gateway: Running, lab: Lab) -> None:
    lab.down("meta", "500")
    await gateway.send(purchase("e-1"))
    async with asyncio.timeout(10):
        while (end := (await gateway.admin("GET", "/recent"))["events"][0]["ends"]["meta"])["state"] != "retrying":
            await asyncio.sleep(0.05)
    assert end["words"] == "trying again"
    assert end["detail"].startswith("The last try failed: the vendor's answer carried an error code.")
    assert end["status"] == 500
    assert end["due"]
    (story,) = (await gateway.admin("GET", "/story/e-1"))["stories"]
    (meta,) = (one for one in story["destinations"] if one["destination"] == "meta")
    assert (meta["state"], meta["change"]) == ("retrying", []), "the vendor's own trouble is nobody's line"
    lab.down("meta", None)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?name=quiz", ["quiz"]),
        ("?outcome=skipped&reason=unmapped", ["quiz"]),
        ("?destination=webhook&outcome=delivered", ["quiz", "purchase"]),
        ("?destination=ga4&outcome=skipped&reason=incomplete", ["quiz"]),
        ("?limit=1", ["quiz"]),
        ("?outcome=dead", []),
    ],
)
async def test_recent_events_are_filtered(gateway: Running, query: str, names: list[str]) -> None:
    await gateway.send([purchase("e-1"), {"name": "quiz", "consent": GRANTED}])
    await gateway.idle()
    assert [one["name"] for one in (await gateway.admin("GET", f"/recent{query}"))["events"]] == names


async def test_an_unknown_filter_is_refused(gateway: Running) -> None:
    assert await status_of(gateway, "/recent?colour=red") == 400
    assert await status_of(gateway, "/recent?limit=many") == 400


async def test_the_overview_balances_and_says_what_is_not_confirmed(gateway: Running) -> None:
    await gateway.send([purchase("e-1"), purchase("e-1"), purchase("e-2", consent=DENIED)])
    await gateway.idle()
    top = await gateway.admin("GET", "/overview")
    assert top["balanced"]
    by_name = {one["destination"]: one for one in top["destinations"]}
    assert by_name["meta"]["equation"]["accepted"] == 2
    assert by_name["meta"]["equation"]["delivered"] == 1
    assert [by_name[name]["equation"]["confirmed"] for name in ("meta", "ga4")] == [True, False]
    assert top["sources"] == [{"source": "shop", "accepted": 3, "logged": 2, "same": 1, "conflict": 0, "balanced": True}]
    assert "/v1/events?k=wk_shop" in top["try"]


async def test_the_books_in_memory_say_what_the_audit_counts_from_the_rows(gateway: Running, lab: Lab) -> None:
    lab.down("tiktok", "500")
    await gateway.send([purchase(f"e-{n}", consent=GRANTED if n % 2 else DENIED) for n in range(20)])
    await asyncio.sleep(0.3)
    lab.down("tiktok", None)
    audit, books = await gateway.app.store.audit(), gateway.app.store.books()
    assert {(row.lane, row.source): row for row in books.lanes} == {(row.lane, row.source): row for row in audit.lanes}
    assert books.sources == audit.sources


# the story


async def test_a_story_tells_every_stage_and_the_line_that_would_change_it(gateway: Running) -> None:
    await gateway.send(
        purchase("e-1", page={"url": "https://shop.example/thanks?gclid=CjwKCAtest123&utm_source=mail&email=jane@example.com"})
    )
    await gateway.idle()
    (story,) = (await gateway.admin("GET", "/story/e-1"))["stories"]
    steps = {step["title"]: step for step in story["steps"]}
    assert list(steps) == ["Hit", "Normalise", "Enrich", "Bots", "Consent", "Visitor"]
    assert {row["field"]: row["value"] for row in steps["Enrich"]["rows"]} == {"ids.gclid": "***", "campaign.source": "mail"}
    assert {row["field"]: (row["value"], row["signal"]) for row in steps["Consent"]["rows"]}["ad_storage"] == (
        "granted",
        "the hit itself",
    )
    assert re.search(r"gateway\.yaml:\d+$", steps["Consent"]["change"][0]["place"])
    meta = next(one for one in story["destinations"] if one["destination"] == "meta")
    assert (meta["state"], meta["now"]) == ("delivered", "sent as Purchase")
    assert re.search(r"meta\.yaml:\d+$", meta["change"][0]["place"])
    (answer,) = meta["answers"]
    assert (answer["status"], answer["answer"]["events_received"]) == (200, 1)
    fields = {field["field"]: field for field in meta["fields"]}
    assert (fields["custom_data.currency"]["value"], fields["custom_data.currency"]["sent"]) == ("EUR", True)
    assert re.search(r"meta\.yaml:\d+$", fields["custom_data.currency"]["place"])
    assert re.fullmatch(r"[0-9a-f]{6}… \(hash\)", fields["user_data.em[0]"]["value"])
    assert meta["requests"][0]["headers"]["Authorization"] == "***"


@pytest.mark.parametrize(
    ("event", "lane", "patch", "reason", "place"),
    [
        (purchase("e-1", consent={**GRANTED, "ad_storage": "denied"}), "meta", "", "consent", r"meta\.yaml:\d+"),
        (purchase("e-1"), "meta", "share: 0\n", "share", r"/meta\.yaml:6"),
        (purchase("e-1"), "meta", "mode: dry_run\n", "mode", r"/meta\.yaml:6"),
        (purchase("e-1"), "meta", "when: $props.value > 100\n", "filter", r"/meta\.yaml:6"),
        (purchase("e-1"), "meta", "events:\n  purchase: null\n", "filter", r"/meta\.yaml:7"),
        ({"name": "quiz", "id": "e-1", "consent": GRANTED}, "meta", "", "unmapped", r"/meta\.yaml"),
        (purchase("e-1", props={"value": 1}), "tiktok", "", "incomplete", r"tiktok\.yaml:\d+"),
        (purchase("e-1", bot={"score": 90}), "meta", "bots:\n  max_score: 10\n", "", ""),
    ],
    ids=["consent", "share", "mode", "when", "tombstone", "unmapped", "incomplete", "not a bot by its own word"],
)
async def test_the_place_that_would_change_a_skip(
    tmp_path: Path, lab: Lab, event: dict[str, Any], lane: str, patch: str, reason: str, place: str
) -> None:
    files = lab_files(lab)
    files[lane] += patch
    async with running(tmp_path, files) as gateway:
        await gateway.send(event)
        await gateway.idle()
        (story,) = (await gateway.admin("GET", "/story/e-1"))["stories"]
    end = next(one for one in story["destinations"] if one["destination"] == lane)
    assert end["reason"] == reason
    assert re.search(place + ("$" if place else ""), end["change"][0]["place"]), end["change"]


async def test_a_story_is_found_by_order_number_newest_first(gateway: Running) -> None:
    await gateway.send(purchase("e-1"))
    await gateway.send(purchase("e-2", name="refund", props={"transaction_id": "o-e-1", "value": 5, "currency": "EUR"}))
    await gateway.send(purchase("e-3", props={"transaction_id": "o-e-10", "value": 5, "currency": "EUR"}))
    await gateway.idle()
    stories = (await gateway.admin("GET", "/orders/o-e-1"))["stories"]
    assert [story["id"] for story in stories] == ["e-2", "e-1"]
    assert (await gateway.admin("GET", "/orders/none"))["stories"] == []


async def test_an_order_with_odd_characters_is_found(gateway: Running) -> None:
    order = 'Ä"1/2 #%'
    await gateway.send(purchase("e-1", props={"transaction_id": order, "value": 5, "currency": "EUR"}))
    await gateway.idle()
    async with gateway.client.get(f"{base(gateway)}/orders/%C3%84%221%2F2%20%23%25") as answer:
        assert [story["order"] for story in (await answer.json())["stories"]] == [order]


async def test_an_order_that_nobody_may_have_is_found_by_its_number_and_its_row_does_not_hold_it(gateway: Running) -> None:
    for order in ("1042", "1043"):
        props = {"transaction_id": order, "value": 5, "currency": "EUR"}
        await gateway.send(purchase(f"e-{order}", consent=DENIED, props=props))
    await gateway.idle()
    [story] = (await gateway.admin("GET", "/orders/1042"))["stories"]
    assert (story["id"], story["order"]) == ("e-1042", "1042")
    assert {end["state"] for end in story["destinations"]} == {"skipped"}
    [(_, _, body, _)] = await gateway.app.store.find("e-1042")
    stored = json.loads(body)
    assert set(stored) <= {"v", "id", "name", "time", "received", "source", "dialect", "consent", "raw"}
    assert set(stored["raw"]) == {"reason", "order_mark"}
    assert "1042" not in json.dumps({key: value for key, value in stored.items() if key != "id"})


async def test_a_repeat_with_other_content_is_told_as_one_and_after_the_event_itself(gateway: Running) -> None:
    await gateway.send(purchase("e-1"))
    await gateway.send(purchase("e-1", props={"transaction_id": "o-e-1", "value": 1, "currency": "EUR"}))
    await gateway.idle()
    kept, repeat = (await gateway.admin("GET", "/story/e-1"))["stories"]
    assert kept["repeat"] == ""
    assert [end["state"] for end in kept["destinations"]] == ["delivered"] * 4
    assert repeat["repeat"] == "The same id came before with other content; the second is kept with the dead letters."
    assert (repeat["value"], repeat["destinations"]) == ("1.00 EUR", [])


async def test_an_unknown_event_has_no_story(gateway: Running) -> None:
    assert await gateway.admin("GET", "/story/none") == {"stories": []}


async def test_an_event_is_given_raw_to_programs_and_never_to_a_browser(gateway: Running) -> None:
    await gateway.send(purchase("e-1"))
    await gateway.idle()
    assert (await gateway.admin("GET", "/events/e-1"))["events"][0]["event"]["user"] == {"id": "***", "email": "***"}
    raw = await gateway.admin("GET", "/events/e-1?raw=1")
    assert raw["events"][0]["event"]["user"]["email"] == "jane@example.com"
    assert await status_of(gateway, "/events/e-1?raw=1", headers={"Sec-Fetch-Site": "same-origin"}) == 400
    assert await status_of(gateway, "/events/e-1?raw=1", headers={"Cookie": "a=b"}) == 400


# dead letters


async def test_a_dead_letter_is_listed_in_words_and_replayed(gateway: Running, lab: Lab) -> None:
    await gateway.send(purchase("e-1", props={"value": 3, "transaction_id": "77"}))
    await gateway.idle()
    letters = (await gateway.admin("GET", "/dlq?to=tiktok"))["dead"]
    assert [(one["words"], one["order"], one["name"]) for one in letters] == [("incomplete", "77", "purchase")]
    answer = await gateway.admin("POST", "/dlq/replay", {"ids": [letters[0]["id"]]})
    assert answer == {"replayed": 1}
    await gateway.idle()
    assert len((await gateway.admin("GET", "/dlq?to=tiktok"))["dead"]) == 1


# masking

_CANARIES: dict[str, Any] = {
    "user": {
        "id": "kanariuser1",
        "anonymous_id": "kanarianon2",
        "email": "kanari.mail3@example.com",
        "phone": "+4915155500034",
        "first_name": "Kanarijane",
        "last_name": "Kanaridoe",
        "street": "Kanaristreet 5",
        "city": "Kanaricity",
        "zip": "kan4r1",
        "birthdate": "1984-03-07",
        "traits": {"plan": "kanaritrait", "nested": {"deep": ["kanarideep"]}},
    },
    "ids": {"ga_client_id": "918273645.1795500000", "fbp": "fb.1.1795514000000.kanarifbp", "ga_session_id": "1795500001"},
    "device": {"ip": "203.0.113.77", "user_agent": "Mozilla/5.0 Kanarifox/1"},
    "page": {
        "url": "https://shop.example/thanks/kanari.mail3@example.com?token=kanariquery&email=kanari.mail3%40example.com",
        "title": "Thank you Kanarijane",
        "referrer": "https://r.example/?q=kanariref",
    },
    "props": {
        "transaction_id": "o-1",
        "value": 5.5,
        "currency": "EUR",
        "customer": {"note": "kanaricustomer"},
        "delivery_address": "Kanaristreet 5",
        "comment": "call kanari.mail3@example.com or +49 151 5550 0034 from 203.0.113.77",
        "contact_email": "other.kanari@example.com",
    },
}
_TELLING = (
    "kanari",
    "15155500034",
    "203.0.113.77",
    "918273645",
    "kan4r1",
    "1984",
    "5550 0034",
    "lab-token-secret",
    *(
        hashlib.sha256(text.encode()).hexdigest()
        for text in ("kanari.mail3@example.com", "kanariuser1", "kanarijane", "4915155500034", "+4915155500034", "kanaricity")
    ),
)


ECHO = "type: webhook\nsettings:\n  url: {url}\n  secret: tagway-lab-webhook-secret\n"


@asynccontextmanager
async def echo() -> AsyncIterator[str]:
    """A vendor that refuses every event and quotes all of it in its answer."""

    async def quote(request: web.Request) -> web.Response:
        return web.Response(status=400, text=f"cannot take this: {await request.text()}")

    app = web.Application()
    app.add_routes([web.post("/", quote)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@pytest.mark.slow
async def test_no_answer_of_the_page_holds_personal_data_or_a_secret(tmp_path: Path, lab: Lab) -> None:
    files = {name: text.replace("access_token: T", "access_token: lab-token-secret") for name, text in lab_files(lab).items()}
    async with echo() as url, running(tmp_path, {**files, "echo": ECHO.format(url=url)}) as gateway:
        await gateway.send([purchase("e-1", **_CANARIES), purchase("e-2", **{**_CANARIES, "consent": DENIED})])
        await gateway.send(purchase("e-3", **{**_CANARIES, "props": {**_CANARIES["props"], "currency": None}}))
        lab.down("meta", "401")
        await gateway.send([purchase(f"e-1{n}", **_CANARIES) for n in range(2)])
        await asyncio.sleep(0.4)
        lab.down("meta", None)
        gateway.app.lanes.probe()
        await gateway.idle()
        seen = ""
        paths = ["/overview", "/recent", "/dlq", "/lanes", "/ledger", "/orders/o-1"]
        paths += [f"/{route}/{event}" for route in ("story", "events") for event in ("e-1", "e-2", "e-3", "e-10")]
        for path in paths:
            async with gateway.client.get(base(gateway) + path) as answer:
                text = await answer.text()
                assert answer.status == 200, (path, text)
                seen += text
        async with streaming(gateway) as messages:
            seen += json.dumps(await anext(messages), ensure_ascii=False)
    found = sorted({word for word in _TELLING if word.lower() in seen.lower()})
    assert not found, [seen[max(0, at - 80) : at + 60] for word in found for at in [seen.lower().index(word.lower())]]
    assert "cannot take this" in seen
    assert "shop.example/thanks" in seen, "what is not personal is still shown"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"content_ids": ["sku-1"]}, {"content_ids": ["sku-1"]}),
        ({"em": ["a" * 64]}, {"em": ["aaaaaa… (hash)"]}),
        ({"note": "b" * 64}, {"note": "bbbbbb… (hash)"}),
        ({"user": {"email": "x", "deep": [1, True]}}, {"user": {"email": "***", "deep": ["***", True]}}),
        ({"access_token": "abc"}, {"access_token": "***"}),
        ({"text": "Jane Roe ordered"}, {"text": "*** ordered"}),
        ({"name": "Janet Roebuck"}, {"name": "Janet Roebuck"}),
        ({"consent": {"ad_user_data": "GRANTED"}}, {"consent": {"ad_user_data": "GRANTED"}}),
        ({"n": 4711}, {"n": "***"}),
        ({"n": 47110}, {"n": 47110}),
    ],
)
def test_masking_by_key_value_and_looks(value: Any, shown: Any) -> None:
    known = Known(personal({"user": {"first_name": "Jane Roe", "id": 4711}}))
    assert Mask().value(value, known) == shown


def test_the_address_of_a_visitor_at_this_machine_is_masked_where_it_stands_alone() -> None:
    data = {"device": {"ip": "127.0.0.1"}, "page": {"url": "http://127.0.0.1:8090/checkout"}}
    shown = Mask().event(data, Known(personal(data)))
    assert shown == {"device": {"ip": "***"}, "page": {"url": "http://127.0.0.1:8090/checkout"}}


def test_an_event_is_masked_by_where_values_stand_alone() -> None:
    data = {
        "name": "x",
        "user": {"email": "e", "traits": {"a": "b"}},
        "ids": {"fbp": "f"},
        "raw": {"k": "v"},
        "device": {"ip": "i", "user_agent": "u", "type": "mobile"},
        "geo": {"country": "DE", "city": "c"},
        "session": {"id": "1", "number": 3},
        "page": {"url": "https://shop.example/a?b=c#d", "title": "t"},
    }
    assert Mask().event(data, NOBODY) == {
        "name": "x",
        "user": {"email": "***", "traits": {"a": "***"}},
        "ids": {"fbp": "***"},
        "raw": {"k": "***"},
        "device": {"ip": "***", "user_agent": "***", "type": "mobile"},
        "geo": {"country": "DE", "city": "***"},
        "session": {"id": "***", "number": 3},
        "page": {"url": "https://shop.example/a?***", "title": "t"},
    }


def test_a_field_of_the_request_that_starts_at_a_person_is_masked_whatever_it_is_called() -> None:
    chain = (Step("path", "$user.email", None, "jane", "a.yaml:1"), Step("call", "lower", "jane", "jane", "a.yaml:1"))
    told = field_json(FieldTrace(0, "params.x", chain, "jane", True), Mask(), NOBODY)
    assert (told["value"], told["place"]) == ("***", "a.yaml:1")


# the live feed


@pytest.mark.slow
async def test_the_stream_begins_with_everything_and_then_tells_what_changes(gateway: Running) -> None:
    await gateway.send(purchase("e-0"))
    await gateway.idle()
    async with asyncio.timeout(20), streaming(gateway) as messages:
        first = await anext(messages)
        assert first["type"] == "all"
        assert [one["id"] for one in first["events"]] == ["e-0"]
        assert first["overview"]["destinations"][0]["equation"]["accepted"] == 1
        await gateway.send(purchase("e-1"))
        seen: dict[str, Any] = {}
        overview: dict[str, Any] = {}
        while not (seen and all(end["state"] == "delivered" for end in seen["ends"].values())) or not overview:
            message = await anext(messages)
            if message["type"] == "overview":
                overview = message["overview"]
            for one in message.get("new", ()):
                seen = one
                assert message["passed"] == 1
            if seen:
                seen["ends"] = message.get("changed", {}).get(seen["key"], seen["ends"])
        assert seen["id"] == "e-1"


@pytest.mark.slow
async def test_nothing_runs_while_nobody_looks(gateway: Running) -> None:
    def feeds() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "page-feed"]

    assert feeds() == []
    async with asyncio.timeout(10), streaming(gateway) as messages:
        await anext(messages)
        assert feeds() == ["page-feed"]
    async with asyncio.timeout(10):
        while feeds():
            await gateway.send(purchase("e-1"))
            await asyncio.sleep(0.05)


async def test_a_stopping_gateway_ends_the_stream(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab)) as gateway, aiohttp.ClientSession() as client:
        answer = await client.get(f"{base(gateway)}/stream")
        await answer.content.readline()
        began = asyncio.get_running_loop().time()
        await gateway.app._runners[0].cleanup()
        assert asyncio.get_running_loop().time() - began < 3
        answer.close()


# who may ask


async def test_the_page_and_its_files_are_served_with_strict_headers(gateway: Running) -> None:
    for path in ("/", *(f"/static/{file.name}" for file in STATIC.iterdir())):
        async with gateway.client.get(base(gateway) + path) as answer:
            assert answer.status == 200, path
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"


async def test_only_files_of_the_page_are_served(gateway: Running) -> None:
    for path in ("/static/none.js", "/static/..%2froutes.py", "/static/%2e%2e/routes.py", "/static/"):
        assert await status_of(gateway, path) == 404


def test_the_page_has_no_inline_script_or_style_and_names_no_other_host() -> None:
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", html)
    for file in STATIC.iterdir():
        foreign = re.findall(
            r"(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+", file.read_text().replace("http://www.w3.org/2000/svg", "")
        )
        assert foreign == [], file.name
    for file in STATIC.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", file.read_text()), file.name


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:9090"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/overview", "/recent", "/ledger", "/dlq"])
async def test_another_site_is_refused(gateway: Running, path: str, headers: dict[str, str], status: int) -> None:
    assert await status_of(gateway, path, headers=headers) == status


async def test_a_change_needs_json_and_the_same_site(gateway: Running) -> None:
    assert await status_of(gateway, "/dlq/replay", "POST", data={"a": "b"}) == 403
    assert await status_of(gateway, "/dlq/replay", "POST", json={}, headers={"Origin": "https://evil.example"}) == 403
    assert await status_of(gateway, "/dlq/replay", "POST", json={}) == 200


async def test_with_a_token_the_page_is_an_empty_shell_until_somebody_logs_in(tmp_path: Path, lab: Lab) -> None:
    async with guarded(tmp_path, lab) as gateway:
        assert await status_of(gateway, "/") == 200
        assert await status_of(gateway, "/static/page.js") == 200
        for path in ("/overview", "/recent", "/stream", "/story/e-1", "/orders/1", "/events/e-1", "/dlq", "/ledger", "/lanes"):
            assert await status_of(gateway, path) == 401, path
        assert await status_of(gateway, "/login", "POST", json={"token": "wrong"}) == 401
        assert await status_of(gateway, "/login", "POST", json={}) == 401
        assert (
            await status_of(
                gateway, "/login", "POST", json={"token": "kanari-admin-token"}, headers={"Origin": "https://evil.example"}
            )
            == 403
        )


async def test_logging_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(tmp_path: Path, lab: Lab) -> None:
    async with guarded(tmp_path, lab) as gateway:
        async with gateway.client.post(f"{base(gateway)}/login", json={"token": "kanari-admin-token"}) as answer:
            cookie = answer.cookies["tagway_admin"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert not cookie["secure"], "plain http on loopback"
        assert "kanari" not in cookie.value
        headers = {"Cookie": f"tagway_admin={cookie.value}"}
        assert await status_of(gateway, "/overview", headers=headers) == 200
        assert await status_of(gateway, "/overview", headers={"Cookie": "tagway_admin=kanari-admin-token"}) == 401
        assert await status_of(gateway, "/overview", headers={"Authorization": "Bearer kanari-admin-token"}) == 200
        async with gateway.client.post(
            f"{base(gateway)}/login", json={"token": "kanari-admin-token"}, headers={"X-Forwarded-Proto": "https"}
        ) as answer:
            assert answer.cookies["tagway_admin"]["secure"]
        async with gateway.client.post(f"{base(gateway)}/logout", json={}, headers=headers) as answer:
            assert answer.cookies["tagway_admin"]["max-age"] == "0"


@asynccontextmanager
async def guarded(tmp_path: Path, lab: Lab) -> AsyncIterator[Running]:
    path = write_files(tmp_path, lab_files(lab))
    path.write_text(path.read_text().replace("admin:\n", "admin:\n  token: kanari-admin-token\n"))
    app = Tagway(load(path), drain=0.0)
    await app.start()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        try:
            yield Running(app, tmp_path, client)
        finally:
            await app.stop()


# consent that explains itself


def _books(barred: int, delivered: int) -> Audit:
    outcomes = {("skipped", "consent"): barred, ("delivered", ""): delivered}
    return Audit((), (LaneCount("meta", "shop", barred + delivered, 0, outcomes, 0),))


def test_a_lane_without_consent_is_reported_once_with_its_signal(caplog: pytest.LogCaptureFixture) -> None:
    watch = ConsentWatch(lambda lane: "Most often: ad_storage is denied (event).")
    watch.look(0.0, _books(1000, 0))
    assert not watch.notes(), "what was before the watch began says nothing"
    for n in range(1, 5):
        watch.look(30.0 * n, _books(1000 + 50 * n, n))
    assert list(watch.notes()) == ["meta"]
    assert "had no consent. Most often: ad_storage is denied (event)." in watch.notes()["meta"]
    assert [record.message for record in caplog.records] == ["A destination gets almost nothing for want of consent"]


@pytest.mark.parametrize(("barred", "delivered"), [(LEAST - 1, 0), (95, 5), (10, 90)])
def test_a_lane_that_gets_something_or_has_seen_little_is_not_reported(barred: int, delivered: int) -> None:
    watch = ConsentWatch(lambda lane: "")
    watch.look(0.0, _books(0, 0))
    watch.look(30.0, _books(barred, delivered))
    assert not watch.notes()


def test_the_note_goes_when_consent_comes_back() -> None:
    watch = ConsentWatch(lambda lane: "")
    watch.look(0.0, _books(0, 0))
    watch.look(30.0, _books(100, 0))
    assert watch.notes()
    watch.look(60.0 + SPAN, _books(100, 0))
    assert watch.notes(), "silence is no news"
    watch.look(90.0 + SPAN, _books(100, 100))
    assert not watch.notes()


async def test_the_deciding_signal_is_read_from_the_newest_events_and_stands_in_the_ledger(gateway: Running) -> None:
    gateway.app.consent_watch.look(0.0, gateway.app.store.books())
    await gateway.send([purchase(f"e-{n}", consent=DENIED) for n in range(LEAST + 1)])
    await gateway.idle()
    gateway.app.consent_watch.look(30.0, gateway.app.store.books())
    notes = (await gateway.admin("GET", "/ledger"))["notes"]
    assert notes["ga4"].endswith("Most often: analytics_storage is denied (event).")
    assert notes["meta"].endswith("Most often: ad_storage is denied (event).")
    top = await gateway.admin("GET", "/overview")
    assert any(notice["words"] == notes["meta"] for notice in top["notices"])
