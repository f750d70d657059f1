"""Visitors: the cookies that a gateway sets and reads, by consent, and what of them gets into events."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import FrozenClock, parse_instant
from gateway.config.identity import Identity
from gateway.enrich import clicks, linker
from gateway.enrich.signed import Signer
from gateway.enrich.visitor import Visitors
from gateway.normalise.scrub import scrub, scrubbed
from gateway.queue.recent import Window
from gateway.receive.hit import Hit
from tests.gateway_kit import DENIED, GRANTED, LAB, Running, running

START = parse_instant("2026-11-24T10:00:03Z")
DAY = 86400
SITE = "https://www.shop.example"
SOURCES = (
    "  shop:\n    write_keys: [wk_shop]\n    server_keys: [sk_shop]\n    origins:\n      - https://www.shop.example\n"
    "      - https://shop.example\n    identity:\n      domain: .shop.example\n      linked: [brand.example]\n"
)
HOOK = {"webhook": LAB["webhook"].format(base="http://127.0.0.1:9") + "mode: dry_run\n"}
PAGE = {"page": {"url": f"{SITE}/"}}


class Browser:
    """A browser on a page of the shop: keeps the cookies it gets and sends them again."""

    def __init__(self, up: Running, **headers: str) -> None:
        self.up = up
        self.jar: dict[str, str] = {}
        self.lines: list[str] = []
        self.headers = {"Sec-Fetch-Site": "same-site", "Origin": SITE, "Host": "t.shop.example", **headers}

    async def post(self, path: str, body: Any) -> None:
        """Send it and keep what the answer sets; `lines` are the answer's Set-Cookie lines."""
        headers = {"X-Write-Key": "wk_shop", **self.headers}
        if self.jar:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        async with self.up.client.post(f"{self.up.url}{path}", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            self.lines = answer.headers.getall("Set-Cookie", [])
        self.up.client.cookie_jar.clear()
        for line in self.lines:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.jar.pop(name, None)
                else:
                    self.jar[name] = morsel.value

    async def send(self, consent: Any = GRANTED, **event: Any) -> dict[str, Any]:
        """Send one event; what is stored of it."""
        await self.post("/v1/events", {"name": "page_view", **({"consent": consent} if consent else {}), **PAGE, **event})
        return newest(self.up)

    @property
    def told(self) -> list[str]:
        """The names of the cookies that the last answer set, deleted ones with a minus."""
        return [("-" if "Max-Age=0" in line else "") + line.split("=", 1)[0] for line in self.lines]


def newest(up: Running, n: int = 1) -> dict[str, Any]:
    """The n-th newest event in the store."""
    with Window(up.app._store_file) as window:
        found: dict[str, Any] = orjson.loads([*window.newest(n)][n - 1].body)
    return found


@pytest.fixture
async def up(tmp_path: Path) -> Any:
    async with running(tmp_path, HOOK, sources=SOURCES, clock=FrozenClock(START)) as gateway:
        yield gateway


@pytest.fixture
def browser(up: Running) -> Browser:
    return Browser(up)


# -- the id ------------------------------------------------------------------------------------------------------------


async def test_a_first_visit_gets_an_id_and_a_session(browser: Browser) -> None:
    event = await browser.send()
    assert browser.told == ["_tw_id", "_tw_sid"]
    value = browser.jar["_tw_id"]
    assert re.fullmatch(r"1\.[\w-]{22}\.1795514403\.1795514403\.\.[\w-]{16}", value)
    assert event["user"]["anonymous_id"] == value.split(".")[1]
    assert event["session"] == {"id": "1795514400", "number": 1, "started": "2026-11-24T10:00:00.000Z"}
    for line in browser.lines:
        assert line.endswith("; Max-Age=34560000; Path=/; Domain=shop.example; Secure; SameSite=Lax; HttpOnly")


async def test_the_id_is_the_same_and_is_set_once_a_day(up: Running, browser: Browser) -> None:
    first = (await browser.send())["user"]["anonymous_id"]
    told = []
    for hours in (0, 1, 22, 2, 25):
        up.app.clock.advance(hours * 3600)  # type: ignore[attr-defined]
        assert (await browser.send())["user"]["anonymous_id"] == first
        told.append("_tw_id" in browser.told)
    assert told == [False, False, False, True, True]


async def test_on_plain_loopback_there_is_neither_secure_nor_a_domain(up: Running) -> None:
    browser = Browser(up, Host="127.0.0.1:8080", Origin=SITE)
    await browser.send()
    assert all("Secure" not in line and "Domain" not in line for line in browser.lines)
    assert browser.told


async def test_what_the_event_says_goes_before_the_cookie(browser: Browser) -> None:
    await browser.send()
    event = await browser.send(user={"anonymous_id": "mine"}, session={"id": "1795000000"})
    assert (event["user"]["anonymous_id"], event["session"]) == ("mine", {"id": "1795000000"})


# -- consent -----------------------------------------------------------------------------------------------------------

ANALYTICS = {**DENIED, "analytics_storage": "granted"}
ADS = {**GRANTED, "analytics_storage": "denied"}


@pytest.mark.parametrize(
    ("consent", "told"),
    [
        (None, []),
        (DENIED, []),
        ({"ad_user_data": "granted"}, []),
        (ANALYTICS, ["_tw_id", "_tw_sid"]),
        (ADS, ["_tw_id"]),
        ({"analytics_storage": "granted"}, ["_tw_id", "_tw_sid"]),
    ],
)
async def test_cookies_are_set_only_where_consent_allows_storage(browser: Browser, consent: Any, told: list[str]) -> None:
    await browser.send(consent)
    assert browser.told == told


@pytest.mark.parametrize("consent", [None, DENIED, {"functional": "granted"}])
async def test_a_hit_without_consent_does_not_read_the_id(browser: Browser, consent: Any) -> None:
    await browser.send()
    event = await browser.send(consent)
    assert "anonymous_id" not in event.get("user", {})
    assert "session" not in event


async def test_a_refusal_deletes_the_cookies_where_they_were_set(browser: Browser) -> None:
    await browser.send(page={"url": f"{SITE}/?gclid=Cj0KCQclick1"})
    assert browser.told == ["_tw_id", "_tw_sid", "_tw_click"]
    await browser.send(DENIED)
    assert browser.told == ["-_tw_id", "-_tw_sid", "-_tw_click"]
    assert all("Path=/; Domain=shop.example; Secure" in line for line in browser.lines)
    await browser.send(DENIED)
    assert browser.told == []


async def test_refusing_ads_alone_deletes_the_clicks_alone(browser: Browser) -> None:
    await browser.send(page={"url": f"{SITE}/?gclid=Cj0KCQclick1"})
    event = await browser.send(ANALYTICS)
    assert browser.told == ["-_tw_click"]
    assert "gclid" not in event.get("ids", {})


@pytest.mark.parametrize(
    ("consent", "told"),
    [
        ({"ad_storage": "denied", "analytics_storage": "denied"}, ["-_tw_id", "-_tw_sid", "-_tw_click"]),
        ({"ad_storage": "denied"}, ["-_tw_click"]),
        ({"analytics_storage": "granted"}, []),
    ],
)
async def test_a_choice_on_its_own_deletes_too(browser: Browser, consent: Any, told: list[str]) -> None:
    await browser.send(page={"url": f"{SITE}/?gclid=Cj0KCQclick1"})
    await browser.post("/v1/consent", {"consent": consent})
    assert browser.told == told


async def test_a_withdrawal_is_known_by_the_cookie_alone(browser: Browser) -> None:
    await browser.send()
    kept = dict(browser.jar)
    await browser.post("/v1/consent", {"consent": DENIED})
    browser.jar = kept
    event = await browser.send()
    assert event["consent"]["analytics_storage"] == "denied"
    assert "user" not in event
    assert browser.told == ["-_tw_id", "-_tw_sid"]


async def test_behind_a_proxy_the_host_is_the_one_that_the_browser_asked(tmp_path: Path) -> None:
    proxied = "trusted_proxies: [private]\n"
    async with running(tmp_path, HOOK, sources=SOURCES, gateway=proxied) as up:
        own = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": "www.shop.example", "Host": "gateway.internal"}
        browser = Browser(up, **own)
        await browser.send()
        assert all("; Domain=shop.example; Secure" in line for line in browser.lines)
        assert browser.told


# -- who may -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": ""}, False),
    ],
)
async def test_only_pages_of_the_site_get_cookies(up: Running, headers: dict[str, str], told: bool) -> None:
    browser = Browser(up, **headers)
    await browser.send()
    assert bool(browser.told) is told


