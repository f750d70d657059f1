"""The front door: routes, replies, who is speaking, limits and rates, through a real server."""

import asyncio
import gzip
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from gateway.clock import FrozenClock
from gateway.config.lookups import Geo
from gateway.config.models import Gateway, Paths, SourceLimits
from gateway.errors import ConfigErrors, Malformed, QueueFull, RateLimited
from gateway.meter import Meter
from gateway.receive.hit import Hit
from gateway.receive.http import Door
from gateway.receive.limits import Bucket, Rates, check_depth
from gateway.receive.replies import PIXEL
from gateway.receive.sources import host_name, key_of
from tests.door_kit import ORIGIN, SOURCES, FakeConsents, FakeIntake, House, gateway, house

EVENT = '{"name":"purchase","id":"e-1","props":{"value":1}}'
SEGMENT_EVENT = '{"type":"track","event":"Order Completed","messageId":"m-1"}'
SEGMENT_ROUTES = {
    "track": "t", "page": "p", "screen": "s", "identify": "i", "group": "g", "alias": "a", "batch": "b", "import": None,
}  # fmt: skip
CHOICE = {"user": {"email": "ann@example.com"}, "consent": {"ad_storage": "denied", "analytics_storage": "granted"}}


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as one:
        yield one


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(text.encode()).decode()}


def with_limits(**limits: Any) -> Gateway:
    return gateway({**SOURCES, "shop": SOURCES["shop"].model_copy(update={"limits": SourceLimits(**limits)})})


