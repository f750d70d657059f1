"""Cookies of consent tools: what each says, whether the visitor chose it, and which of several counts."""

from __future__ import annotations

import re
import timeit
from base64 import b64encode
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.models import ConsentTool, SourceConsent
from gateway.consent import iab, tools
from gateway.consent.decide import decide
from gateway.consent.gate import Need, refuses
from gateway.event import PURPOSES
from tests.consent_vectors import TC
from tests.receive_cases import hit

_LETTER = {"granted": "g", "denied": "d", "unknown": "-"}
ONETRUST = (
    "OptanonConsent=isGpcEnabled=0&datestamp=x&browserGpcFlag=0&groups=C0001%3A1%2CC0002%3A1%2CC0004%3A0"
    "&AwaitingReconsent=false"
)
CLOSED = "; OptanonAlertBoxClosed=2024-03-14T09:14:46.676Z"
COOKIEBOT = (
    "CookieConsent={{stamp:%27abc==%27%2Cnecessary:true%2Cpreferences:false%2Cstatistics:true%2Cmarketing:false"
    "%2Cmethod:%27{method}%27%2Cver:1%2Cutc:{utc}%2Cregion:%27ae%27}}"
)
COMPLIANZ = "cmplz_marketing=deny; cmplz_statistics=allow"
IUBENDA = '_iub_cs-50053366={"timestamp":"2025-02-05T15:40:00.391Z","purposes":'


def decided(cookie: str, **rules: Any) -> dict[str, Any]:
    """The decision for a request with these cookies and nothing else."""
    return decide({"dialect": "json"}, hit("json", {"headers": {"cookie": cookie}}), SourceConsent(**rules))


def letters(block: dict[str, Any]) -> str:
    """ad_storage, ad_user_data, ad_personalization, analytics_storage, functional."""
    return "".join(_LETTER[block[purpose]] for purpose in PURPOSES)


def json_cookie(name: str, value: Any) -> str:
    return f"{name}={quote(orjson.dumps(value).decode())}"


def didomi(**purposes: list[str]) -> str:
    token = {
        "user_id": "x",
        "updated": "2026-01-05T10:00:00.000Z",
        "vendors": {"enabled": [], "disabled": []},
        "purposes": purposes,
    }
    return f"didomi_token={b64encode(orjson.dumps(token)).decode()}"


@pytest.mark.parametrize(
    ("cookie", "said", "explicit"),
    [
        (ONETRUST + CLOSED, "dddg-", True),
        (ONETRUST, "dddg-", False),
        (ONETRUST.replace("Reconsent=false", "Reconsent=true") + CLOSED, "-----", False),
        ("OptanonConsent=groups=C0001:1,C0002:0,C0003:1,C0004:1,C0005:0" + CLOSED, "ddddg", True),
        ("OptanonConsent=groups=V2STACK42:1,C0002:1" + CLOSED, "gggg-", True),
        ("OptanonConsent=groups=13:1,BG36:0" + CLOSED, "-----", False),
        ("OptanonConsent=", "-----", False),
        (COOKIEBOT.format(method="explicit", utc=1705162226478), "dddgd", True),
        (COOKIEBOT.format(method="implied", utc=1705162226478), "dddgd", False),
        ("CookieConsent={stamp:'-1',preferences:true,statistics:true,marketing:true,method:'explicit'}", "ggggg", False),
        ("CookieConsent=-1", "-----", False),
        ("CookieConsent=0", "-----", False),
        ("cookieyes-consent=consentid:x,consent:no,action:yes,necessary:yes,analytics:no,advertisement:no,other:no",
         "dddd-", True),
        ("cookieyes-consent=consentid:x,consent:yes,action:no,functional:yes,analytics:yes,advertisement:no", "dddgg", False),
        ("cookieyes-consent=consentid:x,consent:,action:,necessary:,analytics:,advertisement:", "-----", False),
        (COMPLIANZ + "; cmplz_banner-status=dismissed", "dddg-", True),
        (COMPLIANZ, "dddg-", False),
        (f'{IUBENDA}{{"1":true,"3":true,"4":true}}}}', "dddgd", True),
        ("_iub_cs-50053366=%7B%22timestamp%22%3A%222025-02-05T15%3A40%3A00.391Z%22%2C%22purposes%22%3A%7B%221%22%3Atrue%2C"
         "%223%22%3Atrue%2C%224%22%3Atrue%7D%7D", "dddgd", True),
        ('_iub_cs-7={"timestamp":"2025-02-05T15:40:00.391Z","consent":true}', "ggggg", True),
        ('_iub_cs-7={"timestamp":"2025-02-05T15:40:00.391Z","consent":false}', "ddddd", True),
        ('_iub_cs-7={"id":7}', "-----", False),
        ('_iub_cs-7-granular={"purposes":{"5":true}}', "-----", False),
        ("notice_preferences=2:; notice_gdpr_prefs=0,1,2:; cmapi_cookie_privacy=permit 1,2,3; notice_behavior=expressed,eu",
         "ggggg", True),
        ("notice_preferences=1:; notice_behavior=expressed,eu", "dddgg", True),
        ("notice_gdpr_prefs=0|1:; notice_behavior=implied,us", "dddgg", False),
        ("notice_preferences=0:; notice_behavior=expressed,eu", "ddddd", True),
        ("cmapi_cookie_privacy=permit 1,3; notice_behavior=expressed,eu", "gggdd", True),
        ("cmapi_cookie_privacy=deny; notice_behavior=expressed,eu", "ddddd", True),
        ("notice_preferences=x", "-----", False),
        (didomi(enabled=["cookies", "measure_ad_performance", "market_research"], disabled=["select_personalized_ads"]),
         "ggdg-", True),
        (didomi(enabled=[], disabled=["cookies", "select_personalized_ads"]), "dddd-", True),
        (didomi(enabled=["marketing-JLRqbtG8"], disabled=[]), "-----", False),
        (json_cookie("borlabs-cookie", {"consents": {"essential": ["x"], "statistics": ["ga"]}, "v3": True}), "dddg-", True),
        ("cookielawinfo-checkbox-analytics=yes; cookielawinfo-checkbox-advertisement=no; viewed_cookie_policy=yes",
         "dddg-", True),
        ("cookielawinfo-checkbox-analytics=yes; cookielawinfo-checkbox-advertisement=no", "dddg-", False),
        (json_cookie("cc_cookie", {"categories": ["necessary", "analytics"]}), "dddg-", True),
        (json_cookie("cc_cookie", {"categories": ["necessary", "targeting"]}), "gggd-", True),
        (json_cookie("cookiefirst-consent", {"performance": True, "functional": False, "advertising": False}),
         "dddgd", True),
        (json_cookie("_tracking_consent", {"con": {"CMP": {"a": "1", "m": "0", "p": "", "s": ""}}}), "dddg-", True),
        (json_cookie("_tracking_consent", {"con": {"CMP": {"a": "", "m": "", "p": "", "s": ""}}}), "-----", False),
        (json_cookie("axeptio_cookies", {"$$completed": True, "facebook_pixel": True}), "-----", False),
        ("klaro=%7B%22google-analytics%22%3Atrue%7D", "-----", False),
    ],
)  # fmt: skip
def test_what_a_tools_cookie_says(cookie: str, said: str, explicit: bool) -> None:
    block = decided(cookie)
    assert (letters(block), block["explicit"]) == (said, explicit)