async def test_a_server_gets_none(up: Running) -> None:
    body = {"name": "page_view", "consent": GRANTED}
    headers = {"X-Write-Key": "sk_shop", "Cookie": "a=b", "Sec-Fetch-Site": "same-site"}
    async with up.client.post(f"{up.url}/v1/events", json=body, headers=headers) as answer:
        assert "Set-Cookie" not in answer.headers


async def test_a_duplicate_and_a_pixel_are_answered_with_cookies_too(up: Running) -> None:
    headers = {"Referer": f"{SITE}/", "Host": "t.shop.example"}
    query = "k=wk_shop&e=page_view&eid=e-1&consent.analytics_storage=granted"
    for _ in range(2):
        async with up.client.get(f"{up.url}/p.gif?{query}", headers=headers) as answer:
            assert len(answer.headers.getall("Set-Cookie")) == 2
        up.client.cookie_jar.clear()


async def test_the_cookies_come_after_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.errors import QueueFull

    async with running(tmp_path, HOOK, sources=SOURCES) as up:

        async def full(_events: Any) -> Any:
            raise QueueFull("no room")

        monkeypatch.setattr(up.app.store, "append", full)
        headers = {"X-Write-Key": "wk_shop", "Sec-Fetch-Site": "same-site"}
        body = {"name": "a", "consent": GRANTED}
        async with up.client.post(f"{up.url}/v1/events", json=body, headers=headers) as answer:
            assert (answer.status, answer.headers.getall("Set-Cookie", [])) == (503, [])


