"""Links in e-mails: tokens, where a redirect may lead, who opened, and what is kept of it, over a real gateway."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import links
from gateway.clock import FrozenClock
from gateway.config.load import load
from gateway.errors import ConfigErrors, QueueFull
from gateway.hit_file import read_hit
from gateway.links import BadLink, BadToken, Link
from gateway.receive.hit import Hit
from gateway.receive.linked import MailLinks
from gateway.receive.mail import MACHINES, decode_open, open_kind
from gateway.receive.replies import PIXEL
from gateway.setup.mail_links import FIELDS
from tests.cli_kit import tagway
from tests.docs_kit import ROOT, blocks
from tests.gateway_kit import Running, running

NOW = 1_795_514_430.0
KEY, OLD, FOREIGN = "link-key-of-the-shop-now", "link-key-of-the-shop-before", "somebody-elses-signing-key"
SOURCES = (
    "  shop:\n    hosts: [t.shop.example]\n    write_keys: [wk_shop]\n"
    "    consent:\n      unknown: jurisdiction\n      jurisdiction: none\n"
    f"    links:\n      keys: [{KEY}, {OLD}]\n"
    "  strict:\n    hosts: [t.strict.example]\n    write_keys: [wk_strict]\n"
    f"    links:\n      keys: [{FOREIGN}]\n      hosts: [strict.example]\n"
)
EVERY = "type: webhook\nsources: [shop, strict]\nmode: dry_run\nsettings:\n  url: http://127.0.0.1:9\n  secret: s\n"
META = "type: meta\nsources: [shop]\nendpoint: http://127.0.0.1:9\nsettings:\n  pixel_id: '1234567890'\n  access_token: T\n"
PERSON = {
    "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML) Mobile/15E148",
    "Accept-Language": "de-DE",
}
GMAIL = {"User-Agent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"}
YAHOO = {"User-Agent": "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"}
APPLE = {"User-Agent": "Mozilla/5.0"}
TO = "https://shop.example/sale?utm_campaign=spring&a=1#top"


def link(kind: links.Kind = "open", **changes: Any) -> Link:
    fields: dict[str, Any] = {"source": "shop", "message": "m-1", "recipient": "U-7", "sent": int(NOW) - 3600}
    if kind == "click":
        fields["to"] = TO
    return Link(kind=kind, **{**fields, **changes})


def token(kind: links.Kind = "open", key: str = KEY, **changes: Any) -> str:
    return links.sign(link(kind, **changes), key.encode())


def keys(*known: str) -> links.KeyOf:
    table = {links.key_id(key.encode()): key.encode() for key in known}
    return lambda source, kid: table.get(kid) if source == "shop" else None


def handmade(said: Mapping[str, Any], kind: str = "click", key: str = KEY) -> str:
    """A token as a sender's own program signs it, by the words of docs/email.md alone."""
    body = json.dumps(said).encode()
    mac = hmac.new(key.encode(), kind.encode() + b"\0" + body, hashlib.sha256).digest()[:16]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (body, mac))


def said(**changes: Any) -> dict[str, Any]:
    key = links.key_id(KEY.encode())
    return {"v": 1, "k": key, "s": "shop", "m": "m-1", "r": "U-7", "t": int(NOW), "d": "https://shop.example/", **changes}


# ---------------------------------------------------------------- tokens


def test_a_token_says_what_was_signed() -> None:
    for kind in ("open", "click"):
        made = link(kind, campaign="spring", consent="uuug", expires=int(NOW) + 60 if kind == "click" else None)
        assert links.read(kind, links.sign(made, KEY.encode()), keys(KEY), NOW)[0] == made


def test_a_token_of_the_old_key_holds_while_the_key_is_listed() -> None:
    old = token(key=OLD)
    assert links.read("open", old, keys(KEY, OLD), NOW)[0] == link()
    with pytest.raises(BadToken):
        links.read("open", old, keys(KEY), NOW)


def test_a_token_of_another_program_holds() -> None:
    found, _ = links.read("click", handmade(said()), keys(KEY), NOW)
    assert found.to == "https://shop.example/"