@pytest.mark.parametrize(
    ("cookie", "categories", "said"),
    [
        ("OptanonConsent=groups=3:1,13:0" + CLOSED, {"3": ["analytics_storage"]}, "---g-"),
        ("OptanonConsent=groups=C0002:1,C0004:1" + CLOSED, {"C0004": ["ad_storage"]}, "g--g-"),
        (didomi(enabled=["marketing-JLRqbtG8"], disabled=[]), {"marketing-JLRqbtG8": ["ad_storage", "ad_user_data"]}, "gg---"),
        (json_cookie("axeptio_cookies", {"$$completed": True, "facebook_pixel": True, "google_analytics": False}),
         {"facebook_pixel": ["ad_storage"], "google_analytics": ["analytics_storage"]}, "g--d-"),
        ('klaro={"meta-pixel":false}', {"meta-pixel": ["ad_storage"]}, "d----"),
        ("notice_gdpr_prefs=0,3:; notice_behavior=expressed", {"2": [], "3": ["ad_storage"]}, "g--dd"),
    ],
)  # fmt: skip
def test_a_sites_own_names(cookie: str, categories: dict[str, list[str]], said: str) -> None:
    assert letters(decided(cookie, categories=categories)) == said


@pytest.mark.parametrize(
    ("cookie", "out"),
    [
        ("OptanonConsent=browserGpcFlag=1&groups=C0002:1", True),
        ("OptanonConsent=browserGpcFlag=0&groups=C0002:1", None),
        ('_iub_cs-7-uspr={"s":false,"sh":true,"adv":true}', True),
        ('_iub_cs-7-uspr={"s":true,"sh":true,"adv":true}', None),
        (json_cookie("_tracking_consent", {"con": {"CMP": {"a": "1", "m": "1", "p": "1", "s": "0"}}}), True),
    ],
)
def test_opt_outs_in_a_tools_cookie(cookie: str, out: bool | None) -> None:
    assert decided(cookie).get("sale_opt_out") is out


def test_of_several_tools_the_newest_counts() -> None:
    old = COOKIEBOT.format(method="explicit", utc=1705162226478)
    new = "OptanonConsent=groups=C0002:0,C0004:1" + CLOSED
    block = decided(f"{old}; {new}")
    assert letters(block) == "gggd-"
    assert [(one["name"], one["at"]) for one in block["sources"]] == [("OptanonConsent", "2024-03-14T09:14:46.676Z")]
    assert letters(decided(f"{new}; {old.replace('1705162226478', '1712000000000')}")) == "dddgd"


