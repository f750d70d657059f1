"""Consent: what is decided from which signals, in which order, and what a destination makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config.models import DestinationConfig, DestinationConsent, SourceConsent
from gateway.consent import iab
from gateway.consent.decide import Decider, decide
from gateway.consent.gate import Need, need_of, refuses
from gateway.consent.regions import jurisdiction
from gateway.consent.signals import COOKIE_MARKS, OWN_COOKIE, READERS, US_COOKIE, Signal
from gateway.consent.tools import TOOLS, UNREADABLE
from gateway.event import PURPOSES
from tests.receive_cases import hit

_SHORT = {"ad_storage": "s", "ad_user_data": "u", "ad_personalization": "p", "analytics_storage": "a", "functional": "f"}
_LETTER = {"granted": "g", "denied": "d", "unknown": "-"}
GRANT = dict.fromkeys(PURPOSES[:4], "granted")
DENY = dict.fromkeys(PURPOSES[:4], "denied")


def decided(
    consent: dict[str, Any] | None = None, cookie: str = "", headers: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """The decision for an event block, cookies, headers, the event's geo, and a source's rules."""
    data: dict[str, Any] = {"dialect": more.pop("dialect", "json")}
    if consent is not None:
        data["consent"] = consent
    for section in ("geo", "raw"):
        if section in more:
            data[section] = more.pop(section)
    request = hit("json", {"headers": {**({"cookie": cookie} if cookie else {}), **(headers or {})}})
    rules = SourceConsent(**more)
    block, decider = decide(data, request, rules), Decider(rules)
    assert decider(data, request) == decider(data, request) == block
    return block


def letters(block: dict[str, Any]) -> str:
    """The purposes in order: g granted, d denied, - unknown."""
    return "".join(_LETTER[block[purpose]] for purpose in PURPOSES)


@pytest.mark.parametrize(
    ("consent", "cookie", "rules", "expected"),
    [
        # one signal
        (None, "", {}, "-----"),
        ({}, "", {}, "-----"),
        (GRANT, "", {}, "gggg-"),
        (DENY, "", {}, "dddd-"),
        ({"ad_storage": "granted"}, "", {}, "g----"),
        ({"functional": "denied"}, "", {}, "----d"),
        ({"ad_storage": "unknown", "analytics_storage": "granted"}, "", {}, "---g-"),
        (None, "_tw_consent=v1.gdug.1795500000.e", {}, "gd-g-"),
        (None, "_tw_consent=v1.gggg.1795500000.d", {}, "gggg-"),
        # a hit is never more permissive than the consent cookies beside it
        (GRANT, "_tw_consent=v1.dddd.1795500000.e", {}, "dddd-"),
        (GRANT, "_tw_consent=v1.dddd.1795500000.d", {}, "dddd-"),
        (GRANT, "_tw_consent=v1.uuuu.1795500000.e", {}, "gggg-"),
        (GRANT, "_tw_consent=v1.gudu.1795500000.e", {}, "ggdg-"),
        # a lower rank fills only what is unknown, and never grants what is denied
        (DENY, "_tw_consent=v1.gggg.1795500000.e", {}, "dddd-"),
        ({"ad_storage": "denied"}, "_tw_consent=v1.gggg.1795500000.e", {}, "dggg-"),
        ({**DENY, "explicit": False}, "_tw_consent=v1.gggg.1795500000.e", {}, "gggg-"),
        ({**GRANT, "explicit": False}, "_tw_consent=v1.dddd.1795500000.e", {}, "dddd-"),
        ({**GRANT, "explicit": False}, "_tw_consent=v1.dddd.1795500000.d", {}, "dddd-"),
        # what is read may grant; denials are always read
        (GRANT, "", {"read": ["own"]}, "-----"),
        (DENY, "", {"read": ["own"]}, "dddd-"),
        (GRANT, "_tw_consent=v1.gggg.1795500000.e", {"read": ["own"]}, "gggg-"),
        (GRANT, "_tw_consent=v1.dddd.1795500000.e", {"read": ["event"]}, "dddd-"),
        (None, "_tw_consent=v1.gggg.1795500000.e", {"read": ["event"]}, "-----"),
        (None, "_tw_consent=v1.gggg.1795500000.e", {"read": []}, "-----"),
        # a cookie that cannot be read is no signal
        (None, "_tw_consent=v2.gggg.1795500000.e", {}, "-----"),
        (None, "_tw_consent=v1.ggg.1795500000.e", {}, "-----"),
        (None, "_tw_consent=v1.gggx.1795500000.e", {}, "-----"),
        (None, "_tw_consent=<script>", {}, "-----"),
        (None, "x_tw_consent=v1.gggg.1795500000.e", {}, "-----"),
        (None, "_tw_consent=junk; _tw_consent=v1.gggg.1795500000.e", {}, "gggg-"),
        # categories of a consent tool
        ({"categories": {"C0001": True, "C0002": True, "C0004": False}}, "", {}, "dddg-"),
        ({"categories": {"C0003": True, "C0004": True}}, "", {}, "ggg-g"),
        ({"categories": {"C0004": True, "C0005": False}}, "", {}, "ddd--"),
        ({"categories": {"C0005": False, "C0004": True}}, "", {}, "ddd--"),
        ({"categories": {"marketing": True}}, "", {}, "-----"),
        ({"categories": {"marketing": True}}, "", {"categories": {"marketing": ["ad_storage", "ad_user_data"]}}, "gg---"),
        ({"categories": {"C0004": True}}, "", {"categories": {"C0004": ["ad_storage"]}}, "g----"),
        ({"ad_storage": "denied", "categories": {"C0004": True}}, "", {}, "dgg--"),
        ({"ad_storage": "granted", "categories": {"C0004": False}}, "", {}, "ddd--"),
        # nobody spoke: the jurisdiction, where the source asks for it
        (None, "", {"unknown": "jurisdiction"}, "ddddd"),
        (None, "", {"unknown": "jurisdiction", "jurisdiction": "none"}, "ggggg"),
        (None, "", {"unknown": "jurisdiction", "jurisdiction": "opt_out"}, "ggggg"),
        (None, "", {"unknown": "jurisdiction", "jurisdiction": "opt_in"}, "ddddd"),
        (None, "", {"jurisdiction": "none"}, "-----"),
        ({"ad_storage": "denied"}, "", {"unknown": "jurisdiction", "jurisdiction": "none"}, "dgggg"),
        (GRANT, "", {"unknown": "jurisdiction", "jurisdiction": "opt_in"}, "ggggd"),
        (None, "", {"unknown": "jurisdiction", "geo": {"country": "DE"}}, "ddddd"),
        (None, "", {"unknown": "jurisdiction", "geo": {"country": "US"}}, "ggggg"),
        (None, "", {"unknown": "jurisdiction", "geo": {"country": "AU"}}, "ggggg"),
        (None, "", {"unknown": "jurisdiction", "geo": {"country": "CA"}}, "ggggg"),
        (None, "", {"unknown": "jurisdiction", "geo": {"country": "CA", "region": "QC"}}, "ddddd"),
        (None, "", {"unknown": "jurisdiction", "jurisdiction": "none", "geo": {"country": "DE"}}, "ggggg"),
    ],
)  # fmt: skip
def test_purposes(consent: dict[str, Any] | None, cookie: str, rules: dict[str, Any], expected: str) -> None:
    assert letters(decided(consent, cookie, **rules)) == expected


@pytest.mark.parametrize(
    ("consent", "more", "expected", "names"),
    [
        (None, {}, None, []),
        (GRANT, {}, None, []),
        ({"sale_opt_out": True}, {}, True, ["event"]),
        ({"sale_opt_out": False}, {}, False, ["event"]),
        (None, {"headers": {"sec-gpc": "1"}}, True, ["GPC"]),
        (None, {"headers": {"sec-gpc": "0"}}, None, []),
        (None, {"headers": {"sec-gpc": "true"}}, None, []),
        (None, {"headers": {"dnt": "1"}}, None, []),
        ({"sale_opt_out": False}, {"headers": {"sec-gpc": "1"}}, True, ["GPC"]),
        ({"sale_opt_out": True}, {"headers": {"sec-gpc": "1"}}, True, ["event", "GPC"]),
        (None, {"headers": {"sec-gpc": "1"}, "read": []}, True, ["GPC"]),
        (None, {"dialect": "pixel", "raw": {"us_privacy": "1YYN"}}, True, ["us_privacy"]),
        (None, {"dialect": "pixel", "raw": {"us_privacy": "1yyn"}}, True, ["us_privacy"]),
        (None, {"dialect": "pixel", "raw": {"us_privacy": "1YNN"}}, False, ["us_privacy"]),
        (None, {"dialect": "pixel", "raw": {"us_privacy": "1---"}}, None, []),
        (None, {"dialect": "pixel", "raw": {"us_privacy": "2YYN"}}, None, []),
        (None, {"dialect": "pixel", "raw": {"us_privacy": 1}}, None, []),
        (None, {"dialect": "json", "raw": {"us_privacy": "1YYN"}}, None, []),
        (None, {"cookie": "usprivacy=1YYN"}, True, ["us_privacy"]),
        (None, {"cookie": "usprivacy=1YNN", "headers": {"sec-gpc": "1"}}, True, ["GPC"]),
    ],
)  # fmt: skip
def test_sale_opt_out(consent: dict[str, Any] | None, more: dict[str, Any], expected: bool | None, names: list[str]) -> None:
    block = decided(consent, **more)
    assert block.get("sale_opt_out") is expected
    assert [source["name"] for source in block["sources"] if "sale_opt_out" in source["purposes"]] == names


def test_an_opt_out_leaves_the_purposes_as_they_are() -> None:
    assert letters(decided(GRANT, headers={"sec-gpc": "1"})) == "gggg-"


@pytest.mark.parametrize(
    ("consent", "more", "explicit", "sources"),
    [
        (GRANT, {}, True, [{"name": "event", "explicit": True, "purposes": list(PURPOSES[:4])}]),
        ({**GRANT, "explicit": False}, {}, False, [{"name": "event", "explicit": False, "purposes": list(PURPOSES[:4])}]),
        (None, {}, False, []),
        (
            None,
            {"cookie": "_tw_consent=v1.guuu.1795500000.e"},
            True,
            [{"name": "_tw_consent", "explicit": True, "purposes": ["ad_storage"], "at": "2026-11-24T06:00:00.000Z"}],
        ),
        (
            {"ad_storage": "granted"},
            {"unknown": "jurisdiction", "jurisdiction": "opt_in"},
            True,
            [
                {"name": "event", "explicit": True, "purposes": ["ad_storage"]},
                {"name": "jurisdiction", "explicit": False, "purposes": list(PURPOSES[1:])},
            ],
        ),
    ],
)
def test_a_decision_names_its_signals(
    consent: Any, more: dict[str, Any], explicit: bool, sources: list[dict[str, Any]]
) -> None:
    block = decided(consent, **more)
    assert (block["explicit"], block["sources"]) == (explicit, sources)


def test_two_signals_of_one_rank_that_disagree_deny_and_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def another(*_: Any) -> Signal:
        return Signal("another", "event", {"ad_storage": "denied"})

    monkeypatch.setattr("gateway.consent.signals.READERS", (*READERS, another))
    block = decided({"ad_storage": "granted"})
    assert block["ad_storage"] == "denied"
    assert [source["name"] for source in block["sources"]] == ["event", "another"]


@pytest.mark.parametrize(
    ("country", "region", "law"),
    [
        *((country, None, "opt_in") for country in ("DE", "FR", "IE", "NO", "IS", "LI", "GB", "CH", "RE", "BR", "KR")),
        ("US", "CA", "opt_out"),
        ("CA", "QC", "opt_in"),
        ("CA", "ON", "none"),
        ("AU", None, "none"),
        (None, None, "unknown"),
        ("", None, "unknown"),
    ],
)  # fmt: skip
def test_jurisdiction(country: str | None, region: str | None, law: str) -> None:
    assert jurisdiction(country, region) == law


# --- the gate ----------------------------------------------------------------------------------------------------------------

_ADS = Need(("ad_storage", "ad_user_data"), ads=True)
_LIMIT = Need(("ad_storage", "ad_user_data"), ads=True, on_opt_out="limit")
_ANALYTICS = Need(("analytics_storage",))


@pytest.mark.parametrize(
    ("consent", "more", "need", "sentence"),
    [
        (GRANT, {}, _ADS, None),
        (GRANT, {}, _ANALYTICS, None),
        (None, {}, Need(()), None),
        (None, {}, _ADS, "ad_storage is unknown: no signal on the hit"),
        ({"ad_storage": "granted"}, {}, _ADS, "ad_user_data is unknown: no signal on the hit"),
        (DENY, {}, _ADS, "ad_storage is denied (event)"),
        ({**GRANT, "ad_user_data": "denied"}, {}, _ADS, "ad_user_data is denied (event)"),
        ({**GRANT, "ad_personalization": "denied"}, {}, _ADS, None),
        (GRANT, {"cookie": "_tw_consent=v1.gdgg.1795500000.e"}, _ADS, "ad_user_data is denied (_tw_consent)"),
        (None, {"unknown": "jurisdiction"}, _ADS, "ad_storage is denied (jurisdiction)"),
        (None, {"unknown": "jurisdiction", "jurisdiction": "none"}, _ADS, None),
        (GRANT, {"headers": {"sec-gpc": "1"}}, _ADS, "sale opt-out (GPC)"),
        (GRANT, {"headers": {"sec-gpc": "1"}}, _LIMIT, None),
        (GRANT, {"headers": {"sec-gpc": "1"}}, _ANALYTICS, None),
        ({**GRANT, "sale_opt_out": True}, {"headers": {"sec-gpc": "1"}}, _ADS, "sale opt-out (event, GPC)"),
        (DENY, {"headers": {"sec-gpc": "1"}}, _LIMIT, "ad_storage is denied (event)"),
    ],
)  # fmt: skip
def test_gate(consent: Any, more: dict[str, Any], need: Need, sentence: str | None) -> None:
    assert refuses(decided(consent, **more), need) == sentence


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({}, "ad_storage is unknown: no signal on the hit"),
        ({"ad_storage": "denied"}, "ad_storage is denied (event)"),
        (
            {
                "ad_storage": "denied",
                "sources": [{"name": "event", "purposes": ["ad_storage"]}, {"name": "withdrawal", "purposes": ["ad_storage"]}],
            },
            "ad_storage is denied (withdrawal)",
        ),
    ],
)
def test_gate_reads_blocks_that_others_wrote(block: dict[str, Any], sentence: str) -> None:
    assert refuses(block, _ADS) == sentence


def config(**consent: Any) -> DestinationConfig:
    return DestinationConfig(
        name="meta", type="meta", file="meta.yaml", sources=["shop"], consent=DestinationConsent(**consent)
    )


@pytest.mark.parametrize(
    ("own", "need"),
    [
        ({}, Need(("ad_storage",), True, "skip", 755)),
        ({"requires": []}, Need((), False, "skip", 755)),
        ({"requires": ["analytics_storage"]}, Need(("analytics_storage",), False, "skip", 755)),
        ({"on_opt_out": "limit", "tcf_vendor": 7}, Need(("ad_storage",), True, "limit", 7)),
        ({"purposes_only": True}, Need(("ad_storage",), True, "skip", 755, True)),
    ],
)
def test_a_customers_file_goes_before_the_manifest(own: dict[str, Any], need: Need) -> None:
    manifest: Any = SimpleNamespace(consent=SimpleNamespace(requires=["ad_storage"], tcf_vendor=755))
    assert need_of(manifest, config(**own)) == need


def test_a_plain_block_is_decided_once_and_told_apart_from_every_other() -> None:
    decider = Decider(SourceConsent(unknown="jurisdiction"))
    request = hit("json", {"headers": {"cookie": "cart=1; _ga=GA1.1.5.6"}})
    said = [None, {}, GRANT, DENY, {**GRANT, "explicit": False}, {**GRANT, "sale_opt_out": True}, dict(list(GRANT.items())[:2])]
    places: list[dict[str, Any]] = [
        {},
        {"geo": {"country": "US"}},
        {"geo": {"country": "US", "region": "CA"}},
        {"geo": {"country": "DE"}},
    ]
    for consent in said:
        for place in places:
            data: dict[str, Any] = {"dialect": "json", **place, **({"consent": consent} if consent is not None else {})}
            first = decider(data, request)
            assert first == decide(data, request, SourceConsent(unknown="jurisdiction"))
            assert decider({**data, "name": "another"}, request) is first


def test_a_decider_forgets_before_it_grows_without_end() -> None:
    decider = Decider(SourceConsent())
    for number in range(3000):
        decider({"dialect": "json", "geo": {"country": "US", "region": f"R{number}"}}, hit("json", {}))
    assert len(decider._known) <= 1024


def test_whatever_cookie_speaks_of_consent_is_looked_at() -> None:
    names = [*iab.TC_COOKIES, *iab.GPP_COOKIES, OWN_COOKIE, US_COOKIE, UNREADABLE, *(tool.cookie for tool in TOOLS)]
    assert [name for name in names if not any(mark in name for mark in COOKIE_MARKS)] == []