@pytest.mark.parametrize("kind", ["open", "click"])
def test_a_token_of_the_one_kind_is_none_of_the_other(kind: links.Kind) -> None:
    with pytest.raises(BadToken):
        links.read("click" if kind == "open" else "open", token(kind), keys(KEY), NOW)


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_no_letter_of_a_token_can_be_changed(place: int, letter: str) -> None:
    whole = token("click")
    at = place % len(whole)
    spoilt = whole[:at] + letter + whole[at + 1 :]
    if spoilt != whole:
        with pytest.raises(BadToken):
            links.read("click", spoilt, keys(KEY), NOW)


@given(st.text(max_size=200))
def test_any_text_that_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        links.read("open", text, keys(KEY), NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"s": 5},
        {"t": "now"},
        {"t": True},
        {"x": "soon"},
        {"g": "granted"},
        {"d": ["https://shop.example/"]},
        {"k": "none"},
    ],
)
def test_a_signed_payload_of_another_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        links.read("click", handmade(said(**changes)), keys(KEY), NOW)


def test_a_link_holds_until_it_expires() -> None:
    until = token("click", expires=int(NOW))
    links.read("click", until, keys(KEY), NOW)
    with pytest.raises(BadToken, match="expired"):
        links.read("click", until, keys(KEY), NOW + 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipient": "jane@shop.example"}, "ids only"),
        ({"message": "to jane@shop.example"}, "ids only"),
        ({"campaign": "a\x00b"}, "printable"),
        ({"recipient": ""}, "missing"),
        ({"message": "m" * 201}, "200"),
        ({"sent": -1}, "epoch"),
        ({"to": "https://shop.example/"}, "nowhere"),
    ],
)
def test_what_cannot_be_in_a_token_is_said(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadLink, match=words):
        token(**changes)


def test_a_hashed_address_is_the_same_for_every_spelling_and_holds_nothing_of_it() -> None:
    one, other = (links.hashed_recipient(address, KEY.encode()) for address in ("Jane@Shop.example ", "jane@shop.example"))
    assert one == other
    assert "jane" not in base64.urlsafe_b64decode(one[2:] + "==").decode("latin-1").lower()
    assert one != links.hashed_recipient("jane@shop.example", OLD.encode())


# ---------------------------------------------------------------- targets

HOSTILE = (
    "http://shop.example/", "HTTP://shop.example/", "ftp://shop.example/", "javascript:alert(1)", "JaVaScRiPt://shop.example/%0a1",
    "data:text/html,<b>1</b>", "vbscript:x", "file:///etc/passwd", "blob:https://shop.example/1", "about:blank",
    "//evil.example/", "///evil.example/",
    "/\\evil.example/", "\\\\evil.example\\", "https:evil.example", "https:/evil.example",
    "https:///evil.example", "https:////evil.example", "https:\\\\evil.example", "https:/\\evil.example", "https://",
    "https://shop.example\\@evil.example/", "https://shop.example\\.evil.example/", "https://shop.example@evil.example/",
    "https://shop.example:pw@evil.example/", "https://@evil.example/", "https://shop.example%40evil.example/",
    "https://evil.example%2f.shop.example/", "https://evil.example%00.shop.example/", "https://evil.example%5c.shop.example/",
    "https://127.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/",
    "https://shop.example.0x7f/", "https://shop.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[shop.example]/",
    "https://localhost/", "https://shop/", "https://shop.example./", "https://.shop.example/", "https://shop..example/",
    "https://-shop.example/", "https://shop-.example/", "https://shop_.example/", "https://sh\u00f6p.example/",
    "https://\u0455hop.example/", "https://shop\u3002example/", "https://shop.example\uff0f@evil.example/", "https://\u202eshop.example/",
    "https://shop.example/\r\nSet-Cookie: a=1", "https://shop.example/\nLocation: https://evil.example", "https://shop.example/\r",
    "https://shop.example/a b", " https://evil.example/", "\thttps://evil.example/", "ht\ttps://evil.example/", "https://evil\n.example/",
    "https://shop.example/\x00", "https://shop.example/\x7f", "https://shop.example/\u2028", "https://shop.example:0/",
    "https://shop.example:99999/", "https://shop.example:8o/", "https://shop.example:-1/", "https://shop.example:443@evil.example/",
    "https://shop.example\u00a0/", "https://*.example/", "https://shop.example;evil.example/", "https://shop.example,evil.example/",
    "https://shop.example/" + "a" * 4096, "", "evil.example", "?https://shop.example/", "#https://shop.example/",
)  # fmt: skip
"""Threat 19: open redirects."""


