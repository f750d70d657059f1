"""What trackers of other products hear at the door: answers, preflights, keys, refusals, and what is not there."""

from __future__ import annotations

import base64
import json

import pytest

from gateway.errors import QueueFull
from gateway.hit_file import read_hit
from gateway.receive.replies import PIXEL
from tests.door_kit import ORIGIN, gateway, house

TP2 = "/com.snowplowanalytics.snowplow/tp2"
PAYLOAD = {"e": "pv", "p": "web", "tv": "js-4.10.1", "eid": "e-1", "aid": "app"}
HIT = "id=123456789012345&ev=PageView&eid=e-1"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def batch(*payloads: object) -> str:
    return json.dumps({"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": list(payloads)})


class TestSnowplow:
    async def test_a_batch_is_answered_ok(self) -> None:
        async with house() as one:
            answer = await one.ask(
                "POST", TP2, batch(PAYLOAD, {"p": "web"}), {"Content-Type": "application/json; charset=UTF-8"}
            )
            assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"ok", "text/plain")
            assert one.intake.events == 1
            assert one.counts.refusals == [(TP2, "malformed")]

    @pytest.mark.parametrize("path", ["/i", TP2])
    async def test_an_event_in_the_query_is_answered_with_the_image(self, path: str) -> None:
        async with house() as one:
            answer = await one.ask("GET", f"{path}?e=pv&p=web&tv=js&eid=e-1")
            assert (answer.status, answer.body, answer.headers["content-type"]) == (200, PIXEL, "image/gif")
            assert one.intake.events == 1

    @pytest.mark.parametrize("body", ["{", '{"data": 5}', "[]"])
    async def test_what_cannot_be_read_is_answered_ok_and_counted(self, body: str) -> None:
        async with house() as one:
            answer = await one.ask("POST", TP2, body)
            assert (answer.status, answer.body) == (200, b"ok")
            assert one.intake.events == 0
            assert one.counts.refusals == ([(TP2, "malformed")] if body != "[]" else [])

    async def test_trackers_come_again_while_the_store_is_full(self) -> None:
        async with house() as one:
            one.intake.raises = QueueFull("full")
            for answer in (await one.ask("POST", TP2, batch(PAYLOAD)), await one.ask("GET", "/i?e=pv&eid=e-1")):
                assert answer.status == 503
                assert int(answer.headers["retry-after"]) > 0

    async def test_the_app_id_names_the_source_where_it_is_a_key(self) -> None:
        async with house() as one:
            for answer in (
                await one.ask("POST", TP2, batch({**PAYLOAD, "aid": "wk_blog"}), host="other.example"),
                await one.ask("GET", "/i?e=pv&eid=e-2&aid=wk_blog", host="other.example"),
            ):
                assert answer.status == 200
            assert [hit.source for hit, _ in one.intake.hits] == ["blog", "blog"]

    async def test_an_app_id_that_is_no_key_names_nobody(self) -> None:
        async with house() as one:
            await one.ask("POST", TP2, batch(PAYLOAD))
            assert [hit.source for hit, _ in one.intake.hits] == ["shop"]
            answer = await one.ask("POST", TP2, batch(PAYLOAD), host="other.example")
            assert (answer.status, answer.body) == (200, b"ok")
            assert one.counts.refusals == [(TP2, "unknown_key")]

    async def test_pages_may_send_credentials_and_the_anonymous_header(self) -> None:
        async with house() as one:
            wanted = {
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "sp-anonymous",
            }
            answer = await one.ask("OPTIONS", TP2, headers=wanted)
            assert answer.status == 204
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert "sp-anonymous" in answer.headers["access-control-allow-headers"]

    async def test_the_reply_can_be_read_by_the_page_alone(self) -> None:
        async with house() as one:
            answer = await one.ask("POST", TP2, batch(PAYLOAD), {"Origin": ORIGIN})
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            plain = await one.ask("POST", TP2, batch(PAYLOAD))
            assert "access-control-allow-origin" not in plain.headers

    @pytest.mark.parametrize("target", ["/r/tp2?u=https%3A%2F%2Fevil.example", "/ice.png?e=pv", "/com.acme/v1"])
    async def test_there_are_no_redirects_and_no_other_paths(self, target: str) -> None:
        async with house() as one:
            answer = await one.ask("GET", target)
            assert answer.status == 404
            assert "location" not in answer.headers

    async def test_a_request_to_bounce_is_no_redirect(self) -> None:
        async with house() as one:
            answer = await one.ask("GET", "/i?e=pv&eid=e-1&n3pc=true")
            assert answer.status == 200

    async def test_no_cookie_is_set(self) -> None:
        async with house() as one:
            answer = await one.ask("POST", TP2, batch(PAYLOAD), {"Origin": ORIGIN, "SP-Anonymous": "*", "Cookie": "sp=abc"})
            assert answer.status == 200
            assert not any(name == "set-cookie" and value.startswith("sp=") for name, value in answer.headers.items())