async def test_the_last_event_of_a_hit_decides_what_the_browser_keeps(browser: Browser) -> None:
    events = [{"name": "a", "consent": GRANTED}, {"name": "b", "consent": DENIED}]
    await browser.send()
    await browser.post("/v1/events", events)
    assert browser.told == ["-_tw_id", "-_tw_sid"]
    assert "user" not in newest(browser.up)
    assert "anonymous_id" in newest(browser.up, 2)["user"]
    await browser.post("/v1/events", events[::-1])
    assert browser.told == ["_tw_id", "_tw_sid"]


# -- tossed cookies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "planted",
    ["1.AAAAAAAAAAAAAAAAAAAAAA.1795514403.1795514403..AAAAAAAAAAAAAAAA", "x", "", "1..1..", "{signed}x", "\u00e9"],
)
async def test_a_planted_id_is_not_read_and_the_first_of_ours_counts(browser: Browser, planted: str) -> None:
    own = (await browser.send())["user"]["anonymous_id"]
    signed = browser.jar["_tw_id"]
    planted = planted.replace("{signed}", signed)
    browser.jar = {"_tw_id": f"{planted}; _tw_id={signed}; _tw_id=1.BBBBBBBBBBBBBBBBBBBBBB.1795514403.1795514403..B"}
    assert (await browser.send())["user"]["anonymous_id"] == own
    browser.jar = {"_tw_id": planted}
    assert (await browser.send())["user"]["anonymous_id"] not in (own, "A" * 22)


async def test_a_value_of_one_cookie_is_none_of_another(browser: Browser) -> None:
    await browser.send()
    browser.jar["_tw_sid"] = browser.jar["_tw_click"] = browser.jar["_tw_id"]
    event = await browser.send()
    assert event["session"]["number"] == 1


