"""Manifests: what is static in them is checked when they are read, and their settings become a model."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from gateway.errors import ConfigErrors
from gateway.manifest import Manifest, discover, folder, load_manifest, read_manifest, revealed, settings_model

ACME = """\
name: acme
category: ads
docs: https://developers.acme.example/conversions
version: {api: v3, since: 2025-10-01, ends: null}
settings:
  pixel_id: {type: str, required: true}
  token: {type: str, required: true, secret: true}
  region: {type: str, enum: [us, eu], default: us}
  sample: {type: int, default: 50, min: 0, max: 1000}
  rate: {type: float}
  strict: {type: bool, default: false}
  names: {type: list, default: [a, b]}
  types: {type: map}
  keys: {type: list, secret: true}
  headers: {type: map, secret: true}
  account: {type: str, pattern: "[0-9]+", help: Account settings}
endpoint: {method: POST, url: "https://api.acme.example/v3/${$setting.pixel_id}", body: json}
auth: {kind: bearer, token: $setting.token}
limits: {max_age: 7d, future: 1m, max_event_bytes: 20000}
dedup: {keys: [name, id], window: 48h}
confirms: event
consent:
  requires: [ad_storage, ad_user_data]
  limit: {data_use: limited}
events:
  purchase:
    name: Purchase
"""


def manifest(tmp_path: Path, text: str = ACME, name: str = "acme") -> Manifest:
    path = tmp_path / f"{name}.yaml"
    path.write_text(text)
    return read_manifest(path, f"destinations/{name}.yaml")


def test_every_file_of_the_package_is_a_vendor() -> None:
    assert {"meta", "ga4", "tiktok", "webhook"} <= set(discover())
    assert list(discover()) == sorted(discover())
    assert folder().name == "destinations"


@pytest.mark.parametrize("name", discover())
def test_a_shipped_manifest_reads_and_is_cached(name: str) -> None:
    found = load_manifest(name)
    assert found.name == name
    assert found.tree["name"] == name
    assert load_manifest(name) is found


def test_an_unknown_vendor_is_told_with_a_hint() -> None:
    with pytest.raises(ConfigErrors, match=r'"mata" is not a destination; did you mean meta\?'):
        load_manifest("mata")


def test_what_is_static_is_typed_and_the_rest_stays_a_tree(tmp_path: Path) -> None:
    acme = manifest(tmp_path)
    assert (acme.limits.max_age, acme.limits.future, acme.dedup.window) == (604800.0, 60.0, 172800.0)
    assert acme.version is not None
    assert str(acme.version.since) == "2025-10-01"
    assert acme.consent.limit == {"data_use": "limited"}
    assert acme.consent.anonymous is None
    assert acme.ads
    assert not acme.sends_unlisted
    assert acme.tree["events"]["purchase"].marks["name"].line == 27


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: acme", "name: acne", ':1: name is "acne" and the file is acme.yaml'),
        ("category: ads", "category: ad", ":2: category must be ads, analytics, crm, attribution, cdp, messaging or stream"),
        ("docs: https://", "docs: http://", ":3: docs must be the https:// address of the vendor's documentation"),
        ("since: 2025-10-01", "since: 1.10.2025", ":4: version.since must be a date such as 2026-11-24"),
        ("pixel_id: {type: str", "pixel_id: {type: string", ":6: settings.pixel_id.type must be str, int, float, bool, list"),
        ("pixel_id: {", "pixelId: {", ":6: settings.pixelId: a setting's name has small letters, digits and underscores"),
        ("secret: true}", "secret: true, default: x}", ":7: settings.token has a default, so it can be neither secret nor"),
        ("default: us", "default: su", ":8: settings.region.default does not fit its own declaration"),
        ("default: 50", "default: 5000", ":9: settings.sample.default does not fit its own declaration"),
        ("default: false", "default: maybe", ":11: settings.strict.default does not fit its own declaration"),
        ('"[0-9]+"', '"[0-9"', ":16: settings.account has a pattern that is no regular expression"),
        ("max_age: 7d", "max_age: week", ":19: limits.max_age must be a duration such as 30s, 15m, 72h or 7d"),
        ("max_event_bytes: 20000", "max_event_bytes: 0", ":19: limits.max_event_bytes must be at least 1"),
        ("confirms: event", "confirms: evnt", ":21: confirms must be event, request or none; did you mean event?"),
        ("confirms: event\n", "", "destinations/acme.yaml: confirms is missing"),
        ("requires: [ad_storage", "requires: [ads_storage", ":23: consent.requires[0] must be ad_storage, ad_user_data"),
        ("limits:", "limit:", ":19: limit is not a known key; did you mean limits?"),
        ("events:", "tree: {}\nevents:", ":25: tree is not a known key"),
    ],
)
def test_a_mistake_in_a_manifest_is_told_by_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        manifest(tmp_path, ACME.replace(old, new, 1))
    assert message in str(caught.value)


def test_the_settings_become_a_model(tmp_path: Path) -> None:
    model = settings_model(manifest(tmp_path))
    made = model.model_validate(
        {"pixel_id": "1", "token": "t", "sample": "7", "keys": "one", "headers": {"A": "b"}, "types": {"a": "b"}}
    )
    assert made.model_dump() == {
        "pixel_id": "1", "token": SecretStr("t"), "region": "us", "sample": 7, "rate": None, "strict": False,
        "names": ["a", "b"], "types": {"a": "b"}, "keys": [SecretStr("one")], "headers": {"A": SecretStr("b")}, "account": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("region", "asia"), ("sample", "1001"), ("sample", "-1"), ("rate", "inf"), ("rate", "x"), ("strict", "maybe"),
        ("account", "12a"), ("account", "12\n"), ("pixel", "1"), ("types", "x"), ("pixel_id", ["1"]),
    ],
)  # fmt: skip
def test_a_value_outside_its_declaration_is_refused(tmp_path: Path, setting: str, value: object) -> None:
    with pytest.raises(ValidationError):
        settings_model(manifest(tmp_path)).model_validate({"pixel_id": "1", "token": "t", setting: value})


def test_secrets_are_shown_to_nobody_but_the_request() -> None:
    settings = {
        "token": SecretStr("very-secret"),
        "keys": [SecretStr("very-secret")],
        "headers": {"A": SecretStr("very-secret")},
        "n": 1,
    }
    assert "very-secret" not in repr(settings)
    assert revealed(settings) == {"token": "very-secret", "keys": ["very-secret"], "headers": {"A": "very-secret"}, "n": 1}
