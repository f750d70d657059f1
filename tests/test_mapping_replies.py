"""Reading replies: the built-in table over every status, the manifest's rules, partial failures, Retry-After."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
import pytest

from gateway.destination import Judgement, Reply, Verdict
from gateway.outcomes import FAILURE_REASONS
from tests.mapping_kit import batch_of, event_of, parts_of, plan_of, reply_of

BASE = "events: {purchase: {body: {id: $event.id}}}\nbatch: {max_events: 10, wrap: {data: $batch}}\n"
SUCCESS = range(200, 300)
RETRIED = {408, 425, 429, *range(500, 600)} - {501}
STATUSES = sorted({int(status) for status in HTTPStatus} | {419, 420, 430, 440, 460, 499, 509, 520, 522, 524, 529, 530, 599})


def read(reply: Reply, response: str = "", events: int = 3) -> list[Judgement]:
    plan = plan_of(BASE + response)
    parts = [parts_of(plan, event_of(id=f"e-{n}"))[0] for n in range(events)]
    found = plan.read(reply, batch_of(*parts))
    assert len(found) == events
    assert all(one.verdict is Verdict.DELIVERED or one.reason in FAILURE_REASONS for one in found)
    return found


def verdicts(reply: Reply, response: str = "", events: int = 3) -> list[str]:
    return [str(one.verdict) for one in read(reply, response, events)]


def expected(status: int, several: bool) -> str:
    if status in SUCCESS:
        return "delivered"
    if status in RETRIED or status < 400:
        return "retry"
    if status in (401, 403):
        return "pause"
    return "split" if several else "rejected"


def test_the_table_knows_every_status() -> None:
    assert len(STATUSES) >= 60


@pytest.mark.parametrize("status", STATUSES)
def test_built_in_table(status: int) -> None:
    assert verdicts(reply_of(status)) == [expected(status, True)] * 3
    assert verdicts(reply_of(status), events=1) == [expected(status, False)]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "auth"), (403, "auth"), (429, "rate"), (413, "too_large"), (400, "vendor_4xx"), (410, "vendor_4xx"),
        (500, "vendor_5xx"), (501, "vendor_5xx"), (503, "vendor_5xx"), (302, "vendor_code"),
    ],
)  # fmt: skip
def test_reasons(status: int, reason: str) -> None:
    assert {one.reason for one in read(reply_of(status))} == {reason}


@pytest.mark.parametrize("error", ["timeout", "connect", "tls", "dns"])
def test_what_never_arrived_is_tried_again(error: str) -> None:
    assert read(reply_of(0, error=error)) == [Judgement(Verdict.RETRY, error, error)] * 3


def test_the_vendors_words_are_kept() -> None:
    found = read(reply_of(400, "  bad\n  pixel "))[0]
    assert found.detail == "HTTP 400: bad pixel"
    assert len(read(reply_of(400, "x" * 5000))[0].detail) == 500


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "120"}, 120.0),
        ({"retry_after": " 0 "}, 0.0),
        ({"Retry_After": "86400"}, 3600.0),
        ({"Retry_After": "-5"}, 0.0),
        ({"Retry_After": "Tue, 24 Nov 2026 10:05:00 GMT", "Date": "Tue, 24 Nov 2026 10:00:00 GMT"}, 300.0),
        ({"Retry_After": "Tue, 24 Nov 2026 09:00:00 GMT", "date": "Tue, 24 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"Retry_After": "Wed, 25 Nov 2026 10:00:00 GMT", "Date": "Tue, 24 Nov 2026 10:00:00 GMT"}, 3600.0),
        ({"Retry_After": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert [one.retry_after for one in read(reply_of(503, **headers))] == [seconds] * 3
    assert [one.retry_after for one in read(reply_of(400, **headers))] == [None] * 3


RULES = """
response:
  - {status: 200, body: "not $res", then: retry}
  - {body: "$res.code == 40100", then: retry, reason: rate, error: $res.message, retry_after: $res.wait}
  - {body: "$res.code in [40001, 40101]", then: pause, error: $res.message}
  - {status: [400, 422], body: "$res.code == 7", then: rejected, error: "bad: ${$res.message}"}
  - {status: 4xx, body: "$res.code == 8", then: delivered}
  - {status: 500-503, body: "$res.error.fatal", then: split}
  - {status: 410, then: pause}