class TestDataTag:
    async def test_a_posted_event_is_answered_with_its_time_and_id(self) -> None:
        async with house() as one:
            body = json.dumps({"event_name": "purchase", "event_id": "e-1"})
            answer = await one.ask("POST", "/data?v=2&event=purchase", body, {"Content-Type": "text/plain", "Origin": ORIGIN})
            told = json.loads(answer.body)
            assert answer.status == 200
            assert told["unique_event_id"] == "e-1"
            assert isinstance(told["timestamp"], int)
            assert answer.headers["access-control-allow-credentials"] == "true"

    async def test_a_list_is_answered_with_a_list(self) -> None:
        async with house() as one:
            events = [{"event_name": "a", "event_id": "1"}, 5, {"event_name": "b", "event_id": "2"}]
            answer = await one.ask("POST", "/data", json.dumps(events))
            assert [told["unique_event_id"] for told in json.loads(answer.body)] == ["1", "2"]
            assert one.counts.refusals == [("/data", "malformed")]

    async def test_an_image_is_answered_with_an_image_whatever_became_of_it(self) -> None:
        inside = base64.b64encode(b'{"event_id": "e-1"}').decode()
        async with house() as one:
            for query in (f"event=page_view&dtdc={inside}", "event=page_view&dtdc=***", ""):
                answer = await one.ask("GET", f"/data?{query}")
                assert (answer.status, answer.body) == (200, PIXEL)
            assert one.intake.events == 1
            assert one.counts.refusals == [("/data", "malformed")] * 2

    async def test_a_broken_body_is_refused_as_a_native_one(self) -> None:
        async with house() as one:
            answer = await one.ask("POST", "/data", "{")
            assert answer.status == 400
            assert json.loads(answer.body)["error"] == "malformed"

    @pytest.mark.parametrize("kind", ["body", "dtdc"])
    async def test_a_key_among_the_fields_names_the_source(self, kind: str) -> None:
        fields = b'{"event_name": "page_view", "event_id": "e-1", "writeKey": "wk_blog"}'
        async with house() as one:
            if kind == "body":
                await one.ask("POST", "/data", fields, host="other.example")
            else:
                await one.ask("GET", f"/data?event=page_view&dtdc={base64.b64encode(fields).decode()}", host="other.example")
            assert [hit.source for hit, _ in one.intake.hits] == ["blog"]

    async def test_a_full_store_is_said_to_those_that_post(self) -> None:
        async with house() as one:
            one.intake.raises = QueueFull("full")
            assert (await one.ask("POST", "/data", '{"event_name": "a"}')).status == 503
            assert (await one.ask("GET", "/data?event=a&x=1")).status == 200


