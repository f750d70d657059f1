"""The client's address: whom the proxies vouch for, and never what a client wrote itself."""

import time
from pathlib import Path

import orjson
import pytest

from gateway.config.lookups import Geo
from gateway.errors import ConfigErrors
from gateway.receive.clean import add_line
from gateway.receive.client import Client, Proxies
from gateway.receive.proxies import CLOUDFLARE, PRIVATE, Networks, parse_address

Lines = list[tuple[str, str]]
TEN = ("10.0.0.0/8",)
CF = ("cloudflare",)
CF_PEER = "173.245.48.9"


def xff(*values: str) -> Lines:
    return [("X-Forwarded-For", value) for value in values]


def forwarded(*values: str) -> Lines:
    return [("Forwarded", value) for value in values]


def joined(lines: Lines) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in lines:
        add_line(headers, name.lower(), value)
    return headers


def client(trusted: tuple[str, ...], peer: str | None, lines: Lines, folder: Path = Path(), **geo: str) -> Client:
    return Proxies(trusted, Geo(**geo), folder).client(peer, joined(lines))


BAD = "bad"
"""No address, and counted."""
WITHHELD = "withheld"
"""No address, and nobody's mistake."""
CASES: list[tuple[str, tuple[str, ...], str, Lines, str | None]] = [
    # without trust nothing is believed
    ("no header, no trust", (), "203.0.113.9", [], "203.0.113.9"),
    ("an untrusted public peer is the client", (), "203.0.113.9", xff("1.1.1.1"), "203.0.113.9"),
    ("another network is trusted", TEN, "203.0.113.9", xff("1.1.1.1"), "203.0.113.9"),
    ("an untrusted IPv6 peer", (), "2001:db8::9", xff("1.1.1.1"), "2001:db8::9"),
    ("a v4-mapped peer", (), "::ffff:203.0.113.9", [], "203.0.113.9"),
    ("a peer with a zone", (), "2001:db8::9%eth0", [], "2001:db8::9"),
    ("Forwarded from an untrusted peer", (), "203.0.113.9", forwarded("for=1.1.1.1"), "203.0.113.9"),
    ("X-Real-IP is nobody's business", TEN, "10.0.0.2", [("X-Real-IP", "1.1.1.1")], "10.0.0.2"),
    # an untrusted private peer that forwards hides the visitor
    ("a private peer without headers is the client", (), "10.0.0.2", [], "10.0.0.2"),
    ("a private peer that forwards", (), "10.0.0.2", xff("1.1.1.1"), None),
    ("a loopback peer that forwards", (), "127.0.0.1", xff("1.1.1.1"), None),
    ("an IPv6 loopback peer that forwards", (), "::1", xff("1.1.1.1"), None),
    ("a unique local peer that forwards", (), "fd00::2", xff("1.1.1.1"), None),
    ("a private peer with Forwarded", (), "192.168.1.1", forwarded("for=1.1.1.1"), None),
    ("a private peer of another trusted network", TEN, "192.168.1.1", xff("1.1.1.1"), None),
    # from the right
    ("one hop", TEN, "10.0.0.2", xff("198.51.100.7"), "198.51.100.7"),
    ("no header behind a proxy", TEN, "10.0.0.2", [], "10.0.0.2"),
    ("a forged entry on the left", TEN, "10.0.0.2", xff("6.6.6.6, 198.51.100.7"), "198.51.100.7"),
    ("a trusted hop on the right", TEN, "10.0.0.2", xff("6.6.6.6, 198.51.100.7, 10.0.0.5"), "198.51.100.7"),
    ("two trusted hops", TEN, "10.0.0.2", xff("198.51.100.7, 10.0.0.9, 10.0.0.5"), "198.51.100.7"),
    ("three trusted hops", TEN, "10.0.0.2", xff("198.51.100.7,10.0.0.9,10.0.0.8,10.0.0.5"), "198.51.100.7"),
    ("four hops and a forgery", TEN, "10.0.0.2", xff("10.0.0.1, 198.51.100.7, 10.0.0.9, 10.0.0.5"), "198.51.100.7"),
    ("a forged trusted address does not extend the chain", TEN, "10.0.0.2", xff("10.0.0.7, 198.51.100.7"), "198.51.100.7"),
    ("all trusted: the leftmost", TEN, "10.0.0.2", xff("10.0.0.7, 10.0.0.8"), "10.0.0.7"),
    ("two lines", TEN, "10.0.0.2", xff("6.6.6.6", "198.51.100.7:4711"), "198.51.100.7"),
    ("two lines of two", TEN, "10.0.0.2", xff("6.6.6.6, 7.7.7.7", "198.51.100.7, 10.0.0.3"), "198.51.100.7"),
    ("three lines", TEN, "10.0.0.2", xff("6.6.6.6", "198.51.100.7", "10.0.0.3"), "198.51.100.7"),
    ("a thousand forged hops", TEN, "10.0.0.2", xff(", ".join(["6.6.6.6"] * 999 + ["198.51.100.7"])), "198.51.100.7"),
    ("a thousand trusted hops", TEN, "10.0.0.2", xff(", ".join(["198.51.100.7"] + ["10.0.0.3"] * 999)), "198.51.100.7"),
    ("blanks around", TEN, "10.0.0.2", xff("  198.51.100.7  "), "198.51.100.7"),
    # forms
    ("an IPv4 port", TEN, "10.0.0.2", xff("198.51.100.7:4711"), "198.51.100.7"),
    ("a bare IPv6", TEN, "10.0.0.2", xff("2001:db8::7"), "2001:db8::7"),
    ("IPv6 is written in its usual form", TEN, "10.0.0.2", xff("2001:0DB8:0:0::0007"), "2001:db8::7"),
    ("an IPv6 in brackets", TEN, "10.0.0.2", xff("[2001:db8::7]"), "2001:db8::7"),
    ("an IPv6 with port", TEN, "10.0.0.2", xff("[2001:db8::7]:4711"), "2001:db8::7"),
    ("an IPv6 with zone", TEN, "10.0.0.2", xff("fe80::7%eth0, 2001:db8::7%1"), "2001:db8::7"),
    ("a v4-mapped entry", TEN, "10.0.0.2", xff("::ffff:198.51.100.7"), "198.51.100.7"),
    ("a v4-mapped trusted hop", TEN, "::ffff:10.0.0.2", xff("198.51.100.7, ::ffff:10.0.0.5"), "198.51.100.7"),
    ("an IPv6 proxy", ("2001:db8:1::/48",), "2001:db8:1::2", xff("198.51.100.7"), "198.51.100.7"),
    ("a single trusted address", ("10.0.0.2/32",), "10.0.0.2", xff("198.51.100.7"), "198.51.100.7"),
    # what cannot be read
    ("unknown ends the walk", TEN, "10.0.0.2", xff("6.6.6.6, unknown"), WITHHELD),
    ("unknown before a trusted hop", TEN, "10.0.0.2", xff("6.6.6.6, Unknown, 10.0.0.5"), WITHHELD),
    ("an obfuscated name", TEN, "10.0.0.2", xff("6.6.6.6, _hidden, 10.0.0.5"), WITHHELD),
    ("garbage", TEN, "10.0.0.2", xff("6.6.6.6, not-an-address"), BAD),
    ("garbage before a trusted hop", TEN, "10.0.0.2", xff("x, 10.0.0.5"), BAD),
    ("garbage left of the client is never read", TEN, "10.0.0.2", xff("x, 198.51.100.7"), "198.51.100.7"),
    ("an empty header", TEN, "10.0.0.2", xff(""), BAD),
    ("an empty last entry", TEN, "10.0.0.2", xff("198.51.100.7,"), BAD),
    ("an octal quad", TEN, "10.0.0.2", xff("0198.051.100.07"), BAD),
    ("a short quad", TEN, "10.0.0.2", xff("127.1"), BAD),
    ("a number", TEN, "10.0.0.2", xff("3325256711"), BAD),
    ("a port out of range", TEN, "10.0.0.2", xff("198.51.100.7:99999"), BAD),
    ("an open bracket", TEN, "10.0.0.2", xff("[2001:db8::7"), BAD),
    ("text after the bracket", TEN, "10.0.0.2", xff("[2001:db8::7]x"), BAD),
    ("a host name", TEN, "10.0.0.2", xff("evil.example"), BAD),
    ("full-width digits", TEN, "10.0.0.2", xff("１.1.1.1"), BAD),
    ("a semicolon list", TEN, "10.0.0.2", xff("198.51.100.7; 10.0.0.1"), BAD),
    # RFC 7239
    ("Forwarded", TEN, "10.0.0.2", forwarded("for=198.51.100.7"), "198.51.100.7"),
    ("Forwarded, quoted IPv6", TEN, "10.0.0.2", forwarded('for="[2001:db8::1]:4711";proto=https, for=10.0.0.9'), "2001:db8::1"),
    ("Forwarded, two lines", TEN, "10.0.0.2", forwarded("for=6.6.6.6", "For=198.51.100.7;by=10.0.0.1"), "198.51.100.7"),
    ("Forwarded, comma in quotes", TEN, "10.0.0.2", forwarded('for=198.51.100.7;secret="a,b;c"'), "198.51.100.7"),
    ("Forwarded, unknown", TEN, "10.0.0.2", forwarded("for=6.6.6.6, for=unknown"), WITHHELD),
    ("Forwarded, obfuscated", TEN, "10.0.0.2", forwarded("for=_secret, for=10.0.0.9"), WITHHELD),
    ("Forwarded without for", TEN, "10.0.0.2", forwarded("proto=https"), BAD),
    ("Forwarded, broken quotes", TEN, "10.0.0.2", forwarded('for=6.6.6.6, for="198.51.100.7'), BAD),
    ("X-Forwarded-For before Forwarded", TEN, "10.0.0.2", [*forwarded("for=6.6.6.6"), *xff("198.51.100.7")], "198.51.100.7"),
    # names
    ("private", ("private",), "192.168.7.7", xff("6.6.6.6, 198.51.100.7, 172.16.0.1"), "198.51.100.7"),
    ("private covers loopback", ("private",), "127.0.0.1", xff("198.51.100.7"), "198.51.100.7"),
    ("private covers carrier-grade NAT", ("private",), "100.64.0.3", xff("198.51.100.7"), "198.51.100.7"),
    ("private does not cover public", ("private",), "172.32.0.1", xff("198.51.100.7"), "172.32.0.1"),
    ("cloudflare's own header", CF, CF_PEER, [("CF-Connecting-IP", "198.51.100.7"), *xff("6.6.6.6")], "198.51.100.7"),
    ("cloudflare's header from elsewhere", CF, "198.51.100.99", [("CF-Connecting-IP", "1.2.3.4")], "198.51.100.99"),
    ("cloudflare's header from a private peer", ("private",), "10.0.0.2", [("CF-Connecting-IP", "1.2.3.4")], "10.0.0.2"),
    (
        "two values of cloudflare's header fall through",
        CF,
        CF_PEER,
        [("CF-Connecting-IP", "1.2.3.4"), ("CF-Connecting-IP", "5.6.7.8"), *xff("198.51.100.7")],
        "198.51.100.7",
    ),
    ("a broken value falls through", CF, CF_PEER, [("CF-Connecting-IP", "x"), *xff("198.51.100.7")], "198.51.100.7"),
    ("cloudflare over IPv6", CF, "2606:4700::1", [("CF-Connecting-IP", "2001:db8::7")], "2001:db8::7"),
    ("nginx behind cloudflare", ("private", "cloudflare"), "10.0.0.2", xff(f"198.51.100.7, {CF_PEER}"), "198.51.100.7"),
]