async def test_the_key_of_the_source_makes_nodes_agree(tmp_path: Path) -> None:
    keyed = SOURCES + "      key: ${file:key.txt}\n"
    values = []
    for node in ("a", "b"):
        (tmp_path / node).mkdir()
        (tmp_path / node / "key.txt").write_text("a-secret-of-some-length")
        async with running(tmp_path / node, HOOK, sources=keyed, clock=FrozenClock(START)) as up:
            browser = Browser(up)
            browser.jar = dict(values[0]) if values else {}
            await browser.send()
            values.append(dict(browser.jar))
    assert values[0]["_tw_id"] == values[1]["_tw_id"]


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_a_session_ends_after_half_an_hour_without_a_hit(up: Running, browser: Browser) -> None:
    seen = []
    for minutes in (0, 20, 29, 31, 1, 60 * 24 * 3):
        up.app.clock.advance(minutes * 60)  # type: ignore[attr-defined]
        session = (await browser.send())["session"]
        seen.append((int(session["id"]) - 1795514400, session["number"]))
    at = 80 * 60 + 3
    assert seen == [(0, 1), (0, 1), (0, 1), (at, 2), (at, 2), (at + 60 + 3 * DAY, 3)]


async def test_the_session_of_google_analytics_stays(browser: Browser) -> None:
    browser.jar = {"_ga_ABCDEF1234": "GS2.1.s1795514000$o4$g1$t1795514300"}
    assert (await browser.send())["session"] == {"id": "1795514000", "number": 4}
    assert browser.told == ["_tw_id"]


async def test_an_event_of_before_the_session_has_none(browser: Browser) -> None:
    await browser.send()
    assert "session" not in await browser.send(time="2026-11-24T09:00:00Z")


# -- clicks ------------------------------------------------------------------------------------------------------------


async def test_a_click_is_kept_for_later_pages_and_for_its_time(up: Running, browser: Browser) -> None:
    await browser.send(page={"url": f"{SITE}/?gclid=Cj0KCQclick1&ttclid=E.C.P.abcdefgh"})
    event = await browser.send()
    assert (event["ids"]["gclid"], event["ids"]["ttclid"]) == ("Cj0KCQclick1", "E.C.P.abcdefgh")
    up.app.clock.advance(31 * DAY)  # type: ignore[attr-defined]
    assert (await browser.send())["ids"] == {"gclid": "Cj0KCQclick1"}
    up.app.clock.advance(60 * DAY)  # type: ignore[attr-defined]
    assert "ids" not in await browser.send()


async def test_a_new_click_of_a_platform_replaces_its_old_one(browser: Browser) -> None:
    await browser.send(page={"url": f"{SITE}/?gclid=Cj0KCQclick1&fbclid=IwAR0first"})
    await browser.send(page={"url": f"{SITE}/?wbraid=CmYKCQbraid"})
    ids = (await browser.send())["ids"]
    assert {key: ids.get(key) for key in ("gclid", "wbraid", "fbclid")} == {
        "gclid": None,
        "wbraid": "CmYKCQbraid",
        "fbclid": "IwAR0first",
    }


async def test_fbc_keeps_the_time_of_the_first_sight(up: Running, browser: Browser) -> None:
    first = await browser.send(page={"url": f"{SITE}/?fbclid=IwAR0first"})
    up.app.clock.advance(600)  # type: ignore[attr-defined]
    later = await browser.send()
    again = await browser.send(page={"url": f"{SITE}/?fbclid=IwAR0first"})
    assert first["ids"]["fbc"] == later["ids"]["fbc"] == again["ids"]["fbc"] == "fb.1.1795514403000.IwAR0first"
    assert "fbp" not in later["ids"]
    assert "_fbc" in browser.jar
    assert "_fbp" not in browser.jar


async def test_metas_cookies_are_set_again_readable_and_only_for_ads(browser: Browser) -> None:
    browser.jar = {"_fbp": "fb.1.1697040000000.1234567890.AQ"}
    await browser.send(ANALYTICS)
    assert "_fbp" not in browser.told
    browser.jar.pop("_tw_id")
    await browser.send()
    [line] = [line for line in browser.lines if line.startswith("_fbp")]
    assert line.startswith("_fbp=fb.1.1697040000000.1234567890.AQ; Max-Age=7776000;")
    assert "HttpOnly" not in line


SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/604.1"
)
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
GA, FBP = "GA1.1.1098115397.1795514300", "fb.1.1697040000000.1234567890"


async def test_analytics_cookie_is_set_again_with_the_value_that_came(browser: Browser) -> None:
    browser.jar = {"_ga": GA, "_ga_ABC123DEF4": "GS1.1.1795514300.4.1.1795514301.0.0.0"}
    await browser.send(ANALYTICS)
    [line] = [line for line in browser.lines if line.startswith("_ga")]
    assert line == f"_ga={GA}; Max-Age=34560000; Path=/; Domain=shop.example; Secure; SameSite=Lax"


@pytest.mark.parametrize(
    ("consent", "told"),
    [
        (GRANTED, ["_ga", "_fbp"]),
        (ANALYTICS, ["_ga"]),
        (ADS, ["_fbp"]),
        (DENIED, []),
        (None, []),
    ],
)
async def test_vendors_cookies_are_set_again_only_where_their_purpose_is_granted(
    browser: Browser, consent: Any, told: list[str]
) -> None:
    browser.jar = {"_ga": GA, "_fbp": FBP}
    await browser.send(consent)
    assert [name for name in browser.told if not name.startswith("_tw")] == told


@pytest.mark.parametrize(
    ("agent", "page_view", "later"),
    [(SAFARI, ["_ga", "_fbp"], []), (CHROME, [], [])],
    ids=["Safari", "Chrome"],
)
async def test_where_a_script_wrote_a_cookie_on_each_page_the_server_does_too(
    browser: Browser, agent: str, page_view: list[str], later: list[str]
) -> None:
    browser.headers["User-Agent"] = agent
    browser.jar = {"_ga": GA, "_fbp": FBP}
    await browser.send()
    await browser.send()
    assert browser.told == page_view
    await browser.send(name="add_to_cart")
    assert browser.told == later


@pytest.mark.parametrize(
    ("jar", "event"),
    [
        ({"_ga": "GA1.1.x"}, {}),
        ({"_ga": "deleted"}, {}),
        ({"_ga": GA}, {"ids": {"ga_client_id": "1.2"}}),
        ({"_fbp": FBP}, {"ids": {"fbp": "fb.1.1697040000000.99"}}),
        ({"_ga": GA, "FPID": "FPID2.2.abc.1729089365"}, {}),
        ({"_ga": "GA1.1.1%3B.2"}, {}),
        ({}, {"ids": {"ga_client_id": "1.2", "fbp": FBP}}),
    ],
)
async def test_no_vendors_cookie_is_made_or_made_up(browser: Browser, jar: dict[str, str], event: dict[str, Any]) -> None:
    browser.jar = dict(jar)
    await browser.send(**event)
    assert browser.told == ["_tw_id", "_tw_sid"]


@pytest.mark.parametrize("domain", ["", "    identity:\n      domain: .eu.shop.example\n"], ids=["none", "below the site's"])
async def test_vendors_cookies_stand_where_their_scripts_put_them_or_are_left_alone(tmp_path: Path, domain: str) -> None:
    sources = f"  shop:\n    write_keys: [wk_shop]\n    origins: ['{SITE}']\n{domain}"
    async with running(tmp_path, HOOK, sources=sources, clock=FrozenClock(START)) as up:
        browser = Browser(up, Host="t.eu.shop.example")
        browser.jar = {"_ga": GA, "_fbp": FBP}
        await browser.send()
        assert browser.told == ["_tw_id", "_tw_sid"]


@pytest.mark.parametrize(
    ("page", "host", "told"),
    [
        ("https://shop.acme.co.uk", "t.acme.co.uk", True),
        ("https://shop.other.co.uk", "t.acme.co.uk", False),
        ("https://acme.github.io", "t.acme.github.io", True),
        ("https://other.github.io", "acme.github.io", False),
        ("http://localhost:8000", "localhost", True),
        ("http://127.0.0.1:8000", "10.0.0.1", False),
    ],
)
async def test_without_a_domain_the_site_is_told_by_what_can_be_registered(
    tmp_path: Path, page: str, host: str, told: bool
) -> None:
    sources = f"  shop:\n    write_keys: [wk_shop]\n    origins: ['{page}']\n"
    async with running(tmp_path, HOOK, sources=sources, clock=FrozenClock(START)) as up:
        browser = Browser(up, Host=host, Origin=page)
        del browser.headers["Sec-Fetch-Site"]
        await browser.send()
        assert bool(browser.told) is told


