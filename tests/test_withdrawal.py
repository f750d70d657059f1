"""Withdrawals: whom they find, for which purposes, and from when to when they hold."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from gateway.consent.gate import Need
from gateway.consent.withdrawal import subjects, withdrawn, withdrawn_purposes

_SALT = b"salt-of-this-store"
_AT = "was withdrawn at 1970-01-01T00:01:"
_ADS = Need(("ad_storage", "ad_user_data"), ads=True)


def people(data: dict[str, Any], source: str = "shop", salt: bytes = _SALT) -> set[bytes]:
    return set(subjects(salt, source, data))


@pytest.mark.parametrize(
    ("chosen", "event"),
    [
        ({"user": {"id": "u-1"}}, {"user": {"id": "u-1", "email": "x@shop.example"}}),
        ({"user": {"anonymous_id": "a"}}, {"user": {"anonymous_id": "a"}}),
        ({"user": {"email": "Ada@Shop.example "}}, {"user": {"email": "ada@shop.example"}}),
        ({"user": {"email": "ada@shop.example"}}, {"user": {"email": ["bob@shop.example", "ADA@shop.example"]}}),
        ({"user": {"email": "ada@shop.example"}}, {"user": {"email": sha256(b"ada@shop.example").hexdigest()}}),
        ({"user": {"email": sha256(b"ada@shop.example").hexdigest().upper()}}, {"user": {"email": "ADA@shop.example"}}),
        ({"user": {"phone": "+49 (170) 123-45"}}, {"user": {"phone": "4917012345"}}),
        ({"user": {"phone": "0049 170 12345"}}, {"user": {"phone": 4917012345}}),
        ({"ids": {"ga_client_id": "1.2"}}, {"ids": {"ga_client_id": "1.2", "fbp": "x"}}),
        ({"ids": {"fbp": "fb.1.5.6"}}, {"ids": {"fbp": "fb.1.5.6"}}),
        ({"ids": {"klaviyo_profile_id": "k"}}, {"ids": {"klaviyo_profile_id": "k"}}),
    ],
)
def test_a_choice_finds_the_persons_events(chosen: dict[str, Any], event: dict[str, Any]) -> None:
    assert people(chosen) & people(event)


@pytest.mark.parametrize(
    ("chosen", "event"),
    [
        ({"user": {"id": "a"}}, {"user": {"anonymous_id": "a"}}),
        ({"user": {"id": "a"}}, {"user": {"id": "A"}}),
        ({"user": {"email": "ada@shop.example"}}, {"user": {"email": "bob@shop.example"}}),
        ({"ids": {"fbp": "x"}}, {"ids": {"ttp": "x"}}),
        ({"ids": {"ga_session_id": "1700000000"}}, {"ids": {"ga_session_id": "1700000000"}}),
        ({"user": {"phone": "-"}}, {"user": {"phone": "+"}}),
        ({"user": {"id": ""}}, {"user": {"id": ""}}),
    ],
)
def test_a_choice_finds_nobody_else(chosen: dict[str, Any], event: dict[str, Any]) -> None:
    assert not people(chosen) & people(event)


def test_an_anonymous_event_has_no_subjects() -> None:
    assert people({}) == set()
    assert people({"user": {"traits": {"plan": "pro"}}, "ids": {}}) == set()


def test_subjects_differ_by_source_and_salt_and_show_nothing() -> None:
    data = {"user": {"id": "u-1"}}
    assert not people(data, source="blog") & people(data)
    assert not people(data, salt=b"other") & people(data)
    assert all(len(subject) == 16 for subject in people(data))


@pytest.mark.parametrize("salt", [b"", b"s", b"s" * 64, b"s" * 100])
def test_any_salt_will_do(salt: bytes) -> None:
    assert len(people({"user": {"id": "u"}}, salt=salt)) == 1


@pytest.mark.parametrize(
    ("received", "purposes", "need", "sentence"),
    [
        # held: for what was received before and after
        (50.0, {"ad_storage": (100.0, 0.0)}, _ADS, f"ad_storage {_AT}40.000Z"),
        (150.0, {"ad_storage": (100.0, 0.0)}, _ADS, f"ad_storage {_AT}40.000Z"),
        # lifted: what was received up to then stays withdrawn
        (50.0, {"ad_user_data": (100.0, 200.0)}, _ADS, f"ad_user_data {_AT}40.000Z"),
        (200.0, {"ad_user_data": (100.0, 200.0)}, _ADS, f"ad_user_data {_AT}40.000Z"),
        (200.1, {"ad_user_data": (100.0, 200.0)}, _ADS, None),
        # only what the destination needs
        (150.0, {"analytics_storage": (100.0, 0.0)}, _ADS, None),
        (150.0, {"ad_storage": (100.0, 0.0)}, Need(()), None),
        (201.0, {"ad_storage": (100.0, 200.0), "ad_user_data": (99.0, 0)}, _ADS, f"ad_user_data {_AT}39.000Z"),
    ],
)  # fmt: skip
def test_how_long_a_withdrawal_holds(
    received: float, purposes: dict[str, tuple[float, float]], need: Need, sentence: str | None
) -> None:
    who = subjects(_SALT, "shop", {"user": {"id": "u-1", "email": "ada@shop.example"}})
    assert withdrawn(received, who, need, {who[-1]: purposes}) == sentence


def test_nobody_withdrew() -> None:
    who = subjects(_SALT, "shop", {"user": {"id": "u-1"}})
    assert withdrawn(1.0, who, _ADS, {}) is None
    assert withdrawn(1.0, who, _ADS, {b"someone else": {"ad_storage": (1.0, 0.0)}}) is None
    assert withdrawn(1.0, [], _ADS, {who[0]: {"ad_storage": (1.0, 0.0)}}) is None


@pytest.mark.parametrize(
    ("received", "expected"),
    [(50.0, {"ad_storage", "analytics_storage"}), (200.0, {"ad_storage", "analytics_storage"}), (201.0, {"ad_storage"})],
)
def test_withdrawn_purposes_of_a_new_event(received: float, expected: set[str]) -> None:
    who = subjects(_SALT, "shop", {"user": {"id": "u-1"}, "ids": {"fbp": "x"}})
    table = {who[0]: {"ad_storage": (100.0, 0.0)}, who[1]: {"analytics_storage": (100.0, 200.0)}}
    assert withdrawn_purposes(received, who, table) == expected