class TestReplies:
    async def test_an_event_is_answered_with_its_id(self, at: House) -> None:
        answer = await at.ask("POST", "/v1/events", EVENT, {"Content-Type": "application/json"})
        assert answer.status == 200
        assert orjson.loads(answer.body) == {"accepted": 1, "ids": ["e-1"], "rejected": []}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert "date" in answer.headers
        assert at.counts.requests == [("/v1/events", 200)]

    @pytest.mark.parametrize("body", [f"[{EVENT},{EVENT}]", f'{{"events":[{EVENT},{EVENT}]}}'])
    async def test_several_events_are_answered_in_their_order(self, at: House, body: str) -> None:
        answer = await at.ask("POST", "/v1/events", body, {"Content-Type": "text/plain"})
        assert orjson.loads(answer.body)["accepted"] == 2

    async def test_a_bad_event_among_good_ones_is_named_by_its_index(self, at: House) -> None:
        answer = await at.ask("POST", "/v1/events", f"[{EVENT},{{}},{EVENT}]")
        body = orjson.loads(answer.body)
        assert answer.status == 200
        assert body["accepted"] == 2
        assert [(one["index"], one["error"]) for one in body["rejected"]] == [(1, "malformed")]
        assert at.counts.refusals == [("/v1/events", "malformed")]

    @pytest.mark.parametrize("body", ["{}", "[{}]", "[]", "[{},{}]", '{"events":[]}', "1", "", "nonsense"])
    async def test_a_hit_without_one_good_event_is_a_client_error(self, at: House, body: str) -> None:
        answer = await at.ask("POST", "/v1/events", body)
        assert answer.status == 400
        assert orjson.loads(answer.body)["error"] == "malformed"
        assert orjson.loads(answer.body)["reason"]
        assert at.intake.events == 0

    async def test_the_pixel_is_forty_three_bytes_that_nobody_keeps(self, at: House) -> None:
        answer = await at.ask("GET", "/p.gif?e=page_view&k=wk_shop")
        assert (answer.status, answer.body, len(answer.body)) == (200, PIXEL, 43)
        assert answer.headers["content-type"] == "image/gif"
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert not {"etag", "last-modified", "set-cookie"} & set(answer.headers)
        assert at.intake.events == 1

    async def test_head_gets_the_headers_and_is_no_event(self, at: House) -> None:
        answer = await at.ask("HEAD", "/p.gif?e=page_view&k=wk_shop")
        assert (answer.status, answer.headers["content-length"], answer.body) == (200, "43", b"")
        assert at.intake.events == 0

    @pytest.mark.parametrize("query", ["", "k=nobody&e=page_view", "e=", "k=wk_blog&e=page_view"])
    async def test_a_refused_pixel_is_the_same_image_and_counted(self, at: House, query: str) -> None:
        answer = await at.ask("GET", f"/p.gif?{query}")
        assert (answer.status, answer.body) == (200, PIXEL)
        assert [route for route, _ in at.counts.refusals] == ["/p.gif"]
        assert at.intake.events == 0

    @pytest.mark.parametrize("name", SEGMENT_ROUTES)
    async def test_segment_calls_are_taken_under_both_names(self, at: House, name: str) -> None:
        body = f'{{"batch":[{SEGMENT_EVENT}]}}' if name in ("batch", "import") else SEGMENT_EVENT
        short = SEGMENT_ROUTES[name]
        targets = [f"/v1/{name}", *([f"/v1/{short}"] if short else [])]
        for target in targets:
            answer = await at.ask("POST", target, body, basic("wk_shop:"))
            assert (answer.status, orjson.loads(answer.body)) == (200, {"success": True})
        assert at.intake.events == len(targets)
        assert {hit.route for hit, _ in at.intake.hits} == {f"/v1/{name}"}

    async def test_segment_says_success_to_what_it_refuses_and_counts_it(self, at: House) -> None:
        for body, headers in [("nonsense", {}), (SEGMENT_EVENT, basic("nobody:")), ("[]", {})]:
            answer = await at.ask("POST", "/v1/t", body, headers)
            assert (answer.status, orjson.loads(answer.body)) == (200, {"success": True})
        assert [reason for _, reason in at.counts.refusals] == ["malformed", "unknown_key", "malformed"]

    async def test_a_segment_call_may_come_as_an_image(self, at: House) -> None:
        data = b64encode(b'{"writeKey":"wk_blog","event":"Signed Up","userId":"u>?"}').decode().replace("+", "%2B")
        answer = await at.ask("GET", f"/v1/pixel/track?data={data}", host="elsewhere.example")
        assert answer.body == PIXEL
        assert [(hit.source, hit.route) for hit, _ in at.intake.hits] == [("blog", "/v1/pixel/track")]
        for bad in ("", "data=%%%", "data=AAAA"):
            assert (await at.ask("GET", f"/v1/pixel/track?{bad}")).body == PIXEL
        assert at.intake.events == 1

    async def test_sdk_measurements_are_thrown_away(self, at: House) -> None:
        answer = await at.ask("POST", "/v1/m", '{"series":[]}')
        assert orjson.loads(answer.body) == {"success": True}
        assert at.intake.hits == []

    @pytest.mark.parametrize(
        ("target", "body", "status"),
        [("/v1/events", EVENT, 503), ("/v1/t", SEGMENT_EVENT, 429), ("/v1/batch", '{"batch":[' + SEGMENT_EVENT + "]}", 429)],
    )
    async def test_a_full_store_asks_to_come_again(self, at: House, target: str, body: str, status: int) -> None:
        at.intake.raises = QueueFull("full", 17)
        answer = await at.ask("POST", target, body)
        assert (answer.status, answer.headers["retry-after"]) == (status, "17")
        assert [reason for _, reason in at.counts.refusals] == ["full"]

    async def test_a_full_store_still_gives_the_image(self, at: House) -> None:
        at.intake.raises = QueueFull("full")
        assert (await at.ask("GET", "/p.gif?e=page_view")).body == PIXEL

    async def test_the_reply_waits_for_the_commit(self, at: House) -> None:
        at.intake.holds = asyncio.Event()
        asked = asyncio.create_task(at.ask("POST", "/v1/events", EVENT))
        await asyncio.sleep(0.05)
        assert not asked.done()
        at.intake.holds.set()
        assert (await asked).status == 200

    async def test_an_unforeseen_error_is_counted_and_logged_without_its_words(
        self, at: House, caplog: pytest.LogCaptureFixture
    ) -> None:
        at.intake.raises = KeyError("ann@shop.example")
        answer = await at.ask("POST", "/v1/events", EVENT)
        assert answer.status == 500
        assert at.counts.requests == [("/v1/events", 500)]
        assert "request failed" in caplog.text
        assert not any("ann@shop.example" in str(record.__dict__) for record in caplog.records)
        assert b"KeyError" not in answer.raw

    async def test_one_connection_serves_many_requests(self, at: House) -> None:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        from tests.door_kit import read_answer, request

        writer.write(request("POST", "/v1/events", EVENT) * 3 + request("GET", "/p.gif?e=a"))
        answers = [await read_answer(reader) for _ in range(4)]
        writer.close()
        assert [answer.status for answer in answers] == [200] * 4
        assert at.intake.events == 4

    @pytest.mark.parametrize(
        ("version", "extra", "keeps"),
        [("1.0", "", False), ("1.0", "Connection: keep-alive\r\n", True), ("1.1", "Connection: close\r\n", False)],
    )
    async def test_the_connection_header_says_what_happens(self, at: House, version: str, extra: str, keeps: bool) -> None:
        answer = await at.send(f"GET /healthz HTTP/{version}\r\nHost: x\r\n{extra}\r\n".encode())
        assert answer.headers["connection"] == ("keep-alive" if keeps else "close")