def test_there_are_sixty_hostile_targets_and_no_two_alike() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


@pytest.mark.parametrize("url", HOSTILE)
def test_threat_19_no_hostile_target_can_be_signed(url: str) -> None:
    with pytest.raises(BadLink):
        links.target(url)


async def test_threat_19_no_hostile_target_is_followed_even_if_it_was_signed(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        for url in HOSTILE:
            status, headers, _ = await get(up, f"/c/{handmade(said(d=url))}")
            assert (status, headers.get("Location")) == (404, None), url
        assert stored(up) == []


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://shop.example", "https://shop.example/"),
        ("HTTPS://Shop.Example:443/A", "https://shop.example/A"),
        ("https://shop.example:8443?a=1", "https://shop.example:8443/?a=1"),
        ("https://shop.example/a?b=2&a=1&b=%20#x?y", "https://shop.example/a?b=2&a=1&b=%20#x?y"),
        ("https://xn--shp-sna.example/ü?q=ö#ß", "https://xn--shp-sna.example/%C3%BC?q=%C3%B6#%C3%9F"),
        ('https://shop.example/"<>`{|}^', "https://shop.example/%22%3C%3E%60%7B%7C%7D%5E"),
        ("https://shop.example/%0d%0aSet-Cookie:a", "https://shop.example/%0d%0aSet-Cookie:a"),
        ("https://shop.example#@evil.example/", "https://shop.example/#@evil.example/"),
        ("https://shop.example?@evil.example/", "https://shop.example/?@evil.example/"),
        ("https://shop.example//evil.example/", "https://shop.example//evil.example/"),
    ],
)
def test_a_target_is_written_anew_and_stays_as_it_is_then(url: str, written: str) -> None:
    assert links.target(url) == written
    assert links.target(written) == written


@given(st.text(min_size=1, max_size=60))
def test_what_is_written_anew_is_plain_ascii_of_the_host_that_was_checked(rest: str) -> None:
    try:
        found = links.target(f"https://shop.example{rest}")
    except BadLink:
        return
    assert found.isascii()
    assert found.isprintable()
    assert " " not in found
    assert urlsplit(found).hostname == links.target(found).split("/")[2].partition(":")[0]


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://shop.example/", True),
        ("https://www.shop.example/", True),
        ("https://SHOP.example/", True),
        ("https://evilshop.example/", False),
        ("https://shop.example.evil.test/", False),
        ("https://evil.test/shop.example", False),
        ("https://example/", False),
    ],
)
def test_a_list_of_hosts_narrows_to_them_and_their_subdomains(url: str, good: bool) -> None:
    if good:
        links.target(url, ["shop.example"])
    else:
        with pytest.raises(BadLink):
            links.target(url, ["shop.example"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://s.example/", "https://s.example/?_tw_c=C"),
        ("https://s.example/?b=2&a=1", "https://s.example/?b=2&a=1&_tw_c=C"),
        ("https://s.example/?b=2#top?x", "https://s.example/?b=2&_tw_c=C#top?x"),
        ("https://s.example/?", "https://s.example/?_tw_c=C"),
        ("https://s.example/#/route?x=1", "https://s.example/?_tw_c=C#/route?x=1"),
    ],
)
def test_the_click_id_is_the_last_parameter_before_the_fragment(url: str, expected: str) -> None:
    assert links.with_click_id(url, "C") == expected


# ---------------------------------------------------------------- over a gateway


@asynccontextmanager
async def gateway(folder: Path, destinations: Mapping[str, str] | None = None) -> AsyncIterator[tuple[Running, FrozenClock]]:
    clock = FrozenClock(NOW)
    files = {"every": EVERY, "meta": META} if destinations is None else destinations
    more = "trusted_proxies: ['127.0.0.0/8']\ngeo:\n  country_header: CF-IPCountry\n"
    async with running(folder, files, sources=SOURCES, gateway=more, clock=clock) as up:
        yield up, clock


