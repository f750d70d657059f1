"""Conformance: what mature peers' own test suites expect of four vendors, sent through the real front door.

The cases lie beside the checkout (tests/conformance/cases.py). A case passes when no must-match rule is broken; at least
95 % must, per destination, of the cases that are tagged neither custom-mapping nor explicit-mapping. Two kinds of cases ask
for what Tagway refuses to do and are reported, not counted: see `by_design`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import cases, runner
from tests.conformance.cases import Case
from tests.conformance.compare import Result, unwrap

BAR = 0.95
DESTINATIONS = ("meta", "ga4", "tiktok", "webhook")
_HASH = re.compile(r"[0-9a-f]{64}")

MISMATCHES = {
    "rudder-meta-product-list-viewed-7c6e289c": "`hashed: true` lets a raw address out there; we hash what is no hash",
    "segment-ga4-product-removed-b3d703f7": "null in a patch takes a field away; the peer refuses the whole event",
}
"""Counted cases that do not match, and why. An entry whose case matches is out of date and fails the test."""


def by_design(case: Case) -> str | None:
    """Why a case asks for what Tagway does not do, by rule; None for all others."""
    if case.destination == "webhook":
        if any(key in case.event for key in ("fullPath", "appendPath", "header")):
            return "an address or a header never comes from an event"
        if any("x-signature" in (request.get("headers") or {}) for request in case.requests):
            return "the peer signs with SHA-1; ours is HMAC-SHA256 with a time"
    if case.config.get("hash_user_data") is False and _raw_identity(case):
        return "personal identifiers are hashed unless they arrive hashed"
    return None


def _raw_identity(case: Case) -> bool:
    events = [event for request in case.requests for event in unwrap(request.get("json"))]
    users = [event.get("user") or {} for event in events]
    given = [user.get(key) for user in users for key in ("email", "phone", "external_id")]
    values: list[Any] = [one for value in given for one in (value if isinstance(value, list) else [value])]
    return any(value and not _HASH.fullmatch(str(value)) for value in values)


def report(results: list[Result]) -> str:
    """What differs, case by case."""
    lines = []
    for result in results:
        case = result.case
        if result.ok:
            continue
        reason = by_design(case) or MISMATCHES.get(case.id) or ("not counted" if not case.counts else "")
        lines.append(f"{case.id}: {reason or 'NOT EXPLAINED'}")
        lines.extend(f"    {difference}" for difference in result.must)
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("destination", DESTINATIONS)
async def test_peers_cases_match(destination: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = await runner.run(cases.load(destination), tmp_path)
    counted = [result for result in results if result.case.counts and not by_design(result.case)]
    passed = sum(result.ok for result in counted)
    optional = [result for result in results if not result.case.counts]
    taste = sum(len(result.taste) for result in results)
    score = (
        f"{destination}: {passed} of {len(counted)} match ({passed / len(counted):.1%}); "
        f"{sum(bool(by_design(r.case)) and r.case.counts for r in results)} refused by design; "
        f"optional: {sum(r.ok for r in optional)} of {len(optional)}; differences of taste: {taste}"
    )
    with capsys.disabled():
        print(f"\n{score}\n{report(results)}")
    assert passed >= BAR * len(counted), f"{score}\n{report(results)}"
    matching = [result.case.id for result in counted if result.ok and result.case.id in MISMATCHES]
    assert not matching, f"these match now, take them out of MISMATCHES: {matching}"
