"""`tagway new-destination`: what it writes is held by the contract of all vendors, and it never writes over anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tests.test_destinations as contract
from gateway.cli import main
from gateway.manifest import load_manifest
from tests import destination_kit as kit

NAME = "acme_of_a_test"


def checkout(folder: Path) -> Path:
    (folder / "destinations").mkdir(parents=True)
    (folder / "tests" / "golden").mkdir(parents=True)
    return folder


def begin(folder: Path, name: str = NAME, **changes: str) -> Result:
    given = {"url": "https://api.acme.example/v1/events", "docs": "https://acme.example/docs", "category": "ads", **changes}
    options = [word for key, value in given.items() for word in (f"--{key}", value)]
    return CliRunner().invoke(main, ["new-destination", name, *options, "--dir", str(folder)])


@pytest.fixture(params=["ads", "analytics"])
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    folder = checkout(tmp_path / "tagway")
    assert begin(folder, category=request.param).exit_code == 0
    monkeypatch.setattr("gateway.manifest.folder", lambda: folder / "destinations")
    monkeypatch.setattr(kit, "GOLDEN", folder / "tests" / "golden")
    monkeypatch.setitem(kit.SETTINGS, NAME, {"access_token": "s3cr3t-access-token"})
    load_manifest.cache_clear()
    kit._ready.cache_clear()
    yield NAME
    load_manifest.cache_clear()
    kit._ready.cache_clear()


def test_the_contract_of_all_vendors_holds_a_new_one(vendor: str) -> None:
    cases: list[dict[str, Any]] = kit.golden(vendor)
    checks = {
        "request": contract.test_an_event_becomes_this_request,
        "outcome": contract.test_an_event_ends_without_a_request,
        "reply": contract.test_a_reply_is_read_as,
    }
    held = [kind for case in cases for kind, check in checks.items() if kind in case and check(vendor, case) is None]
    assert sorted(held) == ["outcome", "outcome", "reply", "reply", "request"]
    contract.test_every_setting_has_a_help_text(vendor)
    contract.test_every_response_rule_has_a_case(vendor)
    if load_manifest(vendor).ads:
        contract.test_an_opt_out_of_sale_closes_ads_or_limits_them(vendor)
    contract.test_consent_that_is_not_granted_closes_the_gate(vendor, "denied")
    contract.test_two_people_never_share_an_envelope_that_names_one(vendor)


def test_it_names_the_files_and_the_next_command(tmp_path: Path) -> None:
    told = begin(checkout(tmp_path)).output
    assert f"wrote {tmp_path}/destinations/{NAME}.yaml" in told
    assert f'<a id="{NAME}"></a>' in told
    assert "make test-fast" in told


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("Acme", {}, "is no name of a vendor"),
        ("../acme", {}, "is no name of a vendor"),
        ("acme", {"url": "http://acme.example"}, "--url must be an https:// address"),
        ("acme", {"url": 'https://acme.example/"{$event.id}'}, "--url must be an https:// address"),
        ("acme", {"docs": "acme.example"}, "--docs must be an https:// address"),
        ("meta", {}, "is there already; nothing was written"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path: Path, name: str, changes: dict[str, str], words: str) -> None:
    folder = checkout(tmp_path)
    (folder / "destinations" / "meta.yaml").write_text("name: meta\n")
    before = sorted(folder.rglob("*"))
    made = begin(folder, name, **changes)
    assert (made.exit_code, words in made.output) == (1, True), made.output
    assert sorted(folder.rglob("*")) == before


def test_elsewhere_than_in_a_checkout_nothing_is_written(tmp_path: Path) -> None:
    made = begin(tmp_path)
    assert (made.exit_code, "is no checkout of Tagway" in made.output) == (1, True)
    assert list(tmp_path.iterdir()) == []
