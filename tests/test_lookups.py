"""What files say of an address: places out of a real MaxMind database, networks of data centres as they are published."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.clock import parse_instant
from gateway.config.load import load
from gateway.config.lookups import BotFiles, Geo
from gateway.config.models import Gateway
from gateway.config.watch import fingerprint
from gateway.config.yaml_file import MAX_BYTES
from gateway.enrich import enrich
from gateway.enrich.lookups import MAX_REMEMBERED, Lookups, Place, networks_in, place_of, read_lookups
from gateway.errors import ConfigErrors
from gateway.explain import stories_of_hit
from gateway.hit_file import read_hit
from gateway.plans import prepare
from gateway.receive.proxies import Networks, parse_address
from tests.gateway_kit import LAB, Running, running, write_files
from tests.lookup_kit import BERLIN, MONTREAL, city, write_database
from tests.receive_cases import hit

TIME = "2026-11-24T10:00:00.000Z"
NOW = parse_instant(TIME)
BROWSER = {"origin": "https://shop.example", "user-agent": "Mozilla/5.0 (X11)"}
HOOK = {"webhook": LAB["webhook"].format(base="http://127.0.0.1:9") + "mode: dry_run\n"}


def config(database: Path | None = None, *lists: Path) -> Gateway:
    geo = Geo(database=str(database) if database else None)
    return Gateway(file="gateway.yaml", sources={}, geo=geo, bots=BotFiles(datacentres=[str(one) for one in lists]))


@pytest.fixture
def known(tmp_path: Path) -> Lookups:
    return read_lookups(config(write_database(tmp_path / "city.mmdb")))


# ---------------------------------------------------------------- the database


@pytest.mark.parametrize(
    ("ip", "place"),
    [
        ("198.51.100.7", Place("DE", "BE", "Berlin")),
        ("203.0.113.9", Place("CA", "QC", "Montreal")),
        ("2001:db8:1::5", Place("FR", "IDF", "Paris")),
        ("192.0.2.1", None),
        ("10.0.0.1", None),
        ("2001:db8:2::1", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_an_address_is_looked_up(known: Lookups, ip: str, place: Place | None) -> None:
    assert known.place(ip) == place
    assert known.place(ip) == place, "remembered"


def test_an_address_of_ipv6_is_nowhere_in_a_database_of_ipv4(tmp_path: Path) -> None:
    file = write_database(tmp_path / "four.mmdb", {"198.51.100.0/24": BERLIN}, version=4)
    known = read_lookups(config(file))
    assert (known.place("198.51.100.7"), known.place("2001:db8::1")) == (Place("DE", "BE", "Berlin"), None)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (BERLIN, Place("DE", "BE", "Berlin")),
        ({"country": {"iso_code": "de"}}, Place("DE")),
        ({"country": {"iso_code": "GB"}, "subdivisions": [{"iso_code": "ENG"}, {"iso_code": "LND"}]}, Place("GB", "ENG")),
        ({"country": {"iso_code": "US"}, "subdivisions": [{"names": {"en": "Ohio"}}]}, Place("US")),
        ({"country": {"iso_code": "US"}, "city": {"names": {"de": "Neu"}}}, Place("US")),
        ({"country_code": "FR", "country": "France", "region": "Bretagne", "city": "Brest"}, Place("FR", None, "Brest")),
        ({"country": "JP", "region_code": "13"}, Place("JP", "13")),
        ({"registered_country": {"iso_code": "US"}}, None),
        ({"country": "France"}, None),
        ({"country": {"iso_code": "D1"}}, None),
        ({"country": {"iso_code": 7}}, None),
        ({"country": {}, "subdivisions": [], "city": 4}, None),
        ({"country": {"iso_code": "DE"}, "subdivisions": "BE", "city": []}, Place("DE")),
        ({"autonomous_system_number": 64500}, None),
        ("DE", None),
        (None, None),
    ],
)
def test_a_record_is_read_in_the_shapes_that_are_about(record: Any, place: Place | None) -> None:
    assert place_of(record) == place


def test_a_file_may_be_written_over_while_it_is_read(tmp_path: Path) -> None:
    file = write_database(tmp_path / "city.mmdb")
    known = read_lookups(config(file))
    file.write_bytes(b"")
    assert known.place("203.0.113.9") == Place("CA", "QC", "Montreal")


@pytest.mark.parametrize("content", [b"", b"no database", b"\xab\xcd\xefMaxMind.com", b"\xab\xcd\xefMaxMind.com\xe1\x41a\x41b"])
def test_what_is_no_database_is_a_configuration_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "city.mmdb").write_bytes(content)
    with pytest.raises(ConfigErrors, match=r"city\.mmdb: is not a MaxMind database"):
        read_lookups(config(tmp_path / "city.mmdb"))


def test_a_cut_database_is_a_configuration_error(tmp_path: Path) -> None:
    file = write_database(tmp_path / "city.mmdb")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ConfigErrors, match="is not a MaxMind database"):
        read_lookups(config(file))


def test_a_database_without_countries_is_a_configuration_error(tmp_path: Path) -> None:
    networks = {"198.51.100.0/24": {"autonomous_system_number": 64500}}
    file = write_database(tmp_path / "asn.mmdb", networks, kind="GeoLite2-ASN")
    with pytest.raises(ConfigErrors, match=r"asn\.mmdb: names no countries"):
        read_lookups(config(file))


def test_damage_that_shows_later_says_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Damaged:
        def get(self, ip_address: str) -> Any:
            raise RuntimeError("invalid database")

        def __iter__(self) -> Any:
            return iter(())

    known = Lookups(Damaged())
    assert [known.place("198.51.100.7"), known.place("198.51.100.8")] == [None, None]
    assert [record.message for record in caplog.records] == ["the geo database is damaged"]


def test_without_the_extra_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(ConfigErrors, match=r"geo\.database needs the extra geo: pip install 'tagway\[geo\]'"):
        read_lookups(config(write_database(tmp_path / "city.mmdb")))


def test_without_the_librarys_c_part_its_python_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxminddb._extension", None)
    known = read_lookups(config(write_database(tmp_path / "city.mmdb")))
    assert known.place("203.0.113.9") == Place("CA", "QC", "Montreal")
    monkeypatch.setattr("gateway.enrich.lookups._DESCRIPTORS", "/nowhere")
    known = read_lookups(config(tmp_path / "city.mmdb"))
    assert known.place("2001:db8:1::5") == Place("FR", "IDF", "Paris")


def test_what_is_remembered_stays_bounded(known: Lookups) -> None:
    for number in range(MAX_REMEMBERED + 10):
        known.place(f"192.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(known._places) <= MAX_REMEMBERED


# ---------------------------------------------------------------- in events

IN_BERLIN, IN_MONTREAL = (
    {"country": "DE", "region": "BE", "city": "Berlin"},
    {"country": "CA", "region": "QC", "city": "Montreal"},
)
B, M = "198.51.100.7", "203.0.113.9"


@pytest.mark.parametrize(
    ("data", "request_", "geo"),
    [
        # the header first, and of its country the rest
        ({}, {"headers": BROWSER, "ip": B}, IN_BERLIN),
        ({}, {"headers": BROWSER, "ip": B, "country": "FR", "region": "IDF"}, {"country": "FR", "region": "IDF"}),
        ({}, {"headers": BROWSER, "ip": B, "country": "DE"}, IN_BERLIN),
        ({}, {"headers": BROWSER, "ip": B, "country": "DE", "region": "BY"}, {**IN_BERLIN, "region": "BY"}),
        ({}, {"headers": BROWSER, "ip": B, "country": "DE", "city": "Potsdam"}, {**IN_BERLIN, "city": "Potsdam"}),
        ({}, {"headers": BROWSER, "ip": B, "country": "XX", "city": "Nowhere"}, IN_BERLIN),
        # the request's own address before what a body says; a browser's body says nothing
        ({"geo": {"country": "US"}}, {"headers": BROWSER, "ip": B}, IN_BERLIN),
        ({"geo": {"country": "US", "city": "Ohio"}}, {"ip": B}, IN_BERLIN),
        ({"geo": {"country": "DE", "city": "Bonn"}}, {"ip": B}, {**IN_BERLIN, "city": "Bonn"}),
        # an address that the body may name: only what is open is filled
        ({"device": {"ip": M}}, {"ip": B}, IN_MONTREAL),
        ({"device": {"ip": M}}, {"ip": B, "server": True}, IN_MONTREAL),
        ({"device": {"ip": M}, "geo": {"country": "US"}}, {"ip": B, "server": True}, {"country": "US"}),
        ({"device": {"ip": M}, "geo": {"country": "ca"}}, {"ip": B, "server": True}, IN_MONTREAL),
        ({"device": {"ip": M}}, {"headers": BROWSER, "ip": B}, IN_BERLIN),
        # nobody's address is looked up
        ({}, {"ip": B, "server": True}, None),
        ({}, {"headers": BROWSER, "ip": None}, None),
        ({}, {"headers": BROWSER, "ip": "192.0.2.1"}, None),
        ({"dialect": "snowplow"}, {"headers": {**BROWSER, "sp-anonymous": "*"}, "ip": B}, None),
        ({"dialect": "email", "props": {"open_kind": "gmail_proxy"}}, {"headers": BROWSER, "ip": B}, None),
        ({"dialect": "email", "props": {"open_kind": "human"}}, {"headers": BROWSER, "ip": B}, IN_BERLIN),
    ],
)  # fmt: skip
def test_a_place_goes_with_the_address_that_may_be_used(
    known: Lookups, data: dict[str, Any], request_: dict[str, Any], geo: dict[str, str] | None
) -> None:
    event = enrich({"time": TIME, **data}, hit("json", request_), known)
    assert event.get("geo") == geo


GATEWAY = "trusted_proxies: [private]\ngeo:\n  database: city.mmdb\n"
BY_LAW = "  shop:\n    write_keys: [wk_shop]\n    consent:\n      unknown: jurisdiction\n"


async def stored(up: Running, ip: str, **headers: str) -> dict[str, Any]:
    """What is stored of a page view from an address."""
    await up.send({"name": "page_view"}, headers={"X-Forwarded-For": ip, "Sec-Fetch-Site": "cross-site", **headers})
    return up.newest()


async def test_the_database_decides_whose_law_holds(tmp_path: Path) -> None:
    write_database(tmp_path / "city.mmdb", {"198.51.100.0/24": BERLIN, "203.0.113.0/24": MONTREAL, "100.0.0.0/24": city("JP")})
    async with running(tmp_path, HOOK, sources=BY_LAW, gateway=GATEWAY) as up:
        laws = {ip: (await stored(up, ip))["consent"]["jurisdiction"] for ip in (B, M, "100.0.0.1", "192.0.2.1")}
    assert laws == {B: "opt_in", M: "opt_in", "100.0.0.1": "none", "192.0.2.1": "unknown"}


async def test_a_database_put_in_its_place_is_read_with_the_next_reload(tmp_path: Path) -> None:
    write_database(tmp_path / "city.mmdb", {"198.51.100.0/24": city("JP")})
    async with running(tmp_path, HOOK, sources=BY_LAW, gateway=GATEWAY) as up:
        assert (await stored(up, B))["geo"] == {"country": "JP"}
        watched = fingerprint(up.app.config.files)
        write_database(tmp_path / "new", {"198.51.100.0/24": city("US")}).replace(tmp_path / "city.mmdb")
        assert fingerprint(up.app.config.files) != watched
        await up.app.reload()
        assert (await stored(up, B))["geo"] == {"country": "US"}
        (tmp_path / "city.mmdb").write_bytes(b"half a file")
        with pytest.raises(ConfigErrors, match="is not a MaxMind database"):
            await up.app.reload()
        assert (await stored(up, B))["geo"] == {"country": "US"}, "the old one stays"
        (tmp_path / "city.mmdb").unlink()
        with pytest.raises(ConfigErrors, match=r"gateway\.yaml:\d+: geo\.database: there is no file .*city\.mmdb"):
            await up.app.reload()


@pytest.mark.slow
async def test_receivers_read_the_files_too(tmp_path: Path) -> None:
    write_database(tmp_path / "city.mmdb", {"198.51.100.0/24": city("JP")})
    async with running(tmp_path, HOOK, sources=BY_LAW, gateway=GATEWAY + "workers: 1\n") as up:
        assert (await stored(up, B))["geo"] == {"country": "JP"}
        write_database(tmp_path / "city.mmdb", {"198.51.100.0/24": city("US")})
        await up.app.reload()
        for _ in range(100):
            found = (await stored(up, B))["geo"]
            if found == {"country": "US"}:
                break
            await asyncio.sleep(0.05)
        assert found == {"country": "US"}


def test_a_long_file_is_watched_by_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "city.mmdb"
    file.write_bytes(b"x" * (MAX_BYTES + 1))
    first = fingerprint([str(file)])
    assert fingerprint([str(file)]) == first
    (tmp_path / "new").write_bytes(b"y" * (MAX_BYTES + 1))
    (tmp_path / "new").replace(file)
    assert fingerprint([str(file)]) != first


# ---------------------------------------------------------------- data centres

HOSTED = "192.0.2.0/24\n# a comment\n\n2001:db8:9::/48  # a hoster\n203.0.113.77\n198.51.100.64/26,DE,Berlin\n"
PUBLISHED = {
    "AWS": {
        "prefixes": [{"ip_prefix": "192.0.2.0/24", "service": "EC2"}],
        "ipv6_prefixes": [{"ipv6_prefix": "2001:db8:9::/48"}],
    },
    "Google": {"prefixes": [{"ipv4Prefix": "192.0.2.0/24", "scope": "eu/west"}, {"ipv6Prefix": "2001:db8:9::/48"}]},
    "Azure": {"values": [{"properties": {"addressPrefixes": ["192.0.2.0/24", "2001:db8:9::/48"]}}]},
    "Oracle": {"regions": [{"cidrs": [{"cidr": "192.0.2.0/24", "tags": ["OCI"]}, {"cidr": "2001:db8:9::/48"}]}]},
}


def test_a_list_is_a_network_a_line(tmp_path: Path) -> None:
    (tmp_path / "hosted.txt").write_text("\ufeff" + HOSTED)
    known = read_lookups(config(None, tmp_path / "hosted.txt"))
    inside = ("192.0.2.255", "2001:db8:9::1", "203.0.113.77", "198.51.100.100")
    outside = ("192.0.3.0", "2001:db8:8::1", "203.0.113.78", "198.51.100.7", "nonsense", "")
    assert [known.is_datacentre(ip) for ip in (*inside, *inside, *outside)] == [True] * 8 + [False] * 6


@pytest.mark.parametrize("publisher", PUBLISHED)
def test_a_list_is_what_providers_publish(publisher: str) -> None:
    networks = Networks(networks_in(orjson.dumps(PUBLISHED[publisher]), "ranges.json"))
    assert [parse_address(ip) in networks for ip in ("192.0.2.9", "2001:db8:9::9", "192.0.3.9")] == [True, True, False]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("192.0.2.0/24\nexample.org\n", "ranges:2: is not a network such as"),
        ("192.0.2.0/33\n", "ranges:1: is not a network such as"),
        ("0.0.0.0/0\n", "ranges:1: holds every address there is"),
        ("::/0\n", "ranges:1: holds every address there is"),
        ("# nothing\n", "ranges: lists no networks"),
        ("", "ranges: lists no networks"),
        ("{", "ranges: begins like JSON and is none"),
        ('{"prefixes": [{"ip_prefix": "a/b"}, {"text": "0.0.0.0/0"}]}', "ranges: lists no networks"),
    ],
)
def test_a_list_that_cannot_be_meant_is_a_configuration_error(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "ranges").write_text(content)
    with pytest.raises(ConfigErrors) as caught:
        read_lookups(config(None, tmp_path / "ranges"))
    assert words in str(caught.value)


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    (tmp_path / "city.mmdb").write_text("x")
    with pytest.raises(ConfigErrors) as caught:
        read_lookups(config(tmp_path / "city.mmdb", tmp_path / "a.txt", tmp_path / "gone.txt"))
    assert [problem.message.split(":")[0] for problem in caught.value.problems] == [
        "is not a MaxMind database (.mmdb), or is damaged",
        "is not a network such as 198.51.100.0/24",
        "cannot be read",
    ]


CHROME = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36"}


async def test_hits_of_browsers_from_a_data_centre_are_suspect(tmp_path: Path) -> None:
    (tmp_path / "hosted.txt").write_text(HOSTED)
    lists = "trusted_proxies: [private]\nbots:\n  datacentres:\n    - hosted.txt\n"
    sources = f"{BY_LAW}      jurisdiction: none\n    server_keys: [sk_shop]\n"
    person = {**CHROME, "Accept-Language": "de", "Sec-CH-UA": '"Chromium";v="142"'}
    async with running(tmp_path, HOOK, sources=sources, gateway=lists) as up:
        assert (await stored(up, "192.0.2.7", **person))["bot"] == {"score": 30, "reasons": ["datacentre"]}
        assert "bot" not in await stored(up, "192.0.3.7", **person)
        both = (await stored(up, "192.0.2.7", **CHROME))["bot"]
        assert both == {"score": 100, "reasons": ["no_accept_language", "datacentre"]}
        await up.send({"name": "page_view"}, key="sk_shop", headers={"X-Forwarded-For": "192.0.2.7"})
        assert "bot" not in up.newest(), "a server is where servers are"
        await up.send({"name": "page_view"}, headers={"X-Forwarded-For": "192.0.2.7", "User-Agent": "okhttp/4"})
        assert "bot" not in up.newest(), "so is one that has a public key only"
        await up.idle()
        assert await up.outcomes("webhook") == {"skipped{bot}": 1, "skipped{mode}": 4}


# ---------------------------------------------------------------- check


def checked(folder: Path, text: str, *options: str) -> tuple[int, str]:
    """The exit code of `tagway check` and what it says."""
    (folder / "gateway.yaml").write_text(f"lab: true\n{text}sources:\n  shop:\n    write_keys: [wk_shop]\n")
    done = CliRunner().invoke(main, ["check", "-c", str(folder / "gateway.yaml"), *options])
    return done.exit_code, done.output


def test_check_says_what_is_wrong_with_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "geo:\n  database: city.mmdb\nbots:\n  datacentres: [hosted.txt]\n"
    code, told = checked(tmp_path, text)
    assert code == 1
    assert f"{tmp_path}/gateway.yaml:3: geo.database: there is no file {tmp_path}/city.mmdb" in told
    assert f"{tmp_path}/gateway.yaml:5: bots.datacentres: there is no file {tmp_path}/hosted.txt" in told
    assert checked(tmp_path, text, "--without-secrets")[0] == 0, "in CI they need not be there"
    write_database(tmp_path / "city.mmdb")
    (tmp_path / "hosted.txt").write_text("oops\n")
    code, told = checked(tmp_path, text)
    assert (code, f"{tmp_path}/hosted.txt:1: is not a network" in told) == (1, True)
    (tmp_path / "hosted.txt").write_text(HOSTED)
    assert checked(tmp_path, text)[0] == 0
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    code, told = checked(tmp_path, text)
    assert (code, "pip install 'tagway[geo]'" in told) == (1, True)


def test_serve_does_not_start_without_them(tmp_path: Path) -> None:
    (tmp_path / "city.mmdb").write_text("no database")
    (tmp_path / "gateway.yaml").write_text(f"lab: true\n{GATEWAY}sources:\n  shop:\n    write_keys: [wk_shop]\n")
    done = CliRunner().invoke(main, ["serve", "-c", str(tmp_path / "gateway.yaml")])
    assert (done.exit_code, "is not a MaxMind database" in done.output) == (1, True)


# ---------------------------------------------------------------- explain


def test_explain_tells_what_the_database_and_the_lists_say(tmp_path: Path) -> None:
    write_database(tmp_path / "city.mmdb")
    (tmp_path / "hosted.txt").write_text("198.51.100.0/24\n")
    text = f"{GATEWAY}bots:\n  datacentres: [hosted.txt]\n"
    config_ = load(write_files(tmp_path, HOOK, sources=BY_LAW, gateway=text))
    lines = [
        "GET /p.gif?k=wk_shop&e=page_view HTTP/1.1",
        f"X-Forwarded-For: {B}",
        "Host: t.shop.example",
        "Accept-Language: de",
    ]
    raw = "\r\n".join([*lines, f"User-Agent: {CHROME['User-Agent']}", "", ""]).encode()
    [story] = stories_of_hit(config_, prepare(config_), read_hit(raw, config_, None, NOW), NOW)
    found = {stage.name: stage for stage in story.stages}
    assert {f"geo.{key}": value for key, value in IN_BERLIN.items()}.items() <= found["enrich"].changed.items()
    assert found["enrich"].origins["geo.city"] == "the geo database"
    assert found["bots"].notes == ("its address is in a data centre's network",)
    ahead = raw.replace(b"\r\n\r\n", b"\r\nSec-Purpose: prefetch\r\n\r\n")
    [story] = stories_of_hit(config_, prepare(config_), read_hit(ahead, config_, None, NOW), NOW)
    assert story.refused == "fetched ahead of a visit, so it is no event"