"""


@pytest.mark.parametrize(
    ("status", "body", "verdict", "reason", "detail"),
    [
        (200, "<html>", "retry", "vendor_code", "HTTP 200: <html>"),
        (200, '{"code": 0}', "delivered", "", ""),
        (200, '{"code": 40100, "message": "slow", "wait": 7}', "retry", "rate", "slow"),
        (200, '{"code": "40001", "message": "token"}', "pause", "auth", "token"),
        (422, '{"code": 7, "message": "m"}', "rejected", "vendor_code", "bad: m"),
        (404, '{"code": 8}', "delivered", "", ""),
        (502, '{"error": {"fatal": true}}', "split", "vendor_code", None),
        (504, '{"error": {"fatal": true}}', "retry", "vendor_5xx", None),
        (410, "", "pause", "vendor_4xx", "HTTP 410"),
        (403, "", "pause", "auth", "HTTP 403"),
        (404, "[]", "split", "vendor_4xx", None),
    ],
)
def test_rules_come_first(status: int, body: str, verdict: str, reason: str, detail: str | None) -> None:
    found = read(reply_of(status, body), RULES)
    assert [(str(one.verdict), one.reason) for one in found] == [(verdict, reason)] * 3
    if detail is not None:
        assert found[0].detail == detail
    if "wait" in body:
        assert found[0].retry_after == 7.0


def test_a_split_of_one_event_is_its_rejection() -> None:
    assert verdicts(reply_of(500, '{"error": {"fatal": true}}'), RULES, events=1) == ["rejected"]


PARTIAL = """response:
  - status: [200, 400]
    partial: {list: $res.errors, %s, error: $f.message, retryable: "$f.code in [1, 2]"%s}
"""


@pytest.mark.parametrize(
    ("match", "status", "errors", "made"),
    [
        ("index: $f.index", 200, [], "delivered delivered delivered"),
        ("index: $f.index", 200, [{"index": 1}], "delivered rejected delivered"),
        ("index: $f.index", 200, [{"index": "2", "code": 1}], "delivered delivered retry"),
        ("index: $f.index", 200, [{"index": 0}, {"index": 2, "code": "2"}], "rejected delivered retry"),
        ("index: $f.index", 200, [{"index": 3}], "split split split"),
        ("index: $f.index", 200, [{"message": "all of it"}], "split split split"),
        ("id: $f.event", 200, [{"event": "e-2"}], "delivered delivered rejected"),
        ("id: $f.event", 200, [{"event": "nobody"}], "split split split"),
        ("path: $f.path", 200, [{"path": "Batch.1.user.3"}], "delivered rejected delivered"),
        ("path: $f.path", 200, [{"path": "events[2].x"}], "delivered delivered rejected"),
        ("path: $f.path", 200, [{"path": "nowhere"}], "split split split"),
        ("index: $f.index", 200, {"index": 1}, "delivered rejected delivered"),
        ("index: $f.index", 400, [{"index": 1}], "delivered rejected delivered"),
        ("index: $f.index", 400, [], "split split split"),
    ],
)
def test_partial_failures(match: str, status: int, errors: Any, made: str) -> None:
    reply = Reply(status, {}, orjson.dumps({"errors": errors}))
    assert " ".join(verdicts(reply, PARTIAL % (match, ""))) == made


def test_the_rest_of_a_request_that_failed_as_a_whole_is_sent_again() -> None:
    reply = reply_of(400, '{"errors": [{"index": 0, "message": "no id"}]}')
    found = read(reply, PARTIAL % ("index: $f.index", ", rest: split"))
    assert [str(one.verdict) for one in found] == ["rejected", "split", "split"]
    assert found[0].detail == "no id"


def test_a_single_event_owns_every_failure() -> None:
    reply = reply_of(200, '{"errors": [{"message": "bad"}]}')
    found = read(reply, PARTIAL % ("path: $f.path", ""), events=1)
    assert found == [Judgement(Verdict.REJECTED, "vendor_code", "bad")]


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[[[", b"null", b'"text"', b"{}", b"5", b"\x00" * 100])
def test_odd_bodies_are_read_without_trouble(body: bytes) -> None:
    for status in (200, 302, 400, 500):
        read(Reply(status, {}, body), RULES)
        read(Reply(status, {}, body), PARTIAL % ("index: $f.index", ""))
