"""CORS: exact origins, with credentials; nothing that merely looks like a listed one."""

from collections.abc import AsyncIterator

import pytest

from gateway.receive.cors import Origins
from tests.door_kit import ORIGIN, SOURCES, House, gateway, house

PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
LISTED = ["https://shop.example", "https://www.shop.example"]
STRANGERS = {
    "another scheme": "http://shop.example",
    "the default port spelt out": "https://shop.example:443",
    "another port": "https://shop.example:8443",
    "an empty port": "https://shop.example:",
    "upper case host": "https://SHOP.example",
    "upper case scheme": "HTTPS://shop.example",
    "a suffix": "https://shop.example.evil.example",
    "a prefix": "https://evilshop.example",
    "a hyphen prefix": "https://evil-shop.example",
    "a sub-domain": "https://a.shop.example",
    "the parent": "https://example",
    "a sibling": "https://www2.shop.example",
    "a final dot": "https://shop.example.",
    "a final slash": "https://shop.example/",
    "a path": "https://shop.example/x",
    "a query": "https://shop.example?x",
    "a fragment": "https://shop.example#x",
    "userinfo": "https://shop.example@evil.example",
    "userinfo before": "https://evil.example@shop.example",
    "a backslash": "https://shop.example\\.evil.example",
    "null": "null",
    "NULL": "NULL",
    "a star": "*",
    "empty": "",
    "a comma list": "https://shop.example, https://evil.example",
    "a blank list": "https://shop.example https://evil.example",
    "punycode": "https://xn--shop-0ra.example",
    "a unicode look-alike": "https://shоp.example",
    "a full-width dot": "https://shop．example",
    "an ideographic dot": "https://shop。example",
    "an encoded dot": "https://shop%2Eexample",
    "a doubled dot": "https://shop..example",
    "no scheme": "shop.example",
    "scheme-relative": "//shop.example",
    "file": "file://",
    "an extension": "chrome-extension://abcdefghijklmnop",
    "localhost": "http://localhost",
    "an address": "https://127.0.0.1",
    "the gateway itself": "https://t.shop.example",
    "another source's page": "https://blog.example",
    "a pattern": "https://*.shop.example",
}


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as one:
        yield one


def test_there_are_forty_strangers() -> None:
    assert len(STRANGERS) >= 40


@pytest.mark.parametrize("origin", LISTED)
async def test_a_listed_origin_may_post_and_read(at: House, origin: str) -> None:
    before = await at.ask("OPTIONS", "/v1/events?k=wk_shop", headers={"Origin": origin, **PREFLIGHT})
    assert before.status == 204
    assert before.headers["access-control-allow-headers"] == "authorization, content-type, x-retry-count"
    assert before.headers["access-control-max-age"] == "7200"
    assert "POST" in before.headers["access-control-allow-methods"]
    answer = await at.ask("POST", "/v1/events?k=wk_shop", '{"name":"page_view"}', {"Origin": origin})
    assert answer.status == 200
    for one in (before, answer):
        assert one.headers["access-control-allow-origin"] == origin
        assert one.headers["access-control-allow-credentials"] == "true"
        assert one.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", STRANGERS.values(), ids=STRANGERS)
async def test_a_stranger_may_do_neither(at: House, origin: str) -> None:
    before = await at.ask("OPTIONS", "/v1/events?k=wk_shop", headers={"Origin": origin, **PREFLIGHT})
    answer = await at.ask("POST", "/v1/events?k=wk_shop", '{"name":"page_view"}', {"Origin": origin})
    for one in (before, answer):
        assert one.status == 403
        assert "access-control-allow-origin" not in one.headers
        assert "access-control-allow-credentials" not in one.headers
    assert at.intake.events == 0
    assert at.counts.refusals == [("/v1/events", "origin")] * 2


async def test_no_origin_is_normal(at: House) -> None:
    answer = await at.ask("POST", "/v1/events", '{"name":"page_view"}')
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_even_a_listed_null_is_refused() -> None:
    source = SOURCES["shop"].model_copy(update={"origins": ["null", ORIGIN]})  # the loader refuses to read such a list
    async with house(gateway({"shop": source})) as at:
        answer = await at.ask("POST", "/v1/events", '{"name":"page_view"}', {"Origin": "null"})
    assert answer.status == 403


async def test_a_preflight_without_a_known_host_takes_any_listed_origin(at: House) -> None:
    for origin, status in [(ORIGIN, 204), ("https://blog.example", 204), ("https://evil.example", 403)]:
        answer = await at.ask("OPTIONS", "/v1/t", headers={"Origin": origin, **PREFLIGHT}, host="127.0.0.1")
        assert answer.status == status


async def test_the_request_itself_is_checked_against_its_own_source(at: House) -> None:
    body = '{"name":"page_view"}'
    answer = await at.ask("POST", "/v1/events?k=wk_blog", body, {"Origin": ORIGIN}, host="127.0.0.1")
    assert answer.status == 403
    assert at.intake.events == 0


@pytest.mark.parametrize("target", ["/v1/t", "/p.gif", "/v1/consent", "/v1/batch"])
async def test_every_ingest_route_answers_preflights(at: House, target: str) -> None:
    answer = await at.ask("OPTIONS", target, headers={"Origin": ORIGIN, **PREFLIGHT})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, ORIGIN)


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        ("anonymousid,authorization,content-type", ", anonymousid"),
        ("X-Requested-With", ", x-requested-with"),
        ("", ""),
        ("a\r\nset-cookie: x=1", ""),
        ("*, b c", ""),
    ],
)
async def test_a_listed_page_may_send_the_headers_of_its_library(at: House, asked: str, more: str) -> None:
    reply, lines = Origins(SOURCES).preflight(ORIGIN, "shop", "POST", asked)
    assert f"Access-Control-Allow-Headers: authorization, content-type, x-retry-count{more}\r\n".encode() in reply.head
    assert lines
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Headers": "anonymousid"}
    stranger = await at.ask("OPTIONS", "/v1/t", headers=headers)
    assert "access-control-allow-headers" not in stranger.headers


async def test_sdk_settings_are_for_everybody_and_without_credentials(at: House) -> None:
    answer = await at.ask("GET", "/v1/projects/wk_shop/settings", headers={"Origin": "https://elsewhere.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


async def test_options_without_an_origin_lists_the_methods(at: House) -> None:
    answer = await at.ask("OPTIONS", "/v1/events")
    assert (answer.status, answer.headers["allow"]) == (204, "POST, OPTIONS")


async def test_a_refused_event_can_still_be_read_by_the_page(at: House) -> None:
    answer = await at.ask("POST", "/v1/events", "not json", {"Origin": ORIGIN})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (400, ORIGIN)