class TestRoutes:
    @pytest.mark.parametrize(
        "target", ["/", "/v1", "/v1/events/x", "/p.gif/x", "/V1/EVENTS", "/v1/projects//settings", "/v1/projects/a/b/settings"]
    )
    async def test_an_unknown_path_is_not_found(self, at: House, target: str) -> None:
        answer = await at.ask("GET", target)
        assert answer.status == 404
        assert at.counts.requests == [("other", 404)]

    @pytest.mark.parametrize(
        ("method", "target", "allow"),
        [
            ("GET", "/v1/events", "POST, OPTIONS"),
            ("POST", "/p.gif", "GET, HEAD, OPTIONS"),
            ("DELETE", "/healthz", "GET, HEAD, OPTIONS"),
        ],
    )
    async def test_a_wrong_method_is_told_which_are_right(self, at: House, method: str, target: str, allow: str) -> None:
        answer = await at.ask(method, target)
        assert (answer.status, answer.headers["allow"]) == (405, allow)

    @pytest.mark.parametrize(
        "target", ["/p.gif?e=a", "/p%2Egif?e=a", "/p.gif/?e=a", "http://t.shop.example/p.gif?e=a", "/p.gif?e=a#x"]
    )
    async def test_other_spellings_of_a_path_are_the_same_route(self, at: House, target: str) -> None:
        await at.ask("GET", target)
        assert at.intake.events == 1
        assert at.intake.hits[0][0].query == "e=a"

    async def test_neutral_names_are_the_same_routes(self) -> None:
        config = gateway(paths=Paths(prefix="/m", events="e", pixel="i"))
        async with house(config) as at:
            assert (await at.ask("POST", "/m/e", EVENT)).status == 200
            assert (await at.ask("GET", "/m/i?e=page_view")).body == PIXEL
            assert (await at.ask("POST", "/m/v1/t", SEGMENT_EVENT)).status == 200
            assert (await at.ask("POST", "/v1/events", EVENT)).status == 200
        assert [hit.route for hit, _ in at.intake.hits] == ["/v1/events", "/p.gif", "/v1/track", "/v1/events"]
        assert at.counts.requests[0] == ("/v1/events", 200)

    def test_a_neutral_name_that_is_taken_is_a_configuration_error(self) -> None:
        for paths in (Paths(events="healthz"), Paths(events="x", pixel="x")):
            with pytest.raises(ConfigErrors, match="already"):
                Door(gateway(paths=paths), FakeIntake(), FakeConsents(), Meter(), FrozenClock(0))

    async def test_health_is_answered_without_a_key(self, at: House) -> None:
        assert orjson.loads((await at.ask("GET", "/healthz")).body) == {"ok": True}
        assert (await at.ask("HEAD", "/readyz")).status == 200
        assert (await at.ask("GET", "/robots.txt")).body == b"User-agent: *\nDisallow: /\n"

    async def test_a_reload_changes_the_rules_and_a_bad_one_changes_nothing(self, at: House) -> None:
        with pytest.raises(ConfigErrors):
            at.door.reconfigure(gateway(paths=Paths(events="healthz")))
        assert (await at.ask("POST", "/v1/events?k=wk_blog", EVENT, host="x")).status == 200
        at.door.reconfigure(gateway({"shop": SOURCES["shop"]}))
        assert (await at.ask("POST", "/v1/events?k=wk_blog", EVENT, host="x")).status == 401