@pytest.mark.parametrize(("trusted", "peer", "lines", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_client_is_whom_the_proxies_vouch_for(
    trusted: tuple[str, ...], peer: str, lines: Lines, expected: str | None
) -> None:
    found = client(trusted, peer, lines)
    assert found.ip == (None if expected in (BAD, WITHHELD) else expected)
    assert found.bad is (expected is BAD)
    assert found.suspect is (expected is None)


def test_there_are_more_than_sixty_cases() -> None:
    assert len(CASES) >= 60
    assert len({case[0] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("forged", ["6.6.6.6", "10.0.0.7", "unknown", "x", "2001:db8::6", ""])
def test_no_forged_prefix_changes_the_client(forged: str) -> None:
    for line in (f"{forged}, 198.51.100.7", f"{forged},{forged},198.51.100.7,10.0.0.3"):
        assert client(TEN, "10.0.0.2", xff(line)).ip == "198.51.100.7"


def test_an_unreadable_peer_gives_no_address() -> None:
    assert client(TEN, None, xff("198.51.100.7")).ip is None
    assert client(TEN, "unix", xff("198.51.100.7")).ip is None


def test_a_long_chain_is_read_in_a_moment() -> None:
    proxies = Proxies(TEN)
    headers = joined(xff(", ".join(f"10.{n >> 8}.{n & 255}.1" for n in range(1000))))
    started = time.perf_counter()
    proxies.client("10.0.0.2", headers)
    assert time.perf_counter() - started < 0.05


def test_what_is_remembered_stays_bounded() -> None:
    proxies = Proxies(TEN)
    for n in range(20_000):
        proxies.client(f"203.{n >> 16}.{n >> 8 & 255}.{n & 255}", {})
    assert len(proxies._known) <= 8192


HOSTS: list[tuple[str, tuple[str, ...], Lines, str, bool, bool]] = [
    ("not trusted", (), [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https")], "t.example", False, False),
    (
        "host and proto",
        TEN,
        [("X-Forwarded-Host", "shop.example"), ("X-Forwarded-Proto", "HTTPS")],
        "shop.example",
        True,
        False,
    ),
    ("no host", TEN, [("X-Forwarded-Proto", "http")], "t.example", False, False),
    ("with port", TEN, [("X-Forwarded-Host", "shop.example:8443")], "shop.example:8443", False, False),
    ("appended: the proxy's own", TEN, [("X-Forwarded-Host", "evil.example, shop.example")], "shop.example", False, False),
    (
        "beside the client's entry",
        TEN,
        [*xff("6.6.6.6, 198.51.100.7, 10.0.0.5"), ("X-Forwarded-Proto", "http, https, http")],
        "t.example",
        True,
        False,
    ),
    ("Forwarded", TEN, forwarded('for=198.51.100.7;host="shop.example";proto=https'), "shop.example", True, False),
    ("broken host", TEN, [*xff("198.51.100.7"), ("X-Forwarded-Host", "a b/c")], "t.example", False, True),
    ("broken host with userinfo", TEN, [*xff("198.51.100.7"), ("X-Forwarded-Host", "a@b")], "t.example", False, True),
]


@pytest.mark.parametrize(("trusted", "lines", "host", "secure", "bad"), [c[1:] for c in HOSTS], ids=[c[0] for c in HOSTS])
def test_host_and_scheme_follow_the_same_rule(
    trusted: tuple[str, ...], lines: Lines, host: str, secure: bool, bad: bool
) -> None:
    found = client(trusted, "10.0.0.2" if trusted else "203.0.113.9", [("Host", "t.example"), *lines])
    assert (found.host, found.secure, found.bad) == (host, secure, bad)


@pytest.mark.parametrize(
    ("value", "country"),
    [("de", "DE"), (" FR ", "FR"), ("UK", "GB"), ("EL", "GR"), ("XX", None), ("T1", None), ("ZZ", None), ("", None),
     ("DEU", None), ("D", None), ("Ｄ E", None), ("d1", None)],
)  # fmt: skip
def test_a_country_is_two_letters_or_unknown(value: str, country: str | None) -> None:
    found = client(TEN, "10.0.0.2", [("CF-IPCountry", value)], country_header="CF-IPCountry")
    assert found.country == country


def test_a_country_from_an_untrusted_peer_is_ignored() -> None:
    found = client(TEN, "203.0.113.9", [("CF-IPCountry", "DE")], country_header="CF-IPCountry")
    assert found.country is None


@pytest.mark.parametrize(
    ("value", "region"), [("BY", "BY"), ("de-by", "BY"), ("75", "75"), ("", None), ("Bavaria", None), ("é", None)]
)
def test_a_region_is_a_code_of_its_country(value: str, region: str | None) -> None:
    lines = [("CF-IPCountry", "DE"), ("CF-Region", value)]
    found = client(TEN, "10.0.0.2", lines, country_header="CF-IPCountry", region_header="CF-Region")
    assert found.region == region


@pytest.mark.parametrize(
    ("value", "city"),
    [
        ("Berlin", "Berlin"),
        ("K\u00f6ln", "K\u00f6ln"),
        ("K\udcc3\udcb6ln", "K\u00f6ln"),
        ("K%C3%B6ln", "K\u00f6ln"),
        ("K\udcf6ln", None),
        ("", None),
        ("x" * 101, None),
        ("%00", None),
    ],
)
def test_a_city_is_a_name_of_a_known_country(value: str, city: str | None) -> None:
    headers = {"country_header": "CF-IPCountry", "city_header": "CF-IPCity"}
    assert client(TEN, "10.0.0.2", [("CF-IPCountry", "DE"), ("CF-IPCity", value)], **headers).city == city
    assert client(TEN, "10.0.0.2", [("CF-IPCity", value)], **headers).city is None


@pytest.mark.parametrize(
    ("lines", "score"),
    [
        ([], 0),
        ([("X-Device-Bot-Score", "80")], 80),
        ([("X-Device-Bot-Score", "999")], 100),
        ([("X-Device-Bot-Score", "-1")], 0),
        ([("X-Device-Bot-Score", "８０")], 0),
        ([("Cf-Bot-Score", "1")], 100),
        ([("Cf-Bot-Score", "29")], 72),
        ([("Cf-Bot-Score", "30")], 0),
        ([("Cf-Bot-Score", "99")], 0),
        ([("Cf-Bot-Score", "0")], 0),
        ([("Cf-Bot-Score", "none")], 0),
        ([("Cf-Bot-Score", "99"), ("Cf-Verified-Bot", "true")], 100),
        ([("Cf-Bot-Score", "99"), ("Cf-Verified-Bot", "false")], 0),
        ([("Cf-Bot-Score", "20"), ("X-Device-Bot-Score", "95")], 95),
    ],
)
def test_a_bot_score_is_read_in_both_directions_and_from_trusted_proxies_only(lines: Lines, score: int) -> None:
    assert client(TEN, "10.0.0.2", lines).bot_score == score
    assert client(TEN, "203.0.113.9", lines).bot_score == 0


class TestCloudFront:
    """`cloudfront` reads the ranges that AWS publishes from a file beside the configuration."""

    PEER = "130.176.1.2"

    @pytest.mark.parametrize(
        "document",
        [
            {"CLOUDFRONT_GLOBAL_IP_LIST": ["130.176.0.0/17"], "CLOUDFRONT_REGIONAL_EDGE_IP_LIST": ["3.35.130.128/25"]},
            {
                "prefixes": [
                    {"ip_prefix": "130.176.0.0/17", "service": "CLOUDFRONT"},
                    {"ip_prefix": "0.0.0.0/0", "service": "EC2"},
                ]
            },
        ],
    )
    def test_its_own_header_counts_from_its_ranges(self, tmp_path: Path, document: object) -> None:
        (tmp_path / "cloudfront-ranges.json").write_bytes(orjson.dumps(document))
        for value, ip in [("198.51.100.7:4711", "198.51.100.7"), ("2001:db8::7:4711", "2001:db8::7")]:
            found = client(("cloudfront",), self.PEER, [("CloudFront-Viewer-Address", value)], tmp_path)
            assert found.ip == ip
        assert client(("cloudfront",), "203.0.113.9", xff("1.1.1.1"), tmp_path).ip == "203.0.113.9"

    @pytest.mark.parametrize("content", [None, b"<html>", b"[]", b"{}", b'{"CLOUDFRONT_GLOBAL_IP_LIST": ["x"]}'])
    def test_a_missing_or_wrong_file_is_a_configuration_error(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "cloudfront-ranges.json").write_bytes(content)
        with pytest.raises(ConfigErrors, match=r"curl -o cloudfront-ranges\.json"):
            Proxies(("cloudfront",), folder=tmp_path)


def test_networks_hold_exactly_their_addresses() -> None:
    networks = Networks(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/31", "2001:db8::/32"])
    inside = ["10.0.0.0", "10.255.255.255", "192.0.2.1", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"]
    outside = ["9.255.255.255", "11.0.0.0", "192.0.2.2", "2001:db7::", "2001:db9::"]
    assert all(parse_address(text) in networks for text in inside)
    assert not any(parse_address(text) in networks for text in outside)
    assert all(parse_address(n.partition("/")[0]) in Networks([*CLOUDFLARE, *PRIVATE]) for n in [*CLOUDFLARE, *PRIVATE])
