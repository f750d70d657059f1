"""Enrich: what is taken of URLs, cookies and the request, and what never overrides the event."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.enrich import enrich, urls, vendor_cookies
from gateway.receive.cookies import MAX_COOKIES, cookies
from tests.receive_cases import hit

_TIME = "2026-11-24T10:00:00.000Z"
_BROWSER = {"origin": "https://shop.example", "user-agent": "Mozilla/5.0 (X11)"}
_UUID = "12345678-1234-1234-1234-123456789abc"


def enriched(data: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
    return {key: value for key, value in enrich({"time": _TIME, **(data or {})}, hit("json", request)).items() if key != "time"}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("gclid=CjwKabc", {"gclid": "CjwKabc"}),
        ("GcLiD=CjwKabc", {"gclid": "CjwKabc"}),
        ("ScCid=a-b", {"sccid": "a-b"}),
        ("gclid=a&gclid=b", {"gclid": "a"}),
        ("gclid=&gclid=b", {"gclid": "b"}),
        ("gclid=<x>&gclid=b", {"gclid": "b"}),
        ("gclid", {}),
        ("xgclid=a", {}),
        ("fbclid=IwAR0+a/b%3D", {"fbclid": "IwAR0+a/b="}),
        ("fbclid=IwAR0%252B", {}),
        ("epik=dj0yJnU9%3D%3D", {"epik": "dj0yJnU9=="}),
        ("gclid=" + "a" * 512, {"gclid": "a" * 512}),
        ("gclid=" + "a" * 513, {}),
        ("gclid=a%00b", {}),
        ("gclid=%ff", {}),
        ("gclid=a;b", {}),
        ("mc_eid=person&_hsenc=x&_kx=y", {}),
        ("gbraid=1&wbraid=2&msclkid=3&ttclid=E.C.P.4", {"gbraid": "1", "wbraid": "2", "msclkid": "3", "ttclid": "E.C.P.4"}),
        ("gclsrc=aw.ds&ysclid=l1&cto_pld=a&vmcid=b&TDID=c",
         {"gclsrc": "aw.ds", "ysclid": "l1", "cto_pld": "a", "vmcid": "b", "tdid": "c"}),
        ("mc_cid=a1b2&mc_eid=person", {"mc_cid": "a1b2"}),
        ("ranSiteID=abc&irclickid=x", {"ran_site_id": "abc", "irclickid": "x"}),
        ("%67clid=a", {"gclid": "a"}),
        ("a=1&&=&?=&gclid=x", {"gclid": "x"}),
    ],
)  # fmt: skip
def test_click_ids(query: str, ids: dict[str, str]) -> None:
    assert urls.read(f"https://shop.example/p?{query}#gclid=fragment") == (ids, {})


@pytest.mark.parametrize(
    ("query", "campaign"),
    [
        ("utm_source=a&utm_medium=b&utm_campaign=c", {"source": "a", "medium": "b", "name": "c"}),
        ("utm_term=d&utm_content=e&utm_id=f", {"term": "d", "content": "e", "id": "f"}),
        ("utm_source_platform=a&utm_creative_format=b&utm_marketing_tactic=c",
         {"source_platform": "a", "creative_format": "b", "marketing_tactic": "c"}),
        ("mtm_source=a&mtm_medium=b&mtm_campaign=c&mtm_keyword=d&mtm_content=e&mtm_cid=f",
         {"source": "a", "medium": "b", "name": "c", "term": "d", "content": "e", "id": "f"}),
        ("pk_campaign=c&pk_kwd=d", {"name": "c", "term": "d"}),
        ("pk_campaign=b&utm_campaign=a", {"name": "a"}),
        ("UTM_SOURCE=News", {"source": "News"}),
        ("utm_source=a&utm_source=b", {"source": "a"}),
        ("utm_source=&utm_source=b", {"source": "b"}),
        ("utm_source=a+b%20c", {"source": "a b c"}),
        ("utm_source=%20a%20", {"source": "a"}),
        ("utm_source=a%00%0d%0ab", {"source": "ab"}),
        ("utm_source=" + "a" * 300, {"source": "a" * 255}),
        ("utm_source=%ff", {"source": "\ufffd"}),
        ("utm_sourcex=a", {}),
    ],
)  # fmt: skip
def test_campaign(query: str, campaign: dict[str, str]) -> None:
    assert urls.read(f"https://shop.example/?{query}") == ({}, campaign)


@pytest.mark.parametrize(
    "url", ["", "?", "https://", "https://[", "nonsense", "https://shop.example/#?gclid=a", "?" + "&" * 5000]
)
def test_no_url_breaks_reading(url: str) -> None:
    assert urls.read(url) == ({}, {})
    assert urls.same_site(url, url) is (urls.same_site("https://shop.example/", url))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://shop.example/a", "https://shop.example/b", True),
        ("https://www.shop.example/", "https://shop.example/", True),
        ("https://shop.example/", "https://blog.shop.example/", True),
        ("https://SHOP.example:8443/", "http://shop.example/", True),
        ("https://shop.example/", "https://myshop.example/", False),
        ("https://shop.example/", "https://shop.example.evil.example/", False),
        ("https://shop.example@evil.example/", "https://shop.example/", False),
    ],
)
def test_same_site(one: str, other: str, same: bool) -> None:
    assert urls.same_site(one, other) is same


@pytest.mark.parametrize(
    ("cookie", "ids"),
    [
        ("_fbp=fb.1.1697040000000.1234567890", {"fbp": "fb.1.1697040000000.1234567890"}),
        ("_fbp=fb.1.1778869247376.52390506499288804.AQYCAQMA", {"fbp": "fb.1.1778869247376.52390506499288804.AQYCAQMA"}),
        ("_fbp=fb.1.1697040000000.12a", {}),
        ("_fbp=fb.1.1697040000000", {}),
        ("_fbp=fb.1.1697040000000.1.AAA", {}),
        ("_fbc=fb.1.1697040000000.IwAR0abc_DEF-1", {"fbc": "fb.1.1697040000000.IwAR0abc_DEF-1"}),
        ("_fbc=fb.2.1697040000000.IwAR0abc.Ag", {"fbc": "fb.2.1697040000000.IwAR0abc.Ag"}),
        ("_fbc=fb.1.1697040000000", {}),
        ("_ga=GA1.1.1234567890.1700000000", {"ga_client_id": "1234567890.1700000000"}),
        ("_ga=GA1.2-2.111.222", {"ga_client_id": "111.222"}),
        ("_ga=GA1.3.amp-AbCdEfGh1234", {"ga_client_id": "amp-AbCdEfGh1234"}),
        ("_ga=deleted", {}),
        ("_ga=GA1.1.a.b", {}),
        ("_ga=garbage; _ga=GA1.1.1.2; _ga=GA1.1.3.4", {"ga_client_id": "1.2"}),
        ("FPID=FPID2.2.f7iGebd%3D.1729089365", {"ga_client_id": "f7iGebd=.1729089365"}),
        ("_ga=GA1.1.1.2; FPID=FPID2.2.abc.1729089365", {"ga_client_id": "abc.1729089365"}),
        ("_ttp=2abcDEF_1234-x", {"ttp": "2abcDEF_1234-x"}),
        ("_ttp=<script>alert(1)</script>", {}),
        ("ttclid=E.C.P.abcdefghijk", {"ttclid": "E.C.P.abcdefghijk"}),
        ("_gcl_aw=GCL.1742916891.Cj0KCQjw-abc", {"gclid": "Cj0KCQjw-abc"}),
        ("_gcl_aw=Cj0KCQjw-abc", {}),
        (
            "_gcl_gb=GCL.1742916891.CmYKCQjw-abc; _gcl_dc=GCL.1742916891.CjkKCQjw_dc",
            {"wbraid": "CmYKCQjw-abc", "dclid": "CjkKCQjw_dc"},
        ),
        ("_gcl_ag=GCL.1742916891.0AAAAADabc-def", {"gbraid": "0AAAAADabc-def"}),
        ("_gcl_ag=2.1.k0AAAAADabc-def$i1742916891$u12", {"gbraid": "0AAAAADabc-def"}),
        ("_gcl_ag=2.1.k1$i1742916891", {}),
        ("_pin_unauth=dWlkPU1qQXdNR1V4", {"pin_unauth": "dWlkPU1qQXdNR1V4"}),
        ("_uetmsclkid=_uet" + "0a" * 16, {"msclkid": "0a" * 16}),
        (f"_scid={_UUID}; li_fat_id={_UUID}", {"scid": _UUID, "li_fat_id": _UUID}),
        ('_twclid={"pixelVersion":"v2","twclid":"2-abc123"}', {"twclid": "2-abc123"}),
        ("_twclid=%7B%22twclid%22%3A%222-abc123%22%7D", {"twclid": "2-abc123"}),
        ("_twclid={}; _twclid=[1]; _twclid={", {}),
        ('g_state={"i_l":0}; bad name=2; =x; novalue; _ga=GA1.1.1.2', {"ga_client_id": "1.2"}),
        ('_fbp="fb.1.1697040000000.1234567890"', {"fbp": "fb.1.1697040000000.1234567890"}),
        ("_fbp=fb.1.1697040000000.1\udcff", {}),
        ("_fbp=fb.1.1697040000000.１２３", {}),
        ("_FBP=fb.1.1697040000000.1234567890", {}),
        ("_epik=" + "a" * 600, {}),
        ("; ; ;", {}),
    ],
)
def test_vendor_cookies(cookie: str, ids: dict[str, str]) -> None:
    assert vendor_cookies.read(cookie).ids == ids


@pytest.mark.parametrize(
    ("value", "session"),
    [
        ("GS1.1.1700000123.4.1.1700000456.0.0.0", {"id": "1700000123", "number": 4}),
        ("GS2.1.s1700000123$o4$g1$t1700000456$j60$l0$h0", {"id": "1700000123", "number": 4}),
        ("GS2.1.s1748087044$o3$g0$t1748087046$j58$l0$h0$dABC-_x", {"id": "1748087044", "number": 3}),
        ("GS2.1.o4$s1700000123", {"id": "1700000123", "number": 4}),
        ("GS2.1.s1700000123", {"id": "1700000123"}),
        ("GS2.1.s1700000123$ox", {"id": "1700000123"}),
        *((value, {}) for value in ("GS2.1.o4", "GS2.1.sx$o4", "GS2.1.", "GS3.1.s1700000123")),
        *((value, {}) for value in ("deleted", "", "GS1.1.x.4.1", "GS2.1.s1²")),
    ],
)  # fmt: skip
def test_google_analytics_session(value: str, session: dict[str, Any]) -> None:
    assert vendor_cookies.session(value) == session
    assert vendor_cookies.read(f"_ga_ABC123DEF4={value.replace('$', '%24')}").session == session


def test_cookies_keep_the_browsers_order_and_are_bounded() -> None:
    assert list(cookies('a=1; b="2"; a=3; c; d=x=y')) == [("a", "1"), ("b", "2"), ("a", "3"), ("d", "x=y")]
    assert len(list(cookies("; ".join(f"c{n}=1" for n in range(800))))) == MAX_COOKIES
    assert list(cookies("a=" + "x" * 5000)) == []


_HOME = "https://shop.example/"
_AGENT = _BROWSER["user-agent"]
_BERLIN = {"country": "DE", "region": "BE"}
_PARIS = {"country": "FR", "city": "Paris"}
_ADDRESSES = {"ip": "198.51.100.7", "country": "DE", "region": "BE"}
_STATED = {"device": {"ip": "203.0.113.9", "user_agent": "Stated/1"}, "geo": {"country": "fr", "city": "Paris"}}


@pytest.mark.parametrize(
    ("data", "request_", "expected"),
    [
        # a browser: always its own
        ({}, {"headers": _BROWSER, **_ADDRESSES}, ("198.51.100.7", _AGENT, _BERLIN)),
        (_STATED, {"headers": _BROWSER, **_ADDRESSES}, ("198.51.100.7", _AGENT, _BERLIN)),
        (_STATED, {"headers": _BROWSER}, (None, _AGENT, None)),
        # no browser headers: the body's, else the request's
        ({}, {"headers": {"user-agent": "okhttp"}, **_ADDRESSES}, ("198.51.100.7", "okhttp", _BERLIN)),
        (_STATED, {"headers": {"user-agent": "okhttp"}, **_ADDRESSES}, ("203.0.113.9", "Stated/1", _PARIS)),
        (
            {"device": {"ip": "198.51.100.7"}},
            {"headers": {"user-agent": "okhttp"}, **_ADDRESSES},
            ("198.51.100.7", "okhttp", _BERLIN),
        ),
        ({"geo": {"country": "FR", "region": "X"}}, _ADDRESSES, ("198.51.100.7", None, _BERLIN)),
        ({"geo": {"country": "DE", "city": "B"}}, _ADDRESSES, ("198.51.100.7", None, {**_BERLIN, "city": "B"})),
        # a server speaks for others
        ({}, {"server": True, "headers": {"user-agent": "python"}, **_ADDRESSES}, (None, None, None)),
        (_STATED, {"server": True, "headers": _BROWSER, **_ADDRESSES}, ("203.0.113.9", "Stated/1", _PARIS)),
        # countries that are none
        *(({}, {"country": country}, (None, None, None)) for country in ("XX", "T1", "ZZ", "", "DEU", "1A")),
        ({}, {"country": "uk"}, (None, None, {"country": "GB"})),
        ({}, {"country": "EL"}, (None, None, {"country": "GR"})),
    ],
)  # fmt: skip
def test_address_agent_and_geo(data: dict[str, Any], request_: dict[str, Any], expected: tuple[Any, ...]) -> None:
    event = enriched(data, **request_)
    device = event.get("device", {})
    assert (device.get("ip"), device.get("user_agent"), event.get("geo")) == expected


@pytest.mark.parametrize(
    ("header", "language"),
    [("de-DE,de;q=0.9,en;q=0.8", "de-DE"), ("en", "en"), ("*", None), ("", None), (";q=1", None), ("x" * 36, None)],
)
def test_language(header: str, language: str | None) -> None:
    event = enriched(headers={**_BROWSER, "accept-language": header})
    assert event["device"].get("language") == language
    own = enriched({"device": {"language": "fr"}}, headers={**_BROWSER, "accept-language": "de"})
    assert own["device"]["language"] == "fr"


@pytest.mark.parametrize(
    ("data", "cookie", "fbc"),
    [
        ({}, "", None),
        ({"page": {"url": "https://shop.example/?fbclid=Iw1"}}, "", "fb.1.1795514400000.Iw1"),
        ({"ids": {"fbclid": "Iw2"}}, "", "fb.1.1795514400000.Iw2"),
        ({"ids": {"fbc": "own"}, "page": {"url": "https://shop.example/?fbclid=Iw1"}}, "", "own"),
        ({}, "_fbc=fb.1.1697040000000.Iw0", "fb.1.1697040000000.Iw0"),
        ({"page": {"url": "https://shop.example/?fbclid=Iw0"}}, "_fbc=fb.2.1697040000000.Iw0.Ag", "fb.2.1697040000000.Iw0.Ag"),
        ({"page": {"url": "https://shop.example/?fbclid=Iw1"}}, "_fbc=fb.1.1697040000000.Iw0", "fb.1.1795514400000.Iw1"),
        ({"page": {"url": "https://shop.example/?fbclid=iw0"}}, "_fbc=fb.1.1697040000000.Iw0", "fb.1.1795514400000.iw0"),
        ({"page": {"url": _HOME, "referrer": "https://www.shop.example/?fbclid=Iw3"}}, "", "fb.1.1795514400000.Iw3"),
        ({"page": {"url": _HOME, "referrer": "https://other.example/?fbclid=Iw3"}}, "", None),
    ],
)  # fmt: skip
def test_fbc_is_made_only_of_a_click(data: dict[str, Any], cookie: str, fbc: str | None) -> None:
    event = enriched(data, headers={**_BROWSER, "cookie": cookie})
    assert event.get("ids", {}).get("fbc") == fbc


def test_no_browser_id_is_ever_invented() -> None:
    assert "ids" not in enriched(headers=_BROWSER, **_ADDRESSES)


def test_event_before_url_before_cookie() -> None:
    cookie = "ttclid=E.C.P.cookie0000; _gcl_aw=GCL.1742916891.cookie-gclid; _fbp=fb.1.1697040000000.1234567890"
    url = "https://shop.example/?gclid=url&ttclid=url"
    event = enriched({"ids": {"gclid": "own"}, "page": {"url": url}}, headers={**_BROWSER, "cookie": cookie})
    assert event["ids"] == {"gclid": "own", "ttclid": "url", "fbp": "fb.1.1697040000000.1234567890"}


@pytest.mark.parametrize(("url", "kept"), [("https://shop.example/?ttclid=url", "url"), ("https://shop.example/", "own")])
def test_tiktoks_click_of_this_visit_counts_before_one_the_hit_names(url: str, kept: str) -> None:
    event = enriched({"ids": {"ttclid": "own"}, "page": {"url": url}}, headers={**_BROWSER, "cookie": "ttclid=cookie"})
    assert event["ids"]["ttclid"] == kept


def test_the_events_own_campaign_and_session_stay() -> None:
    data = {
        "campaign": {"source": "own"},
        "session": {"id": "1"},
        "page": {"url": "https://shop.example/?utm_source=x&utm_medium=y"},
    }
    event = enriched(data, headers={"cookie": "_ga_ABC123DEF4=GS2.1.s1700000123$o4"})
    assert event["campaign"] == {"source": "own", "medium": "y"}
    assert event["session"] == {"id": "1"}


def test_the_given_event_is_not_changed() -> None:
    data: dict[str, Any] = {
        "time": _TIME,
        "device": {"ip": "6.6.6.6"},
        "ids": {},
        "page": {"url": "https://s.example/?gclid=a"},
    }
    enrich(data, hit("json", {"headers": {**_BROWSER, "cookie": "_ga=GA1.1.1.2"}, **_ADDRESSES}))
    assert data == {"time": _TIME, "device": {"ip": "6.6.6.6"}, "ids": {}, "page": {"url": "https://s.example/?gclid=a"}}