class TestSpeakers:
    @pytest.mark.parametrize(
        ("target", "headers", "body"),
        [
            ("/v1/events", basic("wk_blog:"), EVENT),
            ("/v1/events", basic("wk_blog"), EVENT),
            ("/v1/events", basic("wk_blog:ignored"), EVENT),
            ("/v1/events", {"Authorization": "basic " + b64encode(b"wk_blog:").decode().rstrip("=")}, EVENT),
            ("/v1/events?k=wk_blog", {}, EVENT),
            ("/v1/events?a=b&k=wk%5Fblog&k=other", {}, EVENT),
            ("/v1/events?writeKey=wk_blog", {}, EVENT),
            ("/v1/events", {"X-Write-Key": "wk_blog"}, EVENT),
            ("/v1/events", {}, '{"writeKey":"wk_blog","events":[' + EVENT + "]}"),
            ("/v1/events", {"Authorization": "Bearer wk_blog"}, EVENT),
            ("/v1/t", {}, '{"writeKey":"wk_blog","type":"track","event":"x"}'),
            ("/v1/t", {"Authorization": "Bearer some.oauth.token"}, '{"writeKey":"wk_blog","type":"track","event":"x"}'),
        ],
    )
    async def test_a_key_names_the_source_however_it_comes(
        self, at: House, target: str, headers: dict[str, str], body: str
    ) -> None:
        answer = await at.ask("POST", target, body, headers, host="elsewhere.example")
        assert answer.status == 200
        assert [hit.source for hit, _ in at.intake.hits] == ["blog"]
        assert not at.intake.hits[0][0].server

    @pytest.mark.parametrize("host", ["t.blog.example", "T.BLOG.example", "t.blog.example:8080", "t.blog.example."])
    async def test_without_a_key_the_host_chooses(self, at: House, host: str) -> None:
        await at.ask("POST", "/v1/events", EVENT, host=host)
        assert at.intake.hits[0][0].source == "blog"

    @pytest.mark.parametrize("headers", [basic("nobody:"), {"X-Write-Key": "nobody"}, {"Authorization": "Basic %%%"}])
    async def test_an_unknown_key_is_refused_even_on_a_known_host(self, at: House, headers: dict[str, str]) -> None:
        answer = await at.ask("POST", "/v1/events", EVENT, headers)
        assert (answer.status, orjson.loads(answer.body)["error"]) == (401, "unknown_key")
        assert at.intake.events == 0

    async def test_neither_key_nor_known_host_is_refused(self, at: House) -> None:
        assert (await at.ask("POST", "/v1/events", EVENT, host="elsewhere.example")).status == 401

    @pytest.mark.parametrize("key", ["wk_shop", "sk_shop"])
    async def test_a_key_and_a_host_of_two_sources_are_refused(self, at: House, key: str) -> None:
        answer = await at.ask("POST", f"/v1/events?k={key}", EVENT, host="t.blog.example")
        assert (answer.status, orjson.loads(answer.body)["error"]) == (403, "cross_source")
        assert at.counts.refusals == [("/v1/events", "cross_source")]

    async def test_a_server_key_speaks_for_others(self, at: House) -> None:
        await at.ask("POST", "/v1/events", EVENT, {**basic("sk_shop:"), "Cookie": "a=b"}, host="x")
        hit = at.intake.hits[0][0]
        assert (hit.source, hit.server, hit.trusts_body) == ("shop", True, True)

    @pytest.mark.parametrize(
        ("headers", "browser"),
        [
            ({}, False),
            ({"User-Agent": "curl"}, False),
            ({"Referer": "x"}, True),
            ({"Cookie": "a=b"}, True),
            ({"Origin": ORIGIN}, True),
            ({"Sec-Fetch-Site": "same-site"}, True),
            ({"Sec-Fetch-Mode": "cors", "User-Agent": "node"}, False),
        ],
    )
    async def test_browser_headers_take_the_body_its_say(self, at: House, headers: dict[str, str], browser: bool) -> None:
        await at.ask("POST", "/v1/events?k=wk_shop", EVENT, headers)
        hit = at.intake.hits[0][0]
        assert (hit.browser, hit.trusts_body) == (browser, not browser)

    def test_two_sources_cannot_share_a_key_or_host(self) -> None:
        for field, value in [("hosts", ["t.shop.example"]), ("write_keys", ["wk_shop"])]:
            sources = {**SOURCES, "blog": SOURCES["blog"].model_copy(update={field: value})}
            with pytest.raises(ConfigErrors, match=r"sources\.blog"):
                Door(gateway(sources), FakeIntake(), FakeConsents(), Meter(), FrozenClock(0))

    @pytest.mark.parametrize(
        ("host", "name"),
        [
            ("a.b", "a.b"),
            ("A.b:80", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("a.b.", "a.b"),
            ("a:b", "a:b"),
            ("", ""),
        ],
    )
    def test_a_host_is_compared_without_port_and_case(self, host: str, name: str) -> None:
        assert host_name(host) == name

    def test_basic_auth_comes_before_the_query(self) -> None:
        assert key_of({"authorization": basic("first:")["Authorization"]}, "k=second") == "first"
        assert key_of({"x-write-key": "third"}, "k=second") == "second"
        assert key_of({"x-write-key": "third"}, "chunk=second") == "third"


class TestHits:
    async def test_what_leaves_the_door_can_be_stored(self, at: House) -> None:
        raw = (
            b"GET /p.gif?e=a%00b%0dc%7F%FF&u=%C3%A4 HTTP/1.1\r\nHost: t.shop.example\r\n"
            b"Cookie: x=\xff\r\nCookie: y=2\r\nX-A: 1\r\nx-a: 2\r\nUser-Agent: M\xc3\xb6\tx\x80\r\n\r\n"
        )
        await at.send(raw)
        hit = at.intake.hits[0][0]
        assert orjson.dumps([hit.query, dict(hit.headers)])
        assert hit.query == "e=a%20b%20c%20%FF&u=%C3%A4"
        assert hit.headers["cookie"] == "x=\ufffd; y=2"
        assert hit.headers["x-a"] == "1, 2"
        assert hit.headers["user-agent"] == "Mö\tx\ufffd"

    async def test_address_country_and_time_come_along(self) -> None:
        geo = Geo(country_header="CF-IPCountry", region_header="CF-Region")
        async with house(gateway(geo=geo)) as at:
            headers = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7", "CF-IPCountry": "DE", "CF-Region": "BY"}
            await at.ask("POST", "/v1/events", EVENT, headers)
        hit = at.intake.hits[0][0]
        assert (hit.ip, hit.country, hit.region, hit.method, hit.route) == ("198.51.100.7", "DE", "BY", "POST", "/v1/events")
        assert hit.received > 1.7e9

    async def test_a_bad_forwarding_entry_costs_nothing_but_is_counted(self, at: House) -> None:
        assert (await at.ask("POST", "/v1/events", EVENT, {"X-Forwarded-For": "garbage"})).status == 200
        assert at.intake.hits[0][0].ip is None
        assert at.counts.drops == [("shop", "device.ip")]

    async def test_a_forwarded_host_of_a_trusted_proxy_chooses_the_source(self, at: House) -> None:
        await at.ask("POST", "/v1/events", EVENT, {"X-Forwarded-Host": "t.blog.example"}, host="internal")
        assert at.intake.hits[0][0].source == "blog"

    async def test_an_unknown_proxy_is_suspected_once(self, caplog: pytest.LogCaptureFixture) -> None:
        async with house(gateway(trusted_proxies=[])) as at:
            assert orjson.loads((await at.ask("GET", "/readyz")).body)["notes"] == []
            for _ in range(3):
                await at.ask("POST", "/v1/events", EVENT, {"X-Forwarded-For": "1.1.1.1"})
            ready = orjson.loads((await at.ask("GET", "/readyz")).body)
        assert [hit.ip for hit, _ in at.intake.hits] == [None] * 3
        assert ready["ready"] is True
        assert "behind_proxy_suspected" in ready["notes"][0]
        assert caplog.text.count("behind a proxy?") == 1

    @pytest.mark.parametrize("coding", ["gzip", "GZIP", "identity"])
    async def test_a_body_is_decoded_before_its_dialect_sees_it(self, at: House, coding: str) -> None:
        body = gzip.compress(EVENT.encode()) if coding != "identity" else EVENT.encode()
        assert (await at.ask("POST", "/v1/events", body, {"Content-Encoding": coding})).status == 200
        assert at.intake.hits[0][0].body == EVENT.encode()


class TestLimits:
    @pytest.mark.parametrize(("over", "status"), [(-1, 200), (0, 200), (1, 413)])
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_a_body_may_have_512_kib(self, at: House, over: int, status: int, chunked: bool) -> None:
        events = ",".join(['{"name":"x","props":{"p":"' + "y" * 60_000 + '"}}'] * 8)
        body = f"[{events}]".encode()
        body += b" " * (512 * 1024 + over - len(body))
        if chunked:
            pieces = [body[n : n + 50_000] for n in range(0, len(body), 50_000)]
            wire = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            head = b"POST /v1/events HTTP/1.1\r\nHost: t.shop.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            answer = await at.send(head + wire)
        else:
            answer = await at.ask("POST", "/v1/events", body)
        assert answer.status == status
        assert at.intake.events == (8 if status == 200 else 0)

    @pytest.mark.parametrize("length", ["524289", "10000000000", "9" * 18])
    async def test_a_length_announced_too_large_is_refused_at_once(self, at: House, length: str) -> None:
        head = f"POST /v1/events HTTP/1.1\r\nHost: t.shop.example\r\nContent-Length: {length}\r\n\r\n".encode()
        answer = await at.send(head, timeout=0.1)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert at.counts.refusals == [("/v1/events", "too_large")]

    @pytest.mark.parametrize(("size", "kept"), [(-1, 2), (0, 2), (1, 1)])
    async def test_an_event_may_have_64_kib_and_alone_is_refused(self, at: House, size: int, kept: int) -> None:
        frame = '{"name":"x","props":{"p":""}}'
        big = frame.replace('""', '"' + "y" * (64 * 1024 - len(frame) + size) + '"')
        answer = await at.ask("POST", "/v1/events", f"[{big},{EVENT}]")
        assert answer.status == 200
        assert orjson.loads(answer.body)["accepted"] == kept

    @pytest.mark.parametrize(("count", "status"), [(2499, 200), (2500, 200), (2501, 413)])
    async def test_a_hit_may_hold_2500_events(self, at: House, count: int, status: int) -> None:
        answer = await at.ask("POST", "/v1/events", "[" + ",".join(['{"name":"x"}'] * count) + "]")
        assert answer.status == status

    @pytest.mark.parametrize("depth", [*range(1, 31), 31, 32])
    async def test_json_may_be_32_levels_deep(self, at: House, depth: int) -> None:
        body = '{"name":"x","props":' + "[" * (depth - 1) + "]" * (depth - 1) + "}" if depth > 1 else '{"name":"x"}'
        assert (await at.ask("POST", "/v1/events", body)).status == 200

    @pytest.mark.parametrize("depth", [33, 34, 100, 1024, 1025, 2000, 100_000])
    async def test_deeper_json_is_refused_before_anything_walks_it(self, at: House, depth: int) -> None:
        body = '{"name":"x","props":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
        assert (await at.ask("POST", "/v1/events", body)).status == 400
        body = '{"":' * (depth - 1) + "{}" + "}" * (depth - 1)
        assert (await at.ask("POST", "/v1/events", body)).status == 400

    @pytest.mark.parametrize(
        "body",
        [
            '{"a":"' + "[" * 100 + '"}',
            '{"a":"\\"' + "[" * 100 + '"}',
            '{"a":"\\\\","b":"' + "{" * 50 + '"}',
            "[" + "{}," * 5000 + "{}]",
        ],
    )
    def test_brackets_in_strings_and_beside_each_other_are_not_depth(self, body: str) -> None:
        orjson.loads(body)
        check_depth(body.encode())

    @pytest.mark.parametrize("text", ["", "a", "[", "]", "]}", "{[", '"', '\\"[', "\\\\", '","', ":[", "][" * 40])
    @pytest.mark.parametrize("depth", [30, 32, 33, 40, 300])
    def test_strings_full_of_brackets_hide_no_depth(self, text: str, depth: int) -> None:
        word = orjson.dumps(text).decode()
        rows = ",".join([f"{{{word}: {word}}}"] * 3)
        body = f"[{word}, {rows}, " * (depth - 1) + f"[{word}]" + f", {word}]" * (depth - 1)
        orjson.loads(body)
        for padding in ("", " " * 5000):
            if depth > 32:
                with pytest.raises(Malformed):
                    check_depth((padding + body).encode())
            else:
                check_depth((padding + body).encode())

    async def test_long_urls_and_headers_pass_up_to_32_kib(self, at: House) -> None:
        for extra, headers in [("x" * 30_000, {}), ("", {"Cookie": "c=" + "x" * 30_000})]:
            answer = await at.ask("GET", f"/p.gif?e=page_view&x={extra}", headers=headers)
            assert answer.body == PIXEL
        assert at.intake.events == 2


class TestRates:
    async def test_a_source_over_its_rate_is_told_when_to_come_again(self) -> None:
        async with house(with_limits(rps=0.5, burst=2)) as at:
            statuses = [(await at.ask("POST", "/v1/events", EVENT)).status for _ in range(3)]
            answer = await at.ask("POST", "/v1/events", "not even json")
            segment = await at.ask("POST", "/v1/t", SEGMENT_EVENT)
            pixel = await at.ask("GET", "/p.gif?e=a")
            other = await at.ask("POST", "/v1/events", EVENT, host="t.blog.example")
        assert statuses == [200, 200, 429]
        assert (answer.status, answer.headers["retry-after"]) == (429, "2")
        assert (segment.status, segment.headers["retry-after"]) == (429, "2")
        assert (pixel.body, other.status) == (PIXEL, 200)
        assert {reason for _, reason in at.counts.refusals} == {"rate"}

    async def test_each_address_has_its_own_rate(self) -> None:
        async with house(with_limits(ip_rps=0.1, ip_burst=1)) as at:
            for ip, status in [
                ("198.51.100.7", 200),
                ("198.51.100.7", 429),
                ("198.51.100.8", 200),
                ("2001:db8::1", 200),
                ("2001:db8::2", 429),
            ]:
                assert (await at.ask("POST", "/v1/events", EVENT, {"X-Forwarded-For": ip})).status == status, ip

    async def test_behind_an_unknown_proxy_addresses_are_not_limited(self) -> None:
        config = with_limits(ip_rps=0.1, ip_burst=1).model_copy(update={"trusted_proxies": []})
        async with house(config) as at:
            statuses = {(await at.ask("POST", "/v1/events", EVENT, {"X-Forwarded-For": "1.1.1.1"})).status for _ in range(4)}
        assert statuses == {200}

    def test_a_bucket_fills_at_its_rate_up_to_its_burst(self) -> None:
        bucket = Bucket(2.0, 3.0, now=0.0)
        assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
        assert bucket.take(0.5) == 0.0
        assert [bucket.take(1000.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]

    def test_remembered_addresses_stay_bounded(self) -> None:
        rates = Rates(with_limits(ip_rps=1, ip_burst=1).sources)
        for n in range(60_000):
            rates.check("shop", f"198.{n >> 16}.{n >> 8 & 255}.{n & 255}", 0.0)
        assert len(rates._clients) == 50_000
        with pytest.raises(RateLimited):
            rates.check("shop", "198.0.234.95", 0.0)


class TestConsent:
    @pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
    async def test_a_choice_is_answered_once_it_holds(self, at: House, content_type: str) -> None:
        answer = await at.ask("POST", "/v1/consent", orjson.dumps(CHOICE), {"Content-Type": content_type})
        assert (answer.status, orjson.loads(answer.body)) == (200, {"ok": True})
        assert at.consents.choices == [("shop", CHOICE["user"], {}, CHOICE["consent"])]

    async def test_a_browser_may_leave_the_identifiers_to_its_cookies(self, at: House) -> None:
        cookies = "_fbp=fb.1.1795500000000.123456789; _ga=GA1.1.111.222; _ga=GA1.1.333.444; other=x"
        body = '{"consent":{"ad_storage":"denied"}}'
        answer = await at.ask("POST", "/v1/consent", body, {"Cookie": cookies, "Origin": ORIGIN})
        assert answer.status == 200
        assert at.consents.choices[0][2] == {"fbp": "fb.1.1795500000000.123456789", "ga_client_id": "111.222"}

    async def test_an_identifier_of_the_body_comes_before_the_cookie(self, at: House) -> None:
        body = '{"ids":{"ga_client_id":"9.9"},"consent":{"ad_storage":"denied"}}'
        await at.ask("POST", "/v1/consent", body, {"Cookie": "_ga=GA1.1.111.222"})
        assert at.consents.choices[0][2] == {"ga_client_id": "9.9"}

    @pytest.mark.parametrize(
        "body",
        [
            "", "nonsense", "[]", "1", "{}",
            '{"consent":{"ad_storage":"denied"}}',
            '{"user":{"id":"1"}}',
            '{"user":{"id":"1"},"consent":{}}',
            '{"user":{"id":"1"},"consent":{"ad_storage":"maybe"}}',
            '{"user":{"id":"1"},"consent":{"ad_storage":true}}',
            '{"user":{"id":"1"},"consent":{"everything":"denied"}}',
            '{"user":{"id":"1"},"consent":[]}',
            '{"user":{"id":""},"consent":{"ad_storage":"denied"}}',
            '{"user":{"id":null},"consent":{"ad_storage":"denied"}}',
            '{"user":{"id":{}},"consent":{"ad_storage":"denied"}}',
            '{"user":{"nickname":"x"},"consent":{"ad_storage":"denied"}}',
            '{"user":"ann","consent":{"ad_storage":"denied"}}',
            '{"ids":[],"consent":{"ad_storage":"denied"}}',
            '{"user":{"id":"' + "x" * 3000 + '"},"consent":{"ad_storage":"denied"}}',
            '{"ids":' + "[" * 5000 + "]" * 5000 + "}",
        ],
    )  # fmt: skip
    async def test_a_choice_needs_somebody_and_a_purpose(self, at: House, body: str) -> None:
        answer = await at.ask("POST", "/v1/consent", body)
        assert (answer.status, orjson.loads(answer.body)["error"]) == (400, "malformed")
        assert at.consents.choices == []

    async def test_a_choice_needs_a_known_source_and_origin(self, at: House) -> None:
        body = orjson.dumps(CHOICE)
        assert (await at.ask("POST", "/v1/consent", body, host="elsewhere")).status == 401
        assert (await at.ask("POST", "/v1/consent", body, {"Origin": "https://evil.example"})).status == 403
        assert at.consents.choices == []

    async def test_a_full_store_asks_to_come_again(self, at: House) -> None:
        at.consents.raises = QueueFull("full", 5)
        answer = await at.ask("POST", "/v1/consent", orjson.dumps(CHOICE))
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")


class TestSettings:
    async def test_an_sdk_is_told_to_send_here_and_nowhere_else(self, at: House) -> None:
        answer = await at.ask("GET", "/v1/projects/wk_shop/settings", host="T.shop.example:8443")
        settings = orjson.loads(answer.body)
        assert settings["integrations"] == {"Segment.io": {"apiKey": "wk_shop", "apiHost": "t.shop.example:8443/v1"}}
        assert settings["metrics"] == {"sampleRate": 0}
        assert "max-age=300" in answer.headers["cache-control"]

    async def test_the_host_in_the_answer_is_a_configured_one(self, at: House) -> None:
        answer = await at.ask("GET", "/v1/projects/wk_shop/settings", host="evil.example")
        assert orjson.loads(answer.body)["integrations"]["Segment.io"]["apiHost"] == "t.shop.example/v1"

    async def test_the_prefix_is_part_of_it(self) -> None:
        async with house(gateway(paths=Paths(prefix="/m"))) as at:
            answer = await at.ask("GET", "/m/v1/projects/wk_shop/settings")
        assert orjson.loads(answer.body)["integrations"]["Segment.io"]["apiHost"] == "t.shop.example/m/v1"

    @pytest.mark.parametrize("key", ["nobody", "sk_shop", "wk_shop%00", "..", "%2e%2e"])
    async def test_only_public_keys_have_settings(self, at: House, key: str) -> None:
        assert (await at.ask("GET", f"/v1/projects/{key}/settings")).status == 404


class TestSourceConfig:
    async def test_rudderstacks_sdk_is_told_of_a_source_without_destinations(self, at: House) -> None:
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Headers": "authorization"}
        before = await at.ask("OPTIONS", "/sourceConfig/?writeKey=wk_shop", headers=asked)
        assert (before.status, before.headers["access-control-allow-origin"]) == (204, "*")
        assert "authorization" in before.headers["access-control-allow-headers"]
        answer = await at.ask("GET", "/sourceConfig/?p=npm&v=3.34.1&writeKey=wk_shop", headers=basic("wk_shop:"))
        source = orjson.loads(answer.body)["source"]
        assert (source["id"], source["enabled"], source["destinations"]) == ("wk_shop", True, [])
        assert source["config"]["statsCollection"]["errors"] == {"enabled": False}

    async def test_its_beacons_are_batches(self, at: House) -> None:
        body = b'{"batch": [{"type": "track", "event": "Login", "messageId": "m-1"}]}'
        answer = await at.ask(
            "POST", "/beacon/v1/batch?writeKey=wk_shop", body, {"Content-Type": "text/plain"}, host="elsewhere"
        )
        assert (answer.status, at.intake.events, at.intake.hits[0][0].route) == (200, 1, "/v1/batch")

    @pytest.mark.parametrize("target", ["/sourceConfig/", "/sourceConfig/?writeKey=nobody", "/sourceConfig?writeKey=sk_shop"])
    async def test_only_public_keys_have_one(self, at: House, target: str) -> None:
        assert (await at.ask("GET", target, host="elsewhere")).status == 404


def test_a_hit_is_plain_data() -> None:
    assert Hit("GET", "/p.gif", "", {}, b"", "shop", 0.0).trusts_body
