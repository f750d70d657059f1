"""Warnings: what works but surprises, above all a source that can never deliver as configured."""

import os
from datetime import date
from pathlib import Path

import pytest

import gateway.config.warnings as module
from gateway.config.load import load
from gateway.config.warnings import warnings
from gateway.manifest import Version, load_manifest

TODAY = date(2026, 11, 24)
META = 'type: meta\nsettings:\n  pixel_id: "1"\n  access_token: ${T}\n'
GA4 = 'type: ga4\nsettings:\n  measurement_id: "G-1"\n  api_secret: ${T}\n'


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(source: str = "", destination: str = META, top: str = "") -> list[str]:
    Path("configs/destinations").mkdir(parents=True)
    Path("configs/destinations/meta.yaml").write_text(destination)
    Path("configs/gateway.yaml").write_text(
        f"sources:\n  shop:\n    hosts: [t.shop.example]\n{source}destinations: destinations/\n{top}"
    )
    found = warnings(load(Path("configs/gateway.yaml"), {"T": "t"}), TODAY)
    assert all(problem.warning for problem in found)
    return [str(problem) for problem in found]


def test_a_sound_configuration_gives_none() -> None:
    assert told() == []


CONSENT = "    consent:\n"


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [
        (CONSENT + "      read: []\n", META, "meta can never receive from shop: it requires ad_storage, ad_user_data, and "
         "sources.shop.consent reads no signal, which cannot grant that"),
        (CONSENT + "      read: [tcf]\n", META, "meta can never receive from shop, which reads only tcf: "
         "meta has no TCF vendor id; set consent.tcf_vendor, or consent.purposes_only: true"),
        (CONSENT + "      read: [tcf, gcs]\n", GA4 + "consent:\n  requires: [functional]\n",
         "it requires functional, and sources.shop.consent reads only tcf, gcs"),
        (CONSENT + "      read: []\n      unknown: jurisdiction\n", META, "no country is known: set geo.country_header"),
        (CONSENT + "      unknown: jurisdiction\n      jurisdiction: opt_in\n", META, "is the same as unknown: denied"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_deliver_is_told(source: str, destination: str, words: str) -> None:
    assert any(words in line for line in told(source, destination))


@pytest.mark.parametrize(
    ("source", "destination", "top"),
    [
        (CONSENT + "      read: [tcf]\n", META + "consent:\n  purposes_only: true\n", ""),
        (CONSENT + "      read: [tcf]\n", META + "consent:\n  tcf_vendor: 89\n", ""),
        (CONSENT + "      read: [tcf, own]\n", META, ""),
        (CONSENT + "      read: []\n      unknown: jurisdiction\n      jurisdiction: opt_out\n", META, ""),
        (CONSENT + "      read: []\n      unknown: jurisdiction\n", META, "geo:\n  country_header: CF-IPCountry\n"),
        (CONSENT + "      read: []\n", META + "consent:\n  requires: []\n", ""),
        (CONSENT + "      read: []\n", META + "mode: off\n", ""),
    ],
)
def test_a_source_that_can_deliver_is_not(source: str, destination: str, top: str) -> None:
    assert told(source, destination, top) == []


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [
        ("    write_keys: [sk_live_4242424242424242]\n", META, "a key looks like a secret"),
        ("    write_keys: [0123456789abcdef0123456789abcdef]\n", META, "a key looks like a secret"),
        ("    origins: ['http://shop.example']\n", META, "http://shop.example is without https"),
        ("", META + "share: 0\n", "configs/destinations/meta.yaml:5: share is 0: every event ends as skipped{share}"),
        ("", META + "mode: test\n", "configs/destinations/meta.yaml:5: mode: test marks every event as a test event"),
        ("", META + "limits:\n  max_age: 30d\n", "limits.max_age is longer than meta accepts; its own 7d hold"),
        ("", META + "limits:\n  max_age: off\n", "limits.max_age: off sends events that the vendor may refuse"),
        (
            "  blog:\n    hosts: [t.blog.example]\n",
            META + "sources: [shop]\n",
            "no destination takes what the source blog",
        ),
        ("  blog: {}\n", META + "sources: [shop, blog]\n", "sources.blog has no hosts and no keys: no hit can name it"),
        ("lab: true\n", META, "lab is true and listen is 0.0.0.0:8080"),
        (
            "config_errors: hold\n",
            META + "mode: lve\n",
            "destination meta is left out: configs/destinations/meta.yaml:5: mode must be",
        ),
    ],
)
def test_surprises_are_told(source: str, destination: str, words: str) -> None:
    assert any(words in line for line in told(source, destination))


@pytest.mark.parametrize("key", ["wk_shop_7f3k2m", "shop", "wk_0123456789abcdef0123456789abcdef"])
def test_a_usual_write_key_is_no_secret(key: str) -> None:
    assert (
        told(f"    write_keys: [{key}]\n    origins: ['http://localhost:8080', 'http://[::1]:1', 'https://a.example']\n") == []
    )


@pytest.mark.parametrize(
    ("day", "words"),
    [
        ("2026-11-24", "the token ended on 2026-11-24 (token_expires); its events then wait"),
        ("2026-12-01", "the token ends on 2026-12-01 (token_expires); its events then wait"),
        ("2026-12-02", None),
    ],
)
def test_the_end_of_a_token_is_told_a_week_ahead(day: str, words: str | None) -> None:
    assert [line.split(": ", 1)[1] for line in told(destination=f"{META}token_expires: {day}\n")] == ([words] if words else [])


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (date(2026, 11, 24), "meta v1 ended on 2026-11-24; update Tagway"),
        (date(2026, 12, 24), "meta v1 ends on 2026-12-24, in 30 days; update Tagway"),
        (date(2027, 6, 1), None),
        (None, None),
    ],
)
def test_the_end_of_an_api_version_is_told_in_time(
    ends: date | None, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = load_manifest("meta").model_copy(update={"version": Version(api="v1", ends=ends)})
    monkeypatch.setattr(module, "load_manifest", lambda _: manifest)
    assert [line.split(": ", 1)[1] for line in told()] == ([words] if words else [])


def test_the_day_comes_from_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load_manifest("meta").model_copy(update={"version": Version(api="v1", ends=date(2030, 1, 1))})
    monkeypatch.setattr(module, "load_manifest", lambda _: manifest)
    assert told() == []
    monkeypatch.setitem(os.environ, "TAGWAY_NOW", "2030-06-01T00:00:00Z")
    assert "ended on 2030-01-01" in str(warnings(load(Path("configs/gateway.yaml"), {"T": "t"}))[0])
