"""GA4's dialects: what the door answers, who speaks, what consent a hit states, and that no parameter is lost."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from gateway.config.models import Source, SourceConsent
from gateway.consent.decide import decide
from gateway.consent.google import said
from gateway.errors import QueueFull, Refused
from gateway.hit_file import read_hit
from gateway.receive import ga4_mp
from gateway.receive.hit import Hit, RawEvent
from tests import ga4_kit as web
from tests.door_kit import ORIGIN, SOURCES, gateway, house

VIEW = web.query(web.BASE)
LOGIN = b'{"client_id": "1.2", "events": [{"name": "login"}]}'
LISTED = {
    **SOURCES,
    "shop": SOURCES["shop"].model_copy(update={"ga4_ids": ["G-TEST12345"]}),
    "app": Source(write_keys=["wk_app"], ga4_ids=["G-APP00", "1:1234567890:android:0a1b2c3d4e5f"]),
}


# -- the door ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", f"/g/collect?{VIEW}", ""),
        ("GET", f"/g/collect?{VIEW}", ""),
        ("POST", f"/g/collect?{VIEW}", "en=scroll\r\nen=click"),
        ("POST", "/mp/collect?measurement_id=G-1&api_secret=s", LOGIN),
        ("POST", f"/m/g/collect?{VIEW}", ""),
    ],
)
async def test_a_hit_is_answered_204_with_its_page_allowed_to_read_it(method: str, target: str, body: bytes | str) -> None:
    async with house(gateway(paths={"prefix": "/m"})) as door:
        answer = await door.ask(method, target, body, {"Origin": ORIGIN})
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["cache-control"] == "no-cache, no-store, must-revalidate"
        assert answer.headers["pragma"] == "no-cache"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert door.intake.events == (2 if "scroll" in str(body) else 1)
        assert door.counts.refusals == []


@pytest.mark.parametrize(
    ("target", "body", "route", "reason"),
    [
        ("/g/collect?v=1&tid=UA-1-1", "", "/g/collect", "malformed"),
        ("/g/collect", "", "/g/collect", "malformed"),
        ("/g/collect?v=2", "", "/g/collect", "malformed"),
        ("/g/collect?v=2&en=a&" + "&".join(f"x{n}" for n in range(1001)), "", "/g/collect", "malformed"),
        ("/g/collect?v=2", "en=a\n" * 251, "/g/collect", "too_large"),
        (f"/g/collect?{VIEW}", "en=big&ep.x=" + "y" * 70_000, "/g/collect", "too_large"),
        (f"/g/collect?{VIEW}&k=wk_nobody", "", "/g/collect", "unknown_key"),
        (f"/g/collect?{VIEW}&k=wk_blog", "", "/g/collect", "cross_source"),
        ("/collect?v=1&t=pageview", "", "/collect", "malformed"),
        ("/j/collect?v=1&t=pageview", "", "/collect", "malformed"),
        ("/mp/collect", "no json", "/mp/collect", "malformed"),
        ("/mp/collect", "[" * 40 + "]" * 40, "/mp/collect", "malformed"),
    ],
)
async def test_what_is_refused_is_answered_204_and_counted(target: str, body: str, route: str, reason: str) -> None:
    async with house() as door:
        answer = await door.ask("POST", target, body)
        assert (answer.status, answer.body) == (204, b"")
        assert door.counts.refusals == [(route, reason)]
        assert door.intake.events == 0


async def test_a_page_of_another_site_is_refused_without_a_word() -> None:
    async with house() as door:
        answer = await door.ask("POST", f"/g/collect?{VIEW}", "", {"Origin": "https://evil.example"})
        assert answer.status == 204
        assert "access-control-allow-origin" not in answer.headers
        assert door.counts.refusals == [("/g/collect", "origin")]


@pytest.mark.parametrize("target", [f"/g/collect?{VIEW}", "/mp/collect"])
async def test_a_full_store_says_when_to_come_again(target: str) -> None:
    async with house() as door:
        door.intake.raises = QueueFull("no room")
        answer = await door.ask("POST", target, LOGIN if "mp" in target else b"")
        assert (answer.status, answer.headers["retry-after"]) == (503, "30")


# -- who speaks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "target", "body", "outcome"),
    [
        ("t.shop.example", "/g/collect?v=2&en=a&tid=G-TEST12345", b"", "shop"),
        ("t.shop.example", "/g/collect?v=2&en=a", b"", "shop"),
        ("t.shop.example", "/g/collect?v=2&en=a&tid=G-OTHER", b"", "unknown_key"),
        ("t.shop.example", "/g/collect?v=2&en=a&tid=G-APP00", b"", "cross_source"),
        ("t.blog.example", "/g/collect?v=2&en=a&tid=G-OTHER", b"", "blog"),
        ("any.example", "/g/collect?v=2&en=a&tid=G-TEST12345", b"", "shop"),
        ("any.example", "/g/collect?v=2&en=a&tid=G-OTHER", b"", "unknown_key"),
        ("any.example", "/g/collect?v=2&en=a&tid=G-APP00&k=wk_shop", b"", "cross_source"),
        ("any.example", "/mp/collect?measurement_id=G-APP00&api_secret=googles", LOGIN, "app"),
        ("any.example", "/mp/collect?firebase_app_id=1:1234567890:android:0a1b2c3d4e5f", LOGIN, "app"),
        ("any.example", "/mp/collect?measurement_id=G-OTHER&api_secret=googles", LOGIN, "unknown_key"),
        ("any.example", "/mp/collect?api_secret=wk_blog", LOGIN, "blog"),
        ("any.example", "/mp/collect?measurement_id=G-TEST12345&api_secret=sk_shop", LOGIN, "shop as a server"),
        ("any.example", "/mp/collect?measurement_id=G-APP00&api_secret=sk_shop", LOGIN, "cross_source"),
    ],
)
async def test_a_measurement_id_names_its_source_and_keeps_others_out(
    host: str, target: str, body: bytes, outcome: str
) -> None:
    async with house(gateway(LISTED)) as door:
        assert (await door.ask("POST", target, body, host=host)).status == 204
        if outcome in ("unknown_key", "cross_source"):
            assert door.counts.refusals == [(target.partition("?")[0], outcome)]
        else:
            [(hit, _)] = door.intake.hits
            assert f"{hit.source}{' as a server' if hit.server else ''}" == outcome


@pytest.mark.parametrize(("stream", "source"), [("G-APP00", "app"), ("G-TEST12345", "shop"), ("G-OTHER", None)])
def test_a_hit_in_a_file_is_named_the_same_way(stream: str, source: str | None) -> None:
    raw = f"GET /g/collect?v=2&en=a&tid={stream} HTTP/1.1\r\nHost: any.example\r\n\r\n".encode()
    try:
        assert read_hit(raw, gateway(LISTED), None, web.RECEIVED).source == source
    except Refused:
        assert source is None


@pytest.mark.parametrize("name", ["", "UA-1-1", "g-abc", "G-", "G-AB CD", "1:2:android:x", "*"])
def test_what_is_no_measurement_id_is_not_taken_for_one(name: str) -> None:
    with pytest.raises(ValidationError):
        Source(ga4_ids=[name])


def test_googles_secret_is_not_kept() -> None:
    hit = Hit("POST", "/mp/collect", "api_secret=s3cr3t&measurement_id=G-1", {}, LOGIN, "shop", web.RECEIVED)
    [raw] = ga4_mp.decode(hit)
    assert isinstance(raw, RawEvent)
    assert b"s3cr3t" not in orjson.dumps(raw.data)


# -- consent -------------------------------------------------------------------------------------------------------------

G, D, U = "granted", "denied", "unknown"


@pytest.mark.parametrize(
    ("parameters", "ad_storage", "analytics", "user_data", "personal"),
    [
        ({"gcs": "G111"}, G, G, U, U),
        ({"gcs": "G110"}, G, D, U, U),
        ({"gcs": "G101"}, D, G, U, U),
        ({"gcs": "G100"}, D, D, U, U),
        ({"gcs": "G1-1"}, U, G, U, U),
        ({"gcs": "G1"}, U, U, U, U),
        ({"gcs": True}, U, U, U, U),
        ({"gcd": "13l3l3l3l1"}, U, U, U, U),
        ({"gcd": "13l3l3l3l1l1"}, U, U, U, U),
        ({"gcd": "11t1t1t1t5"}, G, G, G, G),
        ({"gcd": "13t3t3t2t5l1"}, G, G, G, G),
        ({"gcd": "13r3r3r2r5l1"}, G, G, G, G),
        ({"gcd": "13p3t3p2p5l1"}, D, G, D, D),
        ({"gcd": "13q3v3q3m5l1"}, D, G, D, D),
        ({"gcd": "13u3n3m3t5"}, D, G, D, G),
        ({"gcd": "13l3l3R3l5l1"}, U, U, U, U),
        ({"gcd": "13R3r3R3r5l1"}, U, G, U, G),
        ({"gcd": "13r3r3r5"}, U, U, U, U),
        ({"gcd": "13r3r3r3r5", "gcs": "G101"}, D, G, G, G),
        ({"gcd": "13q3r3r3r5", "gcs": "G111"}, D, G, G, G),
        ({"gcd": "13l3l3l3l1", "gcs": "G111"}, G, G, U, U),
        ({"gcd": "13r3r3r3r5", "npa": "1"}, G, G, G, D),
        ({"npa": "1"}, U, U, U, D),
        ({"npa": "0"}, U, U, U, U),
        ({"gcd": "13r3r3r3r5", "dma": "1", "dma_cps": "syphmo"}, G, G, D, G),
        ({"gcd": "13r3r3r3r5", "dma": "1", "dma_cps": "syphamo"}, G, G, G, G),
        ({"gcd": "13r3r3r3r5", "dma": "0", "dma_cps": "-"}, G, G, G, G),
        ({"dma": "1"}, U, U, D, U),
        ({"pscdl": "denied"}, U, U, U, U),
    ],
)
def test_consent_mode_says(parameters: dict[str, Any], ad_storage: str, analytics: str, user_data: str, personal: str) -> None:
    found = {purpose: state.choice for purpose, state in said(parameters).items()}
    assert found.get("ad_storage", U) == ad_storage
    assert found.get("analytics_storage", U) == analytics
    assert found.get("ad_user_data", U) == user_data
    assert found.get("ad_personalization", U) == personal


@pytest.mark.parametrize("letter", "lpqrtuvmn")
def test_only_an_update_is_a_visitors_choice(letter: str) -> None:
    states = said({"gcd": f"13{letter}3l3l3l5"})
    explicit = {name: state.explicit for name, state in states.items()}
    assert explicit == ({} if letter == "l" else {"ad_storage": letter in "qruvmn"})


def decided(parameters: dict[str, str], cookie: str = "", rules: SourceConsent | None = None) -> dict[str, Any]:
    hit = web.hit(web.query({**web.BASE, **parameters}), headers={"cookie": cookie, "user-agent": web.AGENT})
    [event] = web.events(hit)
    return decide({**event.data, "consent": {}}, hit, rules or SourceConsent())


def test_a_default_yields_to_the_visitors_own_cookie_and_a_choice_does_not_yield_to_a_grant() -> None:
    granted = "_tw_consent=v1.gggg.1795500000.e"
    assert decided({"gcs": "G100", "gcd": "13p3p3p3p5"})["analytics_storage"] == "denied"
    assert decided({"gcs": "G100", "gcd": "13p3p3p3p5"}, granted)["analytics_storage"] == "granted"
    assert decided({"gcs": "G100", "gcd": "13q3q3q3q5"}, granted)["analytics_storage"] == "denied"


def test_a_granted_hit_is_never_more_permissive_than_the_cookie_beside_it() -> None:
    denied = "_tw_consent=v1.dddd.1795500000.e"
    assert decided({"gcs": "G111", "gcd": "13r3r3r3r5"}, denied)["ad_storage"] == "denied"
    assert decided({"gcs": "G111", "gcd": "13t3t3t3t5"}, denied)["ad_storage"] == "denied"


def test_a_source_that_does_not_read_it_takes_no_grant_of_it_but_its_denials() -> None:
    rules = SourceConsent(read=["event"])
    assert decided({"gcs": "G101", "gcd": "13q3r3q3q5"}, rules=rules)["analytics_storage"] == "unknown"
    assert decided({"gcs": "G101", "gcd": "13q3r3q3q5"}, rules=rules)["ad_storage"] == "denied"


def test_the_decision_names_what_decided() -> None:
    block = decided({"gcs": "G111", "gcd": "13p3r3r3r5", "npa": "1"})
    named = {source["name"]: (source["explicit"], source["purposes"]) for source in block["sources"]}
    assert named["gcd, npa"] == (True, ["ad_user_data", "ad_personalization", "analytics_storage"])
    assert named["gcd default"] == (False, ["ad_storage"])


@pytest.mark.parametrize(
    ("parameters", "law"),
    [
        ({"ur": "DE-BE"}, "opt_in"),
        ({"_uc": "US"}, "opt_out"),
        ({"dma": "1"}, "opt_in"),
        ({"ur": "??"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_where_nothing_better_names_the_country_the_hit_does(parameters: dict[str, str], law: str) -> None:
    assert decided(parameters)["jurisdiction"] == law


def test_a_us_privacy_string_of_a_hit_opts_out() -> None:
    assert decided({"us_privacy": "1YYN"})["sale_opt_out"] is True