FBC, GCL = "fb.1.1697040000000.IwAR0first", "GCL.1742916891.Cj0KCQfirst"


async def test_clicks_in_vendors_cookies_are_not_the_next_users(browser: Browser) -> None:
    browser.jar = {"_fbc": FBC, "_gcl_aw": GCL, "_fbp": FBP, "_ga": GA}
    first = await browser.send(user={"id": "U-1"}, page={"url": f"{SITE}/?gclid=Cj0KCQfirst"})
    assert (first["ids"]["fbc"], first["ids"]["gclid"]) == (FBC, "Cj0KCQfirst")
    second = await browser.send(user={"id": "U-2"})
    assert sorted(second["ids"]) == ["fbp", "ga_client_id"], "the browser's ids stay"
    assert "_fbc" not in browser.told
    for user in ({}, {"id": "U-2"}):
        assert sorted((await browser.send(user=user))["ids"]) == ["fbp", "ga_client_id"]
    again = await browser.send(page={"url": f"{SITE}/?gclid=Cj0KCQsecond&fbclid=IwAR0second"})
    assert (again["ids"]["gclid"], again["ids"]["fbclid"]) == ("Cj0KCQsecond", "IwAR0second")
    browser.jar |= {"_fbc": "fb.1.1795514403000.IwAR0second.AQ", "_gcl_aw": "GCL.1795514403.Cj0KCQsecond"}
    later = await browser.send()
    assert (later["ids"]["gclid"], later["ids"]["fbc"]) == ("Cj0KCQsecond", "fb.1.1795514403000.IwAR0second.AQ")


async def test_who_signs_in_keeps_the_clicks_from_before(browser: Browser) -> None:
    browser.jar = {"_fbc": FBC}
    await browser.send()
    assert (await browser.send(user={"id": "U-1"}))["ids"]["fbc"] == FBC
    await browser.send()
    assert (await browser.send(user={"id": "U-1"}))["ids"]["fbc"] == FBC


async def test_without_ad_storage_a_click_goes_with_its_own_hit_and_is_not_kept(browser: Browser) -> None:
    consent = {**ANALYTICS, "ad_user_data": "granted"}
    event = await browser.send(consent, page={"url": f"{SITE}/?gclid=Cj0KCQclick1"})
    assert event["ids"]["gclid"] == "Cj0KCQclick1"
    assert "_tw_click" not in browser.jar
    assert "gclid" not in (await browser.send(consent)).get("ids", {})


def test_five_clicks_are_kept_and_no_more_than_a_cookie_holds() -> None:
    kept: tuple[clicks.Click, ...] = ()
    for n, name in enumerate(["gclid", "fbclid", "ttclid", "msclkid", "epik", "awc", "cjevent"]):
        kept = clicks.seen(kept, {name: "x" * 20}, 1795500000 + n)
    assert [click.name for click in kept] == ["cjevent", "awc", "epik", "msclkid", "ttclid"]
    for name in ("gclid", "fbclid", "ttclid", "msclkid", "epik", "awc", "cjevent"):
        kept = clicks.seen(kept, {name: "y" * 512}, 1795500010)
    assert len(clicks.written(kept)) <= clicks.MAX_TEXT
    assert clicks.read(clicks.written(kept), 1795500020) == kept


# -- two people, one device --------------------------------------------------------------------------------------------