class TestMetaPixel:
    @pytest.mark.parametrize("path", ["/tr", "/tr/"])
    async def test_an_image_is_answered_with_an_image(self, path: str) -> None:
        async with house() as one:
            answer = await one.ask("GET", f"{path}?{HIT}")
            assert (answer.status, answer.body) == (200, PIXEL)
            assert "no-store" in answer.headers["cache-control"]
            assert one.intake.events == 1

    async def test_a_posted_form_is_answered_with_the_image(self) -> None:
        async with house() as one:
            answer = await one.ask("POST", "/tr/", HIT, FORM)
            assert (answer.status, answer.body) == (200, PIXEL)
            assert one.intake.events == 1

    @pytest.mark.parametrize("query", ["ev=PageView", "id=123456789012345", "id=1&ev=PageView", ""])
    async def test_a_hit_that_lacks_its_pixel_or_event_is_counted(self, query: str) -> None:
        async with house() as one:
            answer = await one.ask("GET", f"/tr?{query}")
            assert (answer.status, answer.body) == (200, PIXEL)
            assert one.counts.refusals == [("/tr", "malformed")]

    async def test_nobody_hears_that_the_store_is_full(self) -> None:
        async with house() as one:
            one.intake.raises = QueueFull("full")
            answer = await one.ask("GET", f"/tr?{HIT}")
            assert (answer.status, answer.body) == (200, PIXEL)
            assert one.counts.refusals == [("/tr", "full")]


@pytest.mark.parametrize("path", ["/i", TP2, "/data", "/tr"])
async def test_a_head_request_is_no_event(path: str) -> None:
    async with house() as one:
        answer = await one.ask("HEAD", f"{path}?e=pv&event=a&{HIT}")
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/gif"
        assert one.intake.hits == []


def test_a_written_down_hit_is_taken_as_the_door_takes_it() -> None:
    raw = f"POST {TP2} HTTP/1.1\r\nHost: t.shop.example\r\n\r\n{batch(PAYLOAD)}".encode()
    assert read_hit(raw, gateway(), None, 1_795_514_400.0).source == "shop"
    named = raw.replace(b"t.shop.example", b"other.example").replace(b'"app"', b'"wk_blog"')
    assert read_hit(named, gateway(), None, 1_795_514_400.0).source == "blog"


AHEAD = [
    ("POST", "/v1/events", json.dumps({"name": "page_view"})),
    ("POST", "/v1/track", json.dumps({"event": "page_view", "anonymousId": "a-1"})),
    ("POST", "/v1/batch", json.dumps({"batch": [{"type": "page", "anonymousId": "a-1"}]})),
    ("GET", "/v1/pixel/page?data=" + base64.b64encode(b'{"anonymousId": "a-1", "writeKey": "wk_shop"}').decode(), ""),
    ("GET", "/p.gif?e=page_view", ""),
    ("POST", "/g/collect?v=2&tid=G-AB12&cid=1.2&en=page_view", ""),
    ("GET", "/i?e=pv&p=web&tv=js&eid=e-1", ""),
    ("POST", TP2, batch(PAYLOAD)),
    ("POST", "/data", json.dumps({"event_name": "page_view"})),
    ("GET", f"/tr?{HIT}", ""),
]
"""A page view on each route that browsers use."""


@pytest.mark.parametrize(("method", "target", "body"), AHEAD, ids=[case[1].partition("?")[0] for case in AHEAD])
async def test_what_a_browser_fetches_ahead_is_answered_as_usual_counted_and_no_event(
    method: str, target: str, body: str
) -> None:
    async with house() as one:
        visit = await one.ask(method, target, body, {"Origin": ORIGIN})
        assert one.intake.events == 1
        for headers in ({"Sec-Purpose": "prefetch;prerender"}, {"X-Moz": "prefetch"}, {"X-Purpose": ": preview"}):
            ahead = await one.ask(method, target, body, {"Origin": ORIGIN, **headers})
            assert (ahead.status, ahead.headers.get("content-type")) == (visit.status, visit.headers.get("content-type"))
        assert one.intake.events == 1
        assert [reason for _, _, reason in one.counts.ignores] == ["prefetch"] * 3
        await one.ask(method, target, body, {"Origin": ORIGIN, "Sec-Purpose": "navigate"})
        assert one.intake.events == 2


async def test_a_server_makes_nothing_ahead() -> None:
    async with house() as one:
        await one.ask("POST", "/v1/events", AHEAD[0][2], {"X-Write-Key": "sk_shop", "Purpose": "prefetch"})
        assert (one.intake.events, one.counts.ignores) == (1, [])
