"""TC strings: decoding them, what they say per purpose, which vendor may have an event, and that nothing breaks the reader."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.models import SourceConsent
from gateway.consent import tcf
from gateway.consent.bits import Ids, ones
from gateway.consent.decide import decide
from gateway.consent.gate import Need, refuses
from gateway.normalise import Normalised, normalise
from gateway.receive import json, pixel
from tests.consent_vectors import DISCLOSED, GPP, NO_TC, TC
from tests.receive_cases import RECEIVED, hit

DAY = 86400.0
_LETTER = {"granted": "g", "denied": "d", "unknown": "-"}
ADS = ("ad_storage", "ad_user_data")
META = Need(ADS, ads=True)
GOOGLE = Need(("analytics_storage",), tcf_vendor=755)


def decoded(name: str) -> tcf.Tc:
    tc = tcf.decode(TC[name])
    assert tc is not None
    return tc


def purposes(mask: int) -> list[int]:
    return list(ones(mask))


def event(query: str = "", cookie: str = "", **more: Any) -> dict[str, Any]:
    """The consent block of a pixel hit."""
    given = {"query": f"e=purchase&{query}", "headers": {"cookie": cookie} if cookie else {}}
    request = hit("pixel", given)
    [raw] = pixel.decode(request)
    normal = normalise(raw, request, RECEIVED)  # type: ignore[arg-type]
    assert isinstance(normal, Normalised)
    data = {**normal.data, **({"geo": more.pop("geo")} if "geo" in more else {})}
    return decide(data, request, SourceConsent(**more))


def letters(block: dict[str, Any]) -> str:
    return "".join(_LETTER[block[purpose]] for purpose in (*ADS, "ad_personalization", "analytics_storage"))


# -- the string ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "consent", "interest", "vendors", "interested"),
    [
        ("accept all", [*range(1, 12)], [2, 7, 8, 9, 10, 11], DISCLOSED, [10, 50]),
        ("reject all", [], [], [], []),
        ("measurement only", [1, 7, 8, 9, 10], [], [755], []),
        ("google refused", [1, 2, 3, 4, 7, 9, 10], [], [28, 42, 50, 91, 126, 793, 804], []),
        ("restrictions", [1, 2, 3, 4, 7, 9, 10], [2, 7, 9, 10], [10, 91, 755], [10]),
        ("interest only", [], [2, 7, 9, 10], [], [10, 50]),
        ("old", [], [], [1, 2, 3, 4], []),
        ("global", [1, 2, 3], [], [2, 6, 8], [2, 6, 8]),
    ],
)
def test_purposes_and_vendors(
    name: str, consent: list[int], interest: list[int], vendors: list[int], interested: list[int]
) -> None:
    tc = decoded(name)
    assert (purposes(tc.purposes), purposes(tc.interests)) == (consent, interest)
    assert (tc.vendors.listed(), tc.vendor_interests.listed()) == (vendors, interested)


@pytest.mark.parametrize(
    "name", ["accept all", "reject all", "measurement only", "google refused", "restrictions", "interest only"]
)
def test_the_fields_of_all_strings_of_one_tool(name: str) -> None:
    tc = decoded(name)
    assert (tc.created, tc.updated, tc.cmp, tc.list_version, tc.policy) == (1795478400.0, 1795478400.0, 300, 120, 5)
    assert tc.service_specific
    assert tc.disclosed is not None
    assert tc.disclosed.listed() == DISCLOSED
    assert tc.flags() == []


def test_the_publishers_own_purposes_and_special_features() -> None:
    tc = decoded("accept all")
    assert (purposes(tc.special), purposes(tc.publisher or 0)) == ([1, 2], [1, 7, 9])


def test_the_publishers_restrictions() -> None:
    told = [(one.purpose, one.kind, one.vendors.listed()) for one in decoded("restrictions").restrictions]
    assert told == [(4, 0, [91, 755]), (7, 1, [10])]


def test_an_old_string_and_a_global_one() -> None:
    old, everywhere = decoded("old"), decoded("global")
    assert (old.created, old.cmp, old.list_version, old.policy) == (1748908800.0, 880, 48, 2)
    assert old.disclosed is not None
    assert old.disclosed.listed() == [1, 2, 3, 4, 5, 100, 404]
    assert (old.flags(), old.service_specific) == (["policy"], True)
    assert (everywhere.service_specific, everywhere.created) == (False, 1582243059.3)


def test_a_new_string_that_does_not_say_who_was_shown_is_flagged() -> None:
    tc = tcf.decode(TC["reject all"].split(".")[0])
    assert tc is not None
    assert (tc.disclosed, tc.flags()) == (None, ["disclosed"])


@pytest.mark.parametrize("text", NO_TC)
def test_anything_else_is_no_string(text: str) -> None:
    tc = tcf.decode(text)
    assert tc is None or not tc.valid(RECEIVED)


@pytest.mark.parametrize(
    ("after", "valid"), [(0.0, True), (-1.5 * DAY, False), (-0.5 * DAY, True), (395 * DAY, True), (397 * DAY, False)]
)
def test_a_string_is_a_signal_from_yesterday_to_thirteen_months(after: float, valid: bool) -> None:
    assert decoded("accept all").valid(1795478400.0 + after) is valid


def test_vendor_sets_of_both_codings() -> None:
    ids = Ids(0b1010)
    assert [number in ids for number in (0, 1, 2, 3, -1)] == [False, True, False, True, False]
    assert ids.listed() == [1, 3]


# -- purposes and vendors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("accept all", "gggg"),
        ("reject all", "dddd"),
        ("measurement only", "ggdg"),
        ("google refused", "gggg"),
        ("restrictions", "gggg"),
        ("interest only", "dddd"),
        ("old", "----"),
        ("global", "----"),
    ],
)
def test_what_a_string_on_the_hit_grants(name: str, said: str) -> None:
    block = event(f"gdpr=1&gdpr_consent={TC[name]}")
    assert letters(block) == said
    assert block["explicit"] is (said != "----")
    assert [one["name"] for one in block["sources"]] == ([] if said == "----" else ["TC string"])


@pytest.mark.parametrize("cookie", ["euconsent-v2", "eupubconsent-v2"])
def test_a_string_in_a_cookie(cookie: str) -> None:
    block = event(cookie=f"a=b; {cookie}={TC['measurement only']}; c=d")
    assert letters(block) == "ggdg"
    assert [one["name"] for one in block["sources"]] == [cookie]


def test_a_string_inside_cookiebots_cookie() -> None:
    value = f"{{stamp:'x',necessary:true,method:'explicit',utc:1795478400000,iab2:'{TC['measurement only']}'}}"
    assert letters(event(cookie=f"CookieConsent={value}")) == "ggdg"


def test_a_whole_string_over_five_hundred_characters_is_read_from_the_hit() -> None:
    text = TC["accept all"] + "." + "Y" + "A" * 700
    block = event(f"gdpr=1&gdpr_consent={text}")
    assert [one["string"] for one in block["tcf"]["strings"]] == [text]


def test_native_events_each_have_their_own_string() -> None:
    body = [{"name": "a", "consent": {"tcf": TC[name]}} for name in ("accept all", "reject all")] + [{"name": "b"}]
    request = hit("json", {"body": body})
    said = []
    for raw in json.decode(request):
        normal = normalise(raw, request, RECEIVED)  # type: ignore[arg-type]
        assert isinstance(normal, Normalised)
        said.append(letters(decide(normal.data, request, SourceConsent())))
    assert said == ["gggg", "dddd", "----"]


@pytest.mark.parametrize(
    ("name", "vendor", "requires", "words"),
    [
        ("accept all", 755, ADS, None),
        ("accept all", 21, ("ad_personalization",), None),
        ("accept all", 3, ADS, "vendor 3 was not shown to the visitor"),
        ("reject all", 755, ("ad_storage",), "vendor 755 has no consent"),
        ("measurement only", 755, ADS, None),
        ("measurement only", 755, ("analytics_storage",), None),
        ("measurement only", 755, ("ad_personalization",), "purpose 3 has no consent, and ad_personalization needs it"),
        ("measurement only", 804, ADS, "vendor 804 has no consent"),
        ("google refused", 755, ADS, "vendor 755 has no consent"),
        ("google refused", 804, ADS, None),
        ("restrictions", 755, ADS, None),
        ("restrictions", 755, ("ad_personalization",),
         "the publisher keeps purpose 4 from vendor 755, and ad_personalization needs it"),
        ("restrictions", 10, ("ad_user_data",), None),
        ("interest only", 10, ("ad_user_data",), "vendor 10 has no consent"),
        ("old", 1, ("ad_storage",), "purpose 1 has no consent, and ad_storage needs it"),
    ],
)  # fmt: skip
def test_whether_a_vendor_may_have_an_event(name: str, vendor: int, requires: tuple[str, ...], words: str | None) -> None:
    assert tcf.refuses(decoded(name), requires, vendor) == words


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (0, "the publisher keeps purpose 7 from vendor 755, and ad_user_data needs it"),
        (1, None),
        (2, "the publisher keeps purpose 7 from vendor 755, and ad_user_data needs it"),
        (3, None),
    ],
)
def test_restrictions_that_shut_out_consent(kind: int, words: str | None) -> None:
    tc = decoded("accept all")._replace(restrictions=(tcf.Restriction(7, kind, Ids(1 << 755)),))
    assert tcf.refuses(tc, ADS, 755) == words
    assert tcf.refuses(tc, ADS, 21) is None


@pytest.mark.parametrize(
    ("name", "need", "words"),
    [
        ("accept all", GOOGLE, None),
        ("google refused", GOOGLE, "vendor 755 has no consent (TC string)"),
        ("google refused", Need(ADS, True, purposes_only=True), None),
        ("google refused", META, "a TC string decides, and the destination has neither consent.tcf_vendor nor"
         " consent.purposes_only (TC string)"),
        ("google refused", Need(ADS, True, tcf_vendor=755, purposes_only=True), "vendor 755 has no consent (TC string)"),
        ("google refused", Need(()), None),
        ("reject all", META, "ad_storage is denied (TC string)"),
    ],
)  # fmt: skip
def test_the_gate_by_the_string_of_the_event(name: str, need: Need, words: str | None) -> None:
    assert refuses(event(f"gdpr_consent={TC[name]}"), need) == words


def test_a_vendor_refused_in_the_cookie_is_refused_though_the_hit_grants() -> None:
    request = hit("json", {"headers": {"cookie": f"euconsent-v2={TC['google refused']}"}})
    data = {"dialect": "json", "consent": dict.fromkeys(("ad_storage", "ad_user_data", "analytics_storage"), "granted")}
    block = decide(data, request, SourceConsent())
    assert block["ad_storage"] == "granted"
    assert refuses(block, GOOGLE) == "vendor 755 has no consent (euconsent-v2)"
    assert refuses(block, META) is None


# -- rank and law ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "cookie", "more", "said"),
    [
        # denied wins between the hit and the cookie
        ("gdpr_consent={accept}", "euconsent-v2={reject}", {}, "dddd"),
        ("gdpr_consent={reject}", "euconsent-v2={accept}", {}, "dddd"),
        # what is not read grants nothing, and denies all the same
        ("gdpr_consent={accept}", "", {"read": ["event"]}, "----"),
        ("gdpr_consent={reject}", "", {"read": ["event"]}, "dddd"),
        # gdpr=0 counts unless the law asks first
        ("gdpr=0&gdpr_consent={reject}", "", {}, "----"),
        ("gdpr=0&gdpr_consent={reject}", "", {"geo": {"country": "US"}}, "----"),
        ("gdpr=0&gdpr_consent={reject}", "", {"geo": {"country": "DE"}}, "dddd"),
        ("gdpr=0&gdpr_consent={reject}", "", {"jurisdiction": "opt_in"}, "dddd"),
        ("gdpr=0", "", {"unknown": "jurisdiction"}, "gggg"),
        ("gdpr=0", "", {"unknown": "jurisdiction", "geo": {"country": "FR"}}, "dddd"),
        ("gdpr=1", "", {"unknown": "jurisdiction"}, "dddd"),
        ("gdpr=0", "euconsent-v2={reject}", {"unknown": "jurisdiction"}, "dddd"),
    ],
)  # fmt: skip
def test_rank_and_law(query: str, cookie: str, more: dict[str, Any], said: str) -> None:
    texts = {"accept": TC["accept all"], "reject": TC["reject all"]}
    assert letters(event(query.format(**texts), cookie.format(**texts), **more)) == said


def test_the_newest_of_two_string_cookies_counts() -> None:
    older = TC["old"].replace("CQSbk4AQSbk4A", "CQuCPEAQuCPEA")
    tc = tcf.decode(older)
    assert tc is not None
    assert tc.updated < decoded("accept all").updated
    block = event(cookie=f"euconsent-v2={older}; eupubconsent-v2={TC['accept all']}")
    assert (letters(block), block["sources"][0]["name"]) == ("gggg", "eupubconsent-v2")


# -- hostile strings ----------------------------------------------------------------------------------------------------------

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@settings(max_examples=300)
@given(st.text(alphabet=_ALPHABET + ".~", max_size=400), st.integers(0, 80))
def test_no_string_raises(tail: str, kept: int) -> None:
    tc = tcf.decode(TC["restrictions"][:kept] + tail)
    if tc is not None:
        tcf.choices(tc)
        tcf.refuses(tc, ("ad_storage", "analytics_storage"), 755)


def _bits(*fields: tuple[int, int]) -> str:
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 6)
    return "".join(_ALPHABET[int(text[n : n + 6], 2)] for n in range(0, len(text), 6))


_CORE = [(2, 6), (17954784000, 36), (17954784000, 36), *[(0, 1)] * 60, (1, 1), *[(0, 1)] * 74]


@pytest.mark.parametrize(
    ("fields", "reads"),
    [
        ([(65535, 16), (1, 1), (1, 12), (1, 1), (1, 16), (65535, 16)], True),
        ([(65535, 16), (1, 1), (4, 12), *[(1, 1), (1, 16), (65535, 16)] * 4], False),
        ([(65535, 16), (1, 1), (1, 12), (1, 1), (9, 16), (8, 16)], False),
        ([(65535, 16), (1, 1), (1, 12), (0, 1), (0, 16)], False),
        ([(65535, 16), (1, 1), (4095, 12)], False),
        ([(0, 16), (0, 1), (0, 16), (0, 1), (4095, 12)], False),
    ],
    ids=["one range", "too many ids", "backwards", "vendor 0", "no entries", "no restrictions"],
)
def test_claims_are_bounded(fields: list[tuple[int, int]], reads: bool) -> None:
    assert (tcf.decode(_bits(*_CORE, *fields)) is not None) is reads


def test_the_worst_string_costs_less_than_half_a_second_and_is_not_remembered() -> None:
    many = [(1, 1), (5, 16), (6, 16)] * 2900
    text = _bits(*_CORE, (65535, 16), (1, 1), (2900, 12), *many)[: tcf.MAX_TEXT]
    started = time.perf_counter()
    for _ in range(3):
        tcf.decode(text)
        tcf.decode("C" * tcf.MAX_TEXT)
    assert time.perf_counter() - started < 1.5
    before = tcf._remembered.cache_info().currsize
    tcf.decode(text)
    assert tcf._remembered.cache_info().currsize == before


def test_a_string_inside_gpp_is_read_as_one() -> None:
    block = event(f"gpp={GPP['europe']}&gpp_sid=2_6")
    assert letters(block) == "gggg"
    assert block["sources"][0]["name"] == "GPP tcfeuv2"
    assert refuses(block, GOOGLE) is None
    assert refuses(block, Need(ADS, tcf_vendor=804)) == "vendor 804 was not shown to the visitor (GPP tcfeuv2)"