def test_a_time_that_cannot_be_does_not_make_a_cookie_the_newest() -> None:
    later = COOKIEBOT.format(method="explicit", utc=99999999999999)
    block = decided(f"{later}; OptanonConsent=groups=C0002:0,C0004:1{CLOSED}")
    assert [one["name"] for one in block["sources"]] == ["OptanonConsent"]


def test_the_tool_that_the_source_names_is_the_only_one() -> None:
    cookies = f"{COOKIEBOT.format(method='explicit', utc=1705162226478)}; OptanonConsent=groups=C0002:0,C0004:1{CLOSED}"
    assert letters(decided(cookies, cmp="cookiebot")) == "dddgd"
    assert letters(decided(cookies, cmp="klaro")) == "-----"


def test_an_old_tools_cookie_yields_to_a_newer_tc_string() -> None:
    refusal = "CookieConsent={stamp:'x',necessary:true,statistics:false,marketing:false,method:'explicit',utc:1705162226478}"
    assert letters(decided(f"{refusal}; euconsent-v2={TC['accept all']}")) == "gggg-"
    fresh = refusal.replace("1705162226478", "1795500000000")
    assert letters(decided(f"{fresh}; euconsent-v2={TC['accept all']}")) == "dddd-"


def test_a_cookie_grants_only_where_it_is_read_and_denies_all_the_same() -> None:
    assert letters(decided(ONETRUST + CLOSED, read=["event"])) == "ddd--"


def test_a_choice_in_a_cookie_narrows_the_event() -> None:
    data = {"dialect": "json", "consent": dict.fromkeys(PURPOSES[:4], "granted")}
    block = decide(data, hit("json", {"headers": {"cookie": ONETRUST + CLOSED}}), SourceConsent())
    assert letters(block) == "dddg-"
    assert refuses(block, Need(("ad_storage",))) == "ad_storage is denied (OptanonConsent)"


def test_a_cookie_that_no_server_can_read_is_named() -> None:
    block = decided("osano_consentmanager=5UxXKcRWabc")
    assert letters(block) == "-----"
    assert refuses(block, Need(("ad_storage",))) == (
        "ad_storage is unknown: osano_consentmanager cannot be read by a server; the page has to say it"
    )


@pytest.mark.parametrize(
    ("cookie", "geo", "law"),
    [
        ("OptanonConsent=groups=C0002:1&geolocation=IN;MH", None, "opt_in"),
        ("OptanonConsent=groups=C0002:1&geolocation=US%3BCA", None, "opt_out"),
        ("OptanonConsent=groups=C0002:1&geolocation=CA;QC", None, "opt_in"),
        ("OptanonConsent=groups=C0002:1&geolocation=US;CA", {"country": "DE"}, "opt_in"),
        ("OptanonConsent=groups=C0002:1&geolocation=junk", None, "unknown"),
        ("OptanonConsent=groups=C0002:1&geolocation=", None, "unknown"),
    ],
)
def test_where_onetrust_saw_the_visitor(cookie: str, geo: dict[str, str] | None, law: str) -> None:
    data: dict[str, Any] = {"dialect": "json", **({"geo": geo} if geo else {})}
    block = decide(data, hit("json", {"headers": {"cookie": cookie.replace(";", "%3B")}}), SourceConsent())
    assert block["jurisdiction"] == law


@settings(max_examples=500)
@given(
    st.sampled_from([tool.cookie for tool in tools.TOOLS]),
    st.text(max_size=200),
    st.sampled_from(["", "7", "7-uspr", "marketing"]),
)
def test_no_cookie_raises(name: str, value: str, end: str) -> None:
    decided(f"{name}{end}={value}")
    decided(f"{name}{end}={quote(value)}; OptanonAlertBoxClosed={value}")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["consents", "con", "CMP", "a", "categories", "purposes", "timestamp", "1", "$$date"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.sampled_from([tool.cookie for tool in tools.TOOLS]), _JSON)
def test_no_json_in_a_cookie_raises(name: str, value: Any) -> None:
    text = orjson.dumps(value)
    decided(f"{name}={quote(text.decode())}")
    decided(f"{name}7={b64encode(text).decode()}")


def test_every_tool_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "consent.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page.partition("| `cmp` |")[2], re.M))
    for tool in tools.TOOLS:
        assert f"`{tool.cookie}`" in rows[tool.name]
    assert {*rows, "osano", "auto"} == set(get_args(ConsentTool))


def test_without_any_signal_the_readers_cost_next_to_nothing() -> None:
    request = hit("json", {"headers": {"user-agent": "x", "accept": "*/*"}})
    data: dict[str, Any] = {"dialect": "json", "consent": dict.fromkeys(PURPOSES[:4], "granted")}
    rules = SourceConsent()
    readers = (iab.tc_on_hit, iab.tc_cookie, iab.gpp_europe, iab.gpp_states, tools.tool_cookie)

    def run() -> None:
        for reader in readers:
            assert reader(data, request, rules) is None

    assert min(timeit.repeat(run, number=2000, repeat=5)) / 2000 < 10e-6