async def get(
    up: Running, path: str, headers: Mapping[str, str] = PERSON, method: str = "GET", ip: str = "203.0.113.7"
) -> tuple[int, Mapping[str, str], bytes]:
    sent = {"X-Forwarded-For": ip, "CF-IPCountry": "DE", **headers}
    async with up.client.request(method, up.url + path, headers=sent, allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.read()


def stored(up: Running) -> list[dict[str, Any]]:
    """Every event of the log, as committed."""
    connection = sqlite3.connect(f"file:{up.folder / 'data' / 'tagway.db'}?mode=ro", uri=True)
    try:
        return [orjson.loads(body) for (body,) in connection.execute("select body from log order by id")]
    finally:
        connection.close()


async def test_an_open_is_an_event_and_the_image(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        status, headers, body = await get(
            up, f"/o/{token(campaign='spring')}.gif", {**PERSON, "Cookie": "_fbp=fb.1.1795514400000.1"}
        )
        assert (status, headers["Content-Type"], body) == (200, "image/gif", PIXEL)
        assert "Set-Cookie" not in headers
        assert "ETag" not in headers
        assert headers["Cache-Control"].startswith("no-store")
        [event] = stored(up)
        assert (event["name"], event["dialect"], event["source"]) == ("email_open", "email", "shop")
        assert event["id"] == links.open_id(link(), machine=False)
        assert event["user"] == {"id": "U-7"}
        assert event["campaign"] == {"name": "spring"}
        assert event["props"] == {
            "message_id": "m-1", "sent": "2026-11-24T09:00:30.000Z", "open_kind": "human", "open_machine": False,
        }  # fmt: skip
        assert event["device"]["type"] == "mobile"
        assert event["geo"]["country"] == "DE"
        assert "ids" not in event
        assert "bot" not in event


OPENS: dict[str, tuple[dict[str, str], str, bool]] = {
    "Gmail's proxy": (GMAIL, "gmail_proxy", False),
    "Yahoo's proxy": (YAHOO, "yahoo_proxy", False),
    "Apple's privacy protection": (APPLE, "apple_mpp", True),
    "a prefetch": ({**PERSON, "Sec-Purpose": "prefetch;prerender"}, "prefetch", True),
    "an old prefetch": ({**PERSON, "X-Moz": "prefetch"}, "prefetch", True),
    "Facebook's prefetch": ({**PERSON, "X-Purpose": "instant"}, "prefetch", True),
    "a prefetch before Apple": ({**APPLE, "Purpose": "prefetch"}, "prefetch", True),
    "Outlook": ({"User-Agent": "Microsoft Outlook 16.0.5056 (Microsoft Outlook 16.0; Pro)"}, "human", False),
    "old Outlook": ({"User-Agent": "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"}, "human", False),
    "Thunderbird": ({"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128"}, "human", False),
    "Apple Mail without protection": (
        {"User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"}, "human",
        False,
    ),
    "curl": ({"User-Agent": "curl/8.5.0"}, "scanner", True),
    "nobody": ({"User-Agent": ""}, "scanner", True),
    "Barracuda": ({"User-Agent": "BarracudaCentral/1.0"}, "scanner", True),
    "Proofpoint in a browser's clothes": ({"User-Agent": "Mozilla/5.0 Chrome/120.0 Proofpoint"}, "scanner", True),
    "a headless browser": ({"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/120.0"}, "scanner", True),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "kind", "machine"), OPENS.values(), ids=OPENS.keys())
async def test_an_open_is_told_by_who_fetched_the_image(
    tmp_path: Path, headers: dict[str, str], kind: str, machine: bool
) -> None:
    async with gateway(tmp_path) as (up, _):
        assert (await get(up, f"/o/{token()}.gif", headers))[2] == PIXEL
        [event] = stored(up)
        assert (event["props"]["open_kind"], event["props"]["open_machine"]) == (kind, machine)
        assert event.get("bot", {}).get("score", 0) == (100 if machine else 0)
        assert event["id"] == links.open_id(link(), machine=machine)
        if kind != "human":
            assert "device" not in event
            assert "geo" not in event
        await up.idle()
        assert await up.outcomes("every") == ({"skipped{bot}": 1} if machine else {"skipped{mode}": 1})
        assert sum((await up.outcomes("meta")).values()) == 1
        assert set(await up.outcomes("meta")) <= {"skipped{unmapped}", "skipped{bot}"}


@pytest.mark.parametrize(("after", "kind"), [(0, "machine"), (2, "machine"), (3, "gmail_proxy"), (-60, "gmail_proxy")])
def test_gmail_fetches_by_itself_just_after_sending(after: int, kind: str) -> None:
    hit = Hit("GET", "/o/{token}.gif", "", {"user-agent": GMAIL["User-Agent"]}, b"", "shop", NOW)
    assert open_kind(hit, NOW - after) == kind


def test_a_trusted_proxys_word_makes_a_scanner_but_not_of_a_known_proxy() -> None:
    hit = Hit("GET", "/o/{token}.gif", "", {"user-agent": PERSON["User-Agent"]}, b"", "shop", NOW, bot_score=99)
    assert open_kind(hit, 0) == "scanner"
    assert open_kind(hit._replace(headers={"user-agent": GMAIL["User-Agent"]}), 0) == "gmail_proxy"


async def test_only_the_first_open_counts_and_a_repeat_is_the_same(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, clock):
        for headers in (GMAIL, GMAIL, YAHOO, PERSON):
            clock.advance(60)
            await get(up, f"/o/{token()}.gif", headers)
        assert len(stored(up)) == 1
        assert await duplicates(up) == {"same": 3, "conflict": 0}


async def duplicates(up: Running) -> dict[str, int]:
    sources = (await up.app.store.audit()).sources
    return {"same": sum(one.same for one in sources), "conflict": sum(one.conflict for one in sources)}


async def test_a_machines_visit_does_not_hide_the_readers(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, clock):
        for headers in (APPLE, {"User-Agent": "curl/8"}, GMAIL):
            clock.advance(60)
            await get(up, f"/o/{token()}.gif", headers)
        assert [event["props"]["open_kind"] for event in stored(up)] == ["apple_mpp", "gmail_proxy"]


async def test_head_of_an_open_is_no_event(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        status, headers, body = await get(up, f"/o/{token()}.gif", method="HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(len(PIXEL)), b"")
        assert stored(up) == []


@pytest.mark.parametrize("path", ["/o/nonsense.gif", "/o/{}.gif", "/o/{}x.gif"])
async def test_a_bad_token_gets_the_image_and_is_counted(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path) as (up, _):
        assert (await get(up, path.format(token(key=FOREIGN))))[2] == PIXEL
        assert stored(up) == []
        assert 'tagway_refused_total{reason="signature",route="/o/{token}.gif"} 1.0' in await up.metrics()


async def test_an_open_needs_consent_like_every_event(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        for number, consent in enumerate(("", "uuug", "uuud")):
            made = token(key=FOREIGN, source="strict", message=f"m-{number}", consent=consent)
            await get(up, f"/o/{made}.gif")
        await up.idle()
        assert await up.outcomes("every") == {"skipped{consent}": 2, "skipped{mode}": 1}
        [granted] = [event for event in stored(up) if event["consent"]["analytics_storage"] == "granted"]
        assert granted["props"]["message_id"] == "m-1"
        assert all("user" not in event for event in stored(up) if event["id"] != granted["id"])


async def test_a_withdrawal_closes_later_opens_of_the_same_reader(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, clock):
        body = {"user": {"id": "U-7"}, "consent": {"analytics_storage": "denied"}}
        async with up.client.post(f"{up.url}/v1/consent?k=wk_shop", json=body) as answer:
            assert answer.status == 200
        clock.advance(1)
        await get(up, f"/o/{token(consent='uuug')}.gif")
        await up.idle()
        assert (await up.outcomes("every"))["skipped{consent}"] + (await up.outcomes("every"))["withdrawn"] == 1


# ---------------------------------------------------------------- clicks


async def test_a_click_is_an_event_and_a_redirect(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        made = token("click", campaign="letter")
        status, headers, body = await get(up, f"/c/{made}")
        assert (status, body) == (302, b"")
        plain, _, click = headers["Location"].partition("&_tw_c=")
        assert plain == "https://shop.example/sale?utm_campaign=spring&a=1"
        assert click.endswith("#top")
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Robots-Tag"] == "noindex"
        [event] = stored(up)
        assert (event["name"], event["dialect"], event["page"]["url"]) == ("email_click", "click", TO)
        assert event["ids"]["tw_c"] == click.removesuffix("#top")
        assert event["campaign"]["name"] == "letter"
        assert event["props"]["click_machine"] is False
        assert event["device"]["ip"] == "203.0.113.7"


async def test_the_page_that_a_click_leads_to_has_its_id(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        _, headers, _ = await get(up, f"/c/{token('click')}")
        await up.send({"name": "page_view", "id": "p-1", "page": {"url": headers["Location"]}})
        click, page = stored(up)
        assert click["ids"]["tw_c"] == page["ids"]["tw_c"]


async def test_every_click_counts(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, clock):
        for _ in range(2):
            clock.advance(10)
            await get(up, f"/c/{token('click')}")
        assert len({event["id"] for event in stored(up)}) == 2


@pytest.mark.parametrize(
    ("method", "headers"),
    [("HEAD", PERSON), ("GET", {**PERSON, "Sec-Purpose": "prefetch"}), ("GET", {**PERSON, "X-Moz": "prefetch"})],
)
async def test_what_is_no_click_is_led_on_to_the_same_place(tmp_path: Path, method: str, headers: dict[str, str]) -> None:
    async with gateway(tmp_path) as (up, _):
        made = f"/c/{token('click')}"
        status, got, _ = await get(up, made, headers, method)
        assert status == 302
        assert stored(up) == []
        assert got["Location"] == (await get(up, made))[1]["Location"]


@pytest.mark.parametrize("error", [QueueFull("full"), RuntimeError("a bug")])
async def test_a_reader_is_led_on_whatever_becomes_of_the_click(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async with gateway(tmp_path) as (up, _):

        async def append(_events: object) -> None:
            raise error

        monkeypatch.setattr(up.app.store, "append", append)
        status, headers, _ = await get(up, f"/c/{token('click')}")
        assert (status, headers["Location"].startswith("https://shop.example/sale")) == (302, True)
        assert (await get(up, f"/o/{token()}.gif"))[2] == PIXEL
        monkeypatch.undo()
        assert stored(up) == []
        assert 'tagway_refused_total{reason="full",route="/c/{token}"} 1.0' in await up.metrics()


async def test_a_rate_stops_the_event_and_not_the_reader(tmp_path: Path) -> None:
    sources = SOURCES.replace("    links:\n", "    limits:\n      rps: 1\n      burst: 1\n    links:\n", 1)
    async with running(tmp_path, {}, sources=sources, clock=FrozenClock(NOW)) as up:
        assert [(await get(up, f"/c/{token('click')}"))[0] for _ in range(3)] == [302, 302, 302]
        assert len(stored(up)) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/c/nonsense",
        f"/c/{token('click', key=FOREIGN)}",
        f"/c/{token('click')}x",
        f"/c/{token('open')}",
        f"/c/{token('click', expires=int(NOW) - 1)}",
        f"/c/{token('click', source='strict')}",
        f"/c/{token('click', source='nobody')}",
        f"/c/{token('click', key=FOREIGN, source='strict')}",
    ],
)
async def test_threat_19_without_a_token_of_its_source_nobody_is_redirected(tmp_path: Path, path: str, method: str) -> None:
    async with gateway(tmp_path) as (up, _):
        status, headers, body = await get(up, path, method=method)
        assert status == 404
        assert "Location" not in headers
        assert headers["Content-Type"].startswith("text/html")
        assert b"https://" not in body
        assert stored(up) == []


async def test_threat_19_nothing_beside_the_token_says_where_it_leads(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        plain = (await get(up, f"/c/{token('click')}"))[1]["Location"]
        for query in ("?to=https://evil.example", "?d=https://evil.example", "?url=//evil.example&_tw_c=x", "?#@evil.example"):
            headers = {**PERSON, "Host": "evil.example", "X-Forwarded-Host": "evil.example", "Referer": "https://evil.example/"}
            assert (await get(up, f"/c/{token('click')}{query}", headers))[1]["Location"] == plain


async def test_a_host_on_the_list_is_followed_and_its_subdomains(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        for to in ("https://strict.example/", "https://www.strict.example/a"):
            made = token("click", key=FOREIGN, source="strict", to=to)
            assert (await get(up, f"/c/{made}"))[1]["Location"].startswith(to)


async def test_scanners_are_led_on_and_marked(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        assert (await get(up, f"/c/{token('click')}", {"User-Agent": "Mimecast-Scanner/1"}))[0] == 302
        await get(up, f"/c/{token('click')}", {"User-Agent": "python-requests/2.32"})
        assert [(event["props"]["click_machine"], event["bot"]["score"]) for event in stored(up)] == [(True, 100)] * 2


async def test_who_follows_two_links_of_a_copy_at_once_is_a_scanner(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, clock):
        other = "https://shop.example/other"
        await get(up, f"/o/{token()}.gif")
        clock.advance(1)
        await get(up, f"/c/{token('click')}", ip="203.0.113.99")
        clock.advance(1)
        await get(up, f"/c/{token('click', to=other)}", ip="203.0.113.99")
        clock.advance(1)
        await get(up, f"/c/{token('click', to=other)}", ip="198.51.100.4")
        clock.advance(60)
        await get(up, f"/c/{token('click')}", ip="203.0.113.99")
        assert [event["props"].get("click_machine") for event in stored(up)] == [None, True, True, False, False]


def test_two_readers_behind_one_address_are_no_scanner() -> None:
    kept = MailLinks({})
    assert not kept.hasty(link(), "203.0.113.7", NOW)
    assert not kept.hasty(link("click", recipient="U-8"), "203.0.113.7", NOW)
    assert kept.hasty(link("click"), "203.0.113.8", NOW + 3)
    assert not kept.hasty(link("click"), "203.0.113.8", NOW + 4), "the same link twice is impatience"
    assert not kept.hasty(link(), None, NOW + 4)


# ---------------------------------------------------------------- making links


CONFIG = SOURCES.split("  strict:")[0]


async def test_the_admin_api_makes_links_that_work(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (up, _):
        wanted = {"source": "shop", "message": "m-9", "recipient": "U-7"}
        several = [{"kind": "open", **wanted}, {"kind": "click", "to": "https://shop.example/x", **wanted}]
        made = (await up.admin("POST", "/links", {"links": several}))["links"]
        assert made[0]["url"] == f"https://t.shop.example/o/{made[0]['token']}.gif"
        for one in made:
            await get(up, urlsplit(one["url"]).path)
        assert [event["name"] for event in stored(up)] == ["email_open", "email_click"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"kind": "look", "message": "m"}, "open or click"),
        ({"kind": "open", "message": "m"}, "recipient"),
        ({"kind": "open", "message": "m", "recipient": "a@b.example"}, "ids only"),
        ({"kind": "open", "message": "m", "recipient": "1", "email": "a@b.example"}, "recipient"),
        ({"kind": "open", "message": "m", "recipient": "1", "recipent": "1"}, "did you mean recipient"),
        ({"kind": "click", "message": "m", "recipient": "1", "to": "http://shop.example"}, "https"),
        ({"kind": "open", "message": "m", "recipient": "1", "source": "nobody"}, "links.keys"),
        ({"kind": "open", "message": "m", "recipient": "1", "consent": {"ads": "granted"}}, "consent"),
        ({"kind": "open", "message": "m", "recipient": "1", "sent": "soon"}, "sent"),
        ({"links": [{"kind": "open"}]}, "links\\[0\\]"),
        ({"links": "all"}, "list"),
    ],
)
async def test_the_admin_api_says_what_is_wrong(tmp_path: Path, wanted: dict[str, Any], words: str) -> None:
    async with gateway(tmp_path, {}) as (up, _):
        wanted = wanted if "links" in wanted or "source" in wanted else {"source": "shop", **wanted}
        url = f"http://{up.app.addresses['admin']}/links"
        async with up.client.post(url, json=wanted) as answer:
            assert answer.status == 400
            told = (await answer.json())["error"]
    assert re.search(words, told), told


def config(folder: Path, links_: str = "keys: ['${K}']", lab: str = "") -> Path:
    path = folder / "gateway.yaml"
    path.write_text(f"{lab}sources:\n  shop:\n    hosts: [t.shop.example]\n    links:\n      {links_}\n")
    return path


def test_the_command_makes_links(tmp_path: Path) -> None:
    path, env = config(tmp_path), {"K": KEY}
    words = ("-c", str(path), "--message", "m-1", "--recipient", "U-7")
    opened = tagway("link", "open", *words, env=env)
    assert opened.exit_code == 0, opened.stderr
    made = urlsplit(opened.stdout.strip())
    assert made.netloc == "t.shop.example"
    assert links.read("open", made.path.removeprefix("/o/").removesuffix(".gif"), keys(KEY), NOW)[0].recipient == "U-7"
    clicked = tagway("link", "click", *words, "--to", TO, "--consent", "analytics_storage=granted", "--json", env=env)
    found, _ = links.read("click", json.loads(clicked.stdout)["token"], keys(KEY), NOW)
    assert (found.to, found.consent) == (TO, "uuug")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("open", "--message", "m", "--recipient", "jane@shop.example"), "ids only"),
        (("click", "--message", "m", "--recipient", "1", "--to", "https://shop.example@evil.example"), "user name"),
        (("open", "--message", "m", "--recipient", "1", "--consent", "yes"), "purpose=choice"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    done = tagway("link", *words, "-c", str(config(tmp_path)), env={"K": KEY})
    assert done.exit_code == 1
    assert told in done.stderr


def test_the_command_needs_a_key(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("sources:\n  shop:\n    hosts: [t.shop.example]\n")
    done = tagway("link", "open", "--message", "m", "--recipient", "1", "-c", str(path))
    assert (done.exit_code, "links.keys" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("written", "env", "told"),
    [
        ("keys: [a-secret-that-stands-in-the-file]", {}, "is a secret written in the file; write ${SHOP_LINK_KEY}"),
        ("keys: ['${K}']", {"K": "short"}, "at least 16 characters"),
        ("keys: ['${K}']", {}, "K is not set"),
        ("hosts: [https://shop.example]", {}, "must be a DNS name"),
        ("hosts: ['*.shop.example']", {}, "must be a DNS name"),
        ("hosts: [127.0.0.1]", {}, "must be a DNS name"),
    ],
)
def test_a_configuration_that_cannot_be_is_said(tmp_path: Path, written: str, env: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(config(tmp_path, written), env)
    assert told in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_check_without_secrets_takes_a_key_that_is_not_there(tmp_path: Path) -> None:
    assert load(config(tmp_path), {}, secrets=False).sources["shop"].links.keys


def test_explain_reads_a_link_of_a_file(tmp_path: Path) -> None:
    loaded = load(config(tmp_path), {"K": KEY})
    hit = read_hit(f"GET /o/{token(key=FOREIGN)}.gif HTTP/1.1\r\nUser-Agent: Mozilla/5.0\r\n\r\n".encode(), loaded, None, NOW)
    [raw] = decode_open(hit)
    assert not isinstance(raw, Exception)
    assert raw.data["props"]["open_kind"] == "apple_mpp"


def test_the_program_of_the_page_makes_tokens_that_hold() -> None:
    [program] = [block.text for block in blocks(ROOT / "docs" / "email.md") if block.language == "python"]
    space: dict[str, Any] = {}
    exec(program, space)
    made = space["token"]("click", KEY, "shop", "m-1", "U-7", int(NOW), d="https://shop.example/", c="spring", g="uuug")
    found, _ = links.read("click", made, keys(KEY), NOW)
    assert (found.to, found.campaign, found.consent) == ("https://shop.example/", "spring", "uuug")


def test_the_page_lists_every_kind_of_open_and_every_field_of_a_link() -> None:
    page = (ROOT / "docs" / "email.md").read_text()
    assert {kind for _, kind, _ in OPENS.values()} | MACHINES <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert set(FIELDS) == set(re.findall(r"^\| `(\w+)` \|", page.split("| field |")[1].split("\n\n")[0], re.MULTILINE))
