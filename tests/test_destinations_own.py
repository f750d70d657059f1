"""What single vendors do beyond the common contract."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import orjson

from gateway.destination import Batch, Reply
from tests import destination_kit as kit

CLIENT = {"ids": {"ga_client_id": "1098115397.1795514300"}}


def test_ga4_shows_the_sampled_event_to_the_validation_endpoint() -> None:
    one = kit.ready("ga4", {"validate_sample": 1, "region": "eu"})
    asked = one.plan.validation(kit.batch_of(one, 2), kit.NOW)
    assert asked is not None
    assert asked.url.startswith("https://region1.google-analytics.com/debug/mp/collect?")
    body = orjson.loads(asked.body)
    assert body["validation_behavior"] == "ENFORCE_RECOMMENDATIONS"
    assert len(body["events"]) == 1
    reply = Reply(
        200, {}, b'{"validationMessages":[{"fieldPath":"events","description":"bad","validationCode":"NAME_INVALID"}]}'
    )
    assert len(one.plan.complaints(reply)) == 1
    assert one.plan.complaints(Reply(200, {}, b'{"validationMessages":[]}')) == []


def test_ga4_samples_one_event_in_fifty_always_the_same_ones() -> None:
    one = kit.ready("ga4")
    part = kit.parts(one, {"name": "login", **CLIENT})[0]
    named = [replace(part, id=f"e-{n}") for n in range(2000)]
    asked = [one_part for one_part in named if one.plan.validation(Batch(part.envelope, (one_part,)), kit.NOW)]
    assert 15 <= len(asked) <= 80
    off = kit.ready("ga4", {"validate_sample": 0})
    assert off.plan.validation(kit.batch_of(off, 1), kit.NOW) is None


def test_ga4_never_puts_two_consents_clients_or_addresses_into_one_request() -> None:
    one = kit.ready("ga4")
    base = {"name": "login", **CLIENT, "device": {"ip": "203.0.113.7"}}
    same = {kit.parts(one, {**base, "id": f"e-{n}"})[0].envelope.key for n in range(3)}
    assert len(same) == 1
    others = (
        {**base, "consent": {**kit.GRANTED, "ad_user_data": "denied"}},
        {**base, "device": {"ip": "203.0.113.8"}},
        {**base, "ids": {"ga_client_id": "2.2"}},
        {**base, "user": {"id": "u-1"}},
    )
    assert len(same | {kit.parts(one, other)[0].envelope.key for other in others}) == 5


def test_a_webhook_batch_is_one_array_with_one_key_for_its_ids() -> None:
    one = kit.ready("webhook", {"secret": ["s3cr3t-one"]}, {"batch": {"max_events": 10, "wrap": "$batch"}})
    batch = kit.batch_of(one, 3)
    first, again = (one.destination.request(batch, kit.NOW) for _ in range(2))
    assert [event["id"] for event in orjson.loads(first.body)] == ["e-1", "e-2", "e-3"]
    assert first.headers["X-Event-Id"] == "e-1, e-2, e-3"
    assert first.headers["Idempotency-Key"] == hashlib.sha256(b"e-1\ne-2\ne-3").hexdigest() == again.headers["Idempotency-Key"]


def test_a_webhook_signature_covers_the_exact_bytes() -> None:
    one = kit.ready("webhook", {"secret": ["s3cr3t-one"]})
    made = kit.request(one, kit.parts(one, kit.FULL))
    stamp, digest = (piece.split("=")[1] for piece in made.headers["X-Signature-256"].split(","))
    assert digest == hmac.new(b"s3cr3t-one", stamp.encode() + b"." + made.body, hashlib.sha256).hexdigest()
    assert int(stamp) == int(kit.NOW)


def test_ids_that_do_not_fit_a_header_are_cut_between_ids() -> None:
    one = kit.ready("webhook", file={"batch": {"max_events": 100, "wrap": "$batch"}})
    made = one.destination.request(kit.batch_of(one, 100, {"name": "login", "id": "x"}), kit.NOW)
    listed = made.headers["X-Event-Id"].split(", ")
    assert len(made.headers["X-Event-Id"]) <= 900
    assert listed == [f"e-{n + 1}" for n in range(len(listed))]
