"""GPP strings and US privacy strings: their sections, the opt-outs of the US ones, and that nothing breaks the reader."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.models import SourceConsent
from gateway.consent import gpp
from gateway.consent.decide import decide
from gateway.normalise import Normalised, normalise
from gateway.receive import json
from tests.consent_vectors import GPP, GPP_TC, NO_GPP
from tests.receive_cases import RECEIVED, hit

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def block(
    raw: dict[str, str] | None = None, cookie: str = "", geo: dict[str, str] | None = None, dialect: str = "pixel"
) -> dict[str, Any]:
    """The decision for a pixel hit with these consent parameters."""
    data: dict[str, Any] = {"dialect": dialect, **({"raw": raw} if raw else {}), **({"geo": geo} if geo else {})}
    return decide(data, hit("pixel", {"headers": {"cookie": cookie} if cookie else {}}), SourceConsent())


def section(number: int, fields: dict[int, int], gpc: bool | None = None, length: int = 72) -> dict[int, str]:
    """A section with two-bit fields by offset, version 1."""
    bits = [0] * length
    bits[5] = 1
    for at, value in fields.items():
        bits[at], bits[at + 1] = value >> 1, value & 1
    text = "".join(map(str, bits))
    core = "".join(_ALPHABET[int(text[n : n + 6], 2)] for n in range(0, length, 6))
    return {number: core if gpc is None else f"{core}.{'YA' if gpc else 'QA'}"}


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("usnat opt-out", {7: "CVQVAAAAAACA.YA"}),
        ("usnat allowed", {7: "CVQqAAAAAACA.QA"}),
        ("usca opt-out", {8: "BUUAAACA.YA"}),
        ("usp and usva", {6: "1YNN", 9: "BFkAACA"}),
        ("europe", {2: GPP_TC, 6: "1N--"}),
        ("usin opt-out", {25: "BQVQ.AAA"}),
        ("usnat v1", {7: "BVQqAAAAAgA.QA"}),
    ],
)
def test_sections(name: str, sections: dict[int, str]) -> None:
    assert gpp.decode(GPP[name]) == sections


@pytest.mark.parametrize(("header", "ids"), [("DBABM", [2]), ("DBACNY", [2, 6]), ("DBABjw", [5, 6]), ("DBABLA", [7])])
def test_headers(header: str, ids: list[int]) -> None:
    assert gpp.section_ids(header) == ids


@pytest.mark.parametrize(
    ("name", "out", "source"),
    [
        ("usnat opt-out", True, "GPP usnat"),
        ("usnat allowed", False, "GPP usnat"),
        ("usca opt-out", True, "GPP usca"),
        ("usp and usva", True, "GPP usva"),
        ("europe", None, ""),
        ("usin opt-out", True, "GPP usin"),
        ("usnat v1", False, "GPP usnat"),
    ],
)
def test_opt_outs(name: str, out: bool | None, source: str) -> None:
    decision = block({"gpp": GPP[name]})
    assert decision.get("sale_opt_out") is out
    assert [one["name"] for one in decision["sources"] if "sale_opt_out" in one["purposes"]] == ([source] if source else [])


@pytest.mark.parametrize("number", sorted(gpp.US))
def test_every_state_has_its_own_places(number: int) -> None:
    layout = gpp.US[number]
    allowed = {layout.notice: 1, **dict.fromkeys(layout.opt_outs, 2)}
    assert gpp.opt_out(section(number, allowed)) == (False, gpp._name(number))
    for at in layout.opt_outs:
        assert gpp.opt_out(section(number, {**allowed, at: 1})) == (True, gpp._name(number))
    for n in range(layout.children[1] if number != 7 else 0):
        assert gpp.opt_out(section(number, {**allowed, layout.children[0] + 2 * n: 1})) == (True, gpp._name(number))
    assert gpp.opt_out(section(number, allowed, gpc=True)) == (layout.gpc, gpp._name(number))
    assert gpp.opt_out(section(number, {**allowed, layout.notice: 2})) is None


@pytest.mark.parametrize(
    ("sid", "out"),
    [(None, True), ("7", True), ("7_8", True), ("8", None), ("-1", None), ("7,8", True), ("2", None), ("junk", True)],
)
def test_only_sections_in_force_count(sid: str | None, out: bool | None) -> None:
    raw = {"gpp": GPP["usnat opt-out"], **({"gpp_sid": sid} if sid else {})}
    assert block(raw).get("sale_opt_out") is out


@pytest.mark.parametrize(
    ("state", "out"),
    [(None, (True, "usnat")), ("CA", (False, "usca")), ("TX", (True, "usnat"))],
)
def test_the_visitors_own_state_speaks_for_the_country(state: str | None, out: tuple[bool, str]) -> None:
    sections = {**section(7, {8: 1, 18: 1}), **section(8, {6: 1, 12: 2, 14: 2})}
    assert gpp.opt_out(sections, state) == out


def test_the_state_is_the_trusted_one() -> None:
    sections = {**section(7, {8: 1, 18: 1}), **section(8, {6: 1, 12: 2, 14: 2})}
    text = f"DBACLY~{sections[7]}~{sections[8]}"
    assert gpp.section_ids("DBACLY") == [7, 8]
    assert block({"gpp": text}, geo={"country": "US", "region": "CA"})["sale_opt_out"] is False
    assert block({"gpp": text}, geo={"country": "MX", "region": "CA"})["sale_opt_out"] is True
    assert block({"gpp": text})["sale_opt_out"] is True


def test_a_native_event_has_its_own_string() -> None:
    request = hit("json", {"body": {"name": "a", "consent": {"gpp": GPP["usnat opt-out"], "gpp_sid": "7"}}})
    [raw] = json.decode(request)
    normal = normalise(raw, request, RECEIVED)  # type: ignore[arg-type]
    assert isinstance(normal, Normalised)
    assert decide(normal.data, request, SourceConsent())["sale_opt_out"] is True


def test_a_string_in_onetrusts_cookie() -> None:
    assert block(cookie=f"OTGPPConsent={GPP['usca opt-out']}")["sale_opt_out"] is True


@pytest.mark.parametrize("text", NO_GPP)
def test_anything_else_is_no_string(text: str) -> None:
    decision = block({"gpp": text})
    assert (decision["sources"], "sale_opt_out" in decision) == ([], False)


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("1YNN", False),
        ("1YYN", True),
        ("1NYN", True),
        ("1---", None),
        ("1N--", None),
        ("1YN", None),
        ("", None),
        ("2YYN", None),
    ],
)
def test_us_privacy_strings(text: str, out: bool | None) -> None:
    assert gpp.us_privacy(text) is out
    assert block(cookie=f"usprivacy={text}").get("sale_opt_out") is out


def test_a_us_privacy_string_inside_json() -> None:
    assert block(cookie='usprivacy={"uspString":"1YYN","firstAcknowledgeDate":"x"}')["sale_opt_out"] is True
    for junk in ("{", '{"uspString":1}', "{}"):
        assert "sale_opt_out" not in block(cookie=f"usprivacy={junk}")


@settings(max_examples=300)
@given(st.text(alphabet=_ALPHABET + ".~", max_size=300), st.integers(0, 30))
def test_no_string_raises(tail: str, kept: int) -> None:
    sections = gpp.decode(GPP["usp and usva"][:kept] + tail)
    if sections:
        gpp.opt_out(sections)
    for number in gpp.US:
        gpp.opt_out({number: tail})