async def test_nothing_of_an_earlier_user_fills_a_later_ones_events(browser: Browser) -> None:
    ann = await browser.send(user={"id": "ann"}, page={"url": f"{SITE}/?gclid=Cj0KCQofann"})
    same = await browser.send(user={"id": "ann"})
    bob = await browser.send(user={"id": "bob"})
    assert same["user"]["anonymous_id"] == ann["user"]["anonymous_id"]
    assert bob["user"]["anonymous_id"] != ann["user"]["anonymous_id"]
    assert bob.get("ids", {}) == {}
    assert {"_tw_id", "-_tw_click"} <= set(browser.told)
    assert (await browser.send(user={"id": "bob"}))["user"]["anonymous_id"] == bob["user"]["anonymous_id"]
    assert "ann" not in browser.jar["_tw_id"]


async def test_a_visitor_who_logs_in_stays_the_same(browser: Browser) -> None:
    before = await browser.send()
    after = await browser.send(user={"id": "ann"})
    assert before["user"]["anonymous_id"] == after["user"]["anonymous_id"]


# -- links of other domains --------------------------------------------------------------------------------------------

LINK = "1*abc123*_ga*NDA4NDA0OTUxLjE3NzIzMTMwODc.*_ga_5NXDQLC2ZK*czE3NzIzMTMwODYkbzEkZzAkdDE3NzIzMTMwODYkajYwJGwwJGgw"


def test_a_link_decodes() -> None:
    assert linker.decoded(LINK) == {
        "_ga": "408404951.1772313087",
        "_ga_5NXDQLC2ZK": "s1772313086$o1$g0$t1772313086$j60$l0$h0",
    }
    old = linker.decoded(
        "1*x*_ga_6LJN6D94N6*MTcxMTQ4ODE0Mi43LjAuMTcxMTQ4ODE0Mi4wLjAuMA..*FPAU*MTQ0MTE2MjgzMy4xNzg2NDAxMjc5*_up*MQ.."
    )
    assert old == {"_ga_6LJN6D94N6": "1711488142.7.0.1711488142.0.0.0", "FPAU": "1441162833.1786401279", "_up": "1"}


@pytest.mark.parametrize(
    ("link", "referrer", "at", "client"),
    [
        (LINK, "https://www.brand.example/", 1772313100, "408404951.1772313087"),
        (LINK, "https://brand.example/", 1772313086 + 601, None),
        (LINK, "https://notbrand.example/", 1772313100, None),
        (LINK, "", 1772313100, None),
        (LINK.split("*_ga_5")[0], "https://brand.example/", 1772313100, None),
        ("2.abc-408404951.1772313087", "https://brand.example/", 1772313100, None),
        ("1*x*_ga*!!!*_ga_X*%%%", "https://brand.example/", 1772313100, None),
    ],
)
def test_a_link_counts_from_an_own_domain_while_it_is_young(link: str, referrer: str, at: float, client: str | None) -> None:
    found = linker.read(f"{SITE}/?a=1&_gl={link}", referrer, ["brand.example"], at)
    assert (found.client_id if found else None) == client
    if found:
        assert found.session == {"id": "1772313086", "number": 1}


async def test_a_handed_over_client_gets_into_the_event(browser: Browser) -> None:
    page = {"url": f"{SITE}/?_gl={LINK}", "referrer": "https://brand.example/"}
    browser.up.app.clock.step_wall(1772313100 - START)  # type: ignore[attr-defined]
    event = await browser.send(page=page)
    assert event["ids"]["ga_client_id"] == "408404951.1772313087"
    assert event["session"]["id"] == "1772313086"


# -- URLs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://shop.example/", None),
        ("https://shop.example/a?b=c&gclid=Cj0KCQ&utm_source=x#top", None),
        ("https://shop.example/a?q=me@home", None),
        ("https://shop.example/reset?token=abc&gclid=Cj0K1", "https://shop.example/reset?gclid=Cj0K1"),
        ("https://shop.example/?PASSWORD=x", "https://shop.example/"),
        ("https://shop.example/?mc_eid=1&_hsenc=2&mkt_tok=3&vero_id=4&a=b&_kx=5", "https://shop.example/?a=b"),
        ("https://shop.example/?to=jane%40example.com&x=1", "https://shop.example/?x=1"),
        ("https://shop.example/?jane@example.com", "https://shop.example/"),
        ("https://shop.example/u/jane@example.com/orders?x=1", "https://shop.example/u/redacted/orders?x=1"),
        ("https://jane:secret@shop.example/a", "https://shop.example/a"),
        ("https://shop.example/#access_token=abc&state=1", "https://shop.example/#state=1"),
        ("https://shop.example/#/login?token=abc&x=1", "https://shop.example/#/login?x=1"),
        ("https://shop.example/?a=%ff&b=+&token=1&c", "https://shop.example/?a=%ff&b=+&c"),
    ],
)
def test_addresses_and_tokens_leave_the_url(url: str, clean: str | None) -> None:
    assert scrubbed(url) == (clean or url)


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_scrubbing_takes_only_away_and_is_done_in_one_go(url: str) -> None:
    once = scrubbed(url)
    assert scrubbed(once) == once


REFERRERS = {
    "https://www.google.com/": True,
    "HTTP://news.example/a?b=c#d": True,
    "android-app://com.google.android.gm/": True,
    "//news.example/": True,
    "about:blank": False,
    "null": False,
    "$direct": False,
    "file:///C:/Users/jane/page.html": False,
    "chrome-extension://abcdef/popup.html": False,
    "javascript:void(0)": False,
}


@pytest.mark.parametrize("referrer", REFERRERS)
@pytest.mark.parametrize("page", [{}, {"url": f"{SITE}/"}], ids=["alone", "with a page"])
def test_a_referrer_is_a_page_or_an_app(referrer: str, page: dict[str, str]) -> None:
    given = {"page": {**page, "referrer": referrer}}
    event, dropped = {**given}, []  # type: ignore[var-annotated]
    scrub(event, dropped)
    kept = REFERRERS[referrer]
    assert event.get("page", {}) == (given["page"] if kept else page)
    assert dropped == ([] if kept else ["page.referrer"])


async def test_a_scrubbed_url_is_counted_and_the_click_stays(up: Running, browser: Browser) -> None:
    page = {"url": f"{SITE}/?email=jane@example.com&gclid=Cj0KCQclick1", "referrer": f"{SITE}/reset?token=abc"}
    event = await browser.send(page=page)
    assert event["page"] == {"url": f"{SITE}/?gclid=Cj0KCQclick1", "referrer": f"{SITE}/reset"}
    assert event["ids"]["gclid"] == "Cj0KCQclick1"
    metrics = await up.metrics()
    assert 'tagway_dropped_fields_total{field="page.url",source="shop"} 1' in metrics
    assert 'tagway_dropped_fields_total{field="page.referrer",source="shop"} 1' in metrics


# -- nothing breaks it -------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.text(max_size=120), st.text(max_size=60), st.text(max_size=60))
def test_no_cookie_and_no_url_break_a_visitor(cookie: str, page: str, referrer: str) -> None:
    visitors = Visitors(Identity(domain="shop.example", linked=["brand.example"]), b"salt")
    sealed = visitors.signer.sealed("click", f"1|{page}")
    headers = {"cookie": f"_tw_id={cookie}; _tw_sid={cookie}; _tw_click={sealed}; _fbc={page}", "sec-fetch-site": "same-site"}
    hit = Hit("POST", "/v1/events", "", headers, b"", "shop", START, browser=True, host=page)
    visitor = visitors.of(hit)
    assert visitor is not None
    data = {
        "dialect": "json",
        "time": "2026-11-24T10:00:03.000Z",
        "consent": GRANTED,
        "page": {"url": f"https://x/?_gl={page}", "referrer": referrer},
    }
    event = visitor.fill(data)
    assert len(event["user"]["anonymous_id"]) == 22
    lines = visitor.cookies()
    assert lines.count(b"\r\n") == lines.count(b"Set-Cookie: ") >= 2


def test_a_signature_is_of_its_kind_and_its_key() -> None:
    one, other = Signer(b"a"), Signer(b"b")
    sealed = one.sealed("id", "v.1")
    assert one.opened("id", sealed) == "v.1"
    assert [one.opened("sid", sealed), other.opened("id", sealed), one.opened("id", "v.1"), one.opened("id", "")] == [None] * 4
    assert one.who("ann") != one.who("bob")
