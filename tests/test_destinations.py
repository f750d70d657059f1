"""One contract, held by every vendor: a new one is tested before its author writes a test.

The vendor brings its manifest, golden cases and a section of docs/destinations.md; everything else here is generated.
Snapshots of what each rule makes of a smallest and of a full event lie in tests/golden/snapshots; after a wanted change
they are written anew with SNAPSHOTS=write.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.consent.gate import refuses
from gateway.deliver.transport import AiohttpTransport
from gateway.destination import Reply, Verdict
from gateway.errors import ConfigErrors
from gateway.manifest import discover, load_manifest
from gateway.mapping.replies import compile_replies
from gateway.mapping.scope import Scope
from gateway.outcomes import FAILURE_REASONS, Ending
from gateway.plans import Ready
from tests import destination_kit as kit
from tests.vendor import Play, Vendor

VENDORS = tuple(discover())
DOCS = Path(__file__).parents[1] / "docs" / "destinations.md"
SNAPSHOTS = kit.GOLDEN / "snapshots"
EMPTY_HASHES = (
    b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"da39a3ee5e6b4b0d3255bfef95601890afd80709",
    b"d41d8cd98f00b204e9800998ecf8427e",
)
CODES = (
    200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406,
    407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501,
    502, 503, 504, 505, 506, 507, 508, 509, 510, 511, 520, 522, 524, 529,
)  # fmt: skip
OWN_STATUS: dict[str, dict[int, str]] = {
    # Not the code's own answer but that of something in between: Meta's always holds an error object.
    "meta": dict.fromkeys((400, 401, 403, 404), "retry"),
    # A status says nothing about the secret here.
    "ga4": dict.fromkeys((401, 403), "rejected"),
    # TikTok answers 200 with JSON, whatever happens.
    "tiktok": {200: "retry"},
    # Gone: the receiver wants nothing more.
    "webhook": {410: "pause"},
}
"""Where a vendor's empty-bodied reply is read otherwise than by the shared table, and why."""


def shared(status: int) -> str:
    """The shared status table for a request of one event (design of retries), written down a second time."""
    if 200 <= status < 300:
        return "delivered"
    if status in (408, 425, 429) or 300 <= status < 400 or (status >= 500 and status != 501):
        return "retry"
    return "pause" if status in (401, 403) else "rejected"


def cases(kind: str) -> list[Any]:
    """Golden cases that have a key, as parameters whose id is the sentence that fails."""
    return [
        pytest.param(vendor, case, id=f"{vendor}: {case['name']}")
        for vendor in VENDORS
        for case in kit.golden(vendor)
        if kind in case
    ]


def one_of(vendor: str, case: dict[str, Any]) -> Ready:
    return kit.ready(vendor, case.get("settings"), case.get("file"))


# -- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_has_all_its_files(vendor: str) -> None:
    assert (kit.GOLDEN / f"{vendor}.yaml").is_file(), f"tests/golden/{vendor}.yaml is missing"
    assert f'<a id="{vendor}"></a>' in DOCS.read_text(), f"docs/destinations.md has no section for {vendor}"
    assert vendor in kit.SETTINGS, f"tests/destination_kit.py says nothing of the settings that {vendor} needs"
    code = discover()[vendor].with_suffix(".py").is_file()
    assert load_manifest(vendor).code == code, f"destinations/{vendor}.py and `code:` of the manifest disagree"


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_docs_name_every_setting_and_every_event(vendor: str) -> None:
    text = DOCS.read_text()
    section = text.split(f'<a id="{vendor}"></a>')[1].split('<a id="')[0]
    manifest = load_manifest(vendor)
    for word in (*manifest.settings, *manifest.tree["events"]):
        assert f"`{word}`" in section, f"docs/destinations.md: the section of {vendor} does not name `{word}`"


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_setting_has_a_help_text(vendor: str) -> None:
    without = [name for name, spec in load_manifest(vendor).settings.items() if not (spec.help or spec.enum)]
    assert not without


# -- golden cases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vendor", "case"), cases("request"))
def test_an_event_becomes_this_request(vendor: str, case: dict[str, Any]) -> None:
    one = one_of(vendor, case)
    assert refuses(kit.event(case["event"]).data["consent"], one.need) is None
    assert not one.plan.loops(kit.event(case["event"]))
    assert one.plan.filtered(kit.event(case["event"]), kit.NOW) is None
    made = kit.request(one, kit.parts(one, case["event"]))
    wanted = case["request"]
    assert (made.method, made.url, dict(made.headers)) == (wanted["method"], wanted["url"], wanted["headers"])
    if "json" in wanted:
        assert orjson.loads(made.body) == wanted["json"]
    else:
        assert made.body.decode() == wanted.get("text", "")


@pytest.mark.parametrize(("vendor", "case"), cases("outcome"))
def test_an_event_ends_without_a_request(vendor: str, case: dict[str, Any]) -> None:
    one = one_of(vendor, case)
    event = kit.event(case["event"])
    outcome, reason = next(iter(case["outcome"].items()))
    assert outcome == "skipped"
    if reason == "loop":
        assert one.plan.loops(event)
    elif reason == "consent":
        assert refuses(event.data["consent"], one.need)
    elif reason == "filter":
        assert one.plan.filtered(event, kit.NOW)
    else:
        made = one.plan.parts(event, kit.NOW)
        assert isinstance(made, Ending)
        assert kit.described(made) == case["outcome"]


@pytest.mark.parametrize(("vendor", "case"), cases("reply"))
def test_a_reply_is_read_as(vendor: str, case: dict[str, Any]) -> None:
    one = kit.ready(vendor)
    for count, wanted in ((1, [case["alone"]]), (2, case["of_two"])):
        judged = one.destination.verdicts(kit.reply(case["reply"]), kit.batch_of(one, count))
        assert [f"{judgement.verdict.value} {judgement.reason}".strip() for judgement in judged] == wanted


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_response_rule_has_a_case(vendor: str) -> None:
    plan = kit.ready(vendor).plan
    rules = compile_replies(plan.tree.get("response"), plan.context)._rules  # type: ignore[attr-defined]
    met: set[int] = set()
    for case in kit.golden(vendor):
        if "reply" not in case or "error" in case["reply"]:
            continue
        reply = kit.reply(case["reply"])
        scope = Scope({})
        scope.reply = reply.json() if reply.body else None
        met.update([next((index for index, rule in enumerate(rules) if rule.matches(reply.status, scope)), -1)])
    assert set(range(len(rules))) <= met, f"rules without a case in tests/golden/{vendor}.yaml: {set(range(len(rules))) - met}"


# -- replies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", CODES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_status_is_read_by_the_table(vendor: str, status: int) -> None:
    one = kit.ready(vendor)
    wanted = OWN_STATUS.get(vendor, {}).get(status, shared(status))
    (alone,) = one.destination.verdicts(Reply(status), kit.batch_of(one, 1))
    assert alone.verdict.value == wanted
    assert alone.reason in ((*FAILURE_REASONS, "") if wanted == "delivered" else FAILURE_REASONS)
    of_three = one.destination.verdicts(Reply(status), kit.batch_of(one, 3))
    assert len(of_three) == 3
    assert {judgement.verdict.value for judgement in of_three} == {"split" if wanted == "rejected" else wanted}


@pytest.mark.parametrize("error", ["timeout", "connect", "tls", "dns"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_network_error_is_tried_again(vendor: str, error: str) -> None:
    one = kit.ready(vendor)
    judged = one.destination.verdicts(Reply(0, error=error), kit.batch_of(one, 2))
    assert [(judgement.verdict, judgement.reason) for judgement in judged] == [(Verdict.RETRY, error)] * 2


@pytest.mark.parametrize("vendor", VENDORS)
def test_retry_after_is_kept(vendor: str) -> None:
    one = kit.ready(vendor)
    judged = one.destination.verdicts(Reply(429, {"Retry-After": "7"}), kit.batch_of(one, 1))
    assert judged[0].retry_after == 7.0


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"1", b'"text"', b"{", b"<html>", b'{"error":1}', b'{"code":"x"}', b"\xff"]
)
@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("vendor", VENDORS)
def test_an_odd_reply_gives_one_judgement_per_event(vendor: str, status: int, body: bytes) -> None:
    one = kit.ready(vendor)
    judged = one.destination.verdicts(Reply(status, {}, body), kit.batch_of(one, 2))
    assert len(judged) == 2
    assert all(judgement.verdict is Verdict.DELIVERED or judgement.reason in FAILURE_REASONS for judgement in judged)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_vendor_that_hangs_is_tried_again(vendor: str) -> None:
    upstream = await Vendor().start()
    upstream.answers(Play(fault="hang"))
    file = {} if vendor == "webhook" else {"endpoint": upstream.url("")}
    one = kit.ready(vendor, {"url": upstream.url()} if vendor == "webhook" else None, {**file, "allow_http": True})
    transport = AiohttpTransport(one.config, total=0.1)
    try:
        batch = kit.batch_of(one, 1)
        reply = await transport.send(one.destination.request(batch, kit.NOW))
        (judged,) = one.destination.verdicts(reply, batch)
    finally:
        await transport.close()
        await upstream.stop()
    assert (judged.verdict, judged.reason) == (Verdict.RETRY, "timeout")
    assert len(upstream.seen) == 1


# -- consent -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["denied", "unknown"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_consent_that_is_not_granted_closes_the_gate(vendor: str, choice: str) -> None:
    one = kit.ready(vendor)
    assert one.need.requires, "a vendor that requires nothing would get everything"
    assert refuses(kit.GRANTED, one.need) is None
    for purpose in one.need.requires:
        assert refuses({**kit.GRANTED, purpose: choice}, one.need)
    assert refuses({}, one.need)


@pytest.mark.parametrize("vendor", [name for name in VENDORS if load_manifest(name).ads])
def test_an_opt_out_of_sale_closes_ads_or_limits_them(vendor: str) -> None:
    opted_out = {**kit.GRANTED, "sale_opt_out": True}
    assert refuses(opted_out, kit.ready(vendor).need)
    if not load_manifest(vendor).consent.limit:
        with pytest.raises(ConfigErrors, match="has no limited-data flag"):
            kit.ready(vendor, file={"consent": {"on_opt_out": "limit"}})
        return
    limited = kit.ready(vendor, file={"consent": {"on_opt_out": "limit"}})
    assert refuses(opted_out, limited.need) is None
    plain = kit.parts(limited, {**kit.FULL, "consent": kit.GRANTED})[0]
    flagged = kit.parts(limited, {**kit.FULL, "consent": opted_out})[0]
    assert plain.body != flagged.body


# -- what is sent --------------------------------------------------------------------------------------------------------


def rules_of(one: Ready) -> list[str]:
    """The events that the mapping names, and one that it does not."""
    named = [str(name) for name, rule in one.plan.tree["events"].items() if rule is not None and name != "*"]
    sent = [name for name in named if one.plan.filtered(kit.event(full(name)), kit.NOW) is None]
    return [*sent, "quiz_completed"]


def full(name: str) -> dict[str, Any]:
    return {**copy.deepcopy(kit.FULL), "name": name}


def smallest(one: Ready, name: str) -> dict[str, Any]:
    """A full event with everything taken out that the vendor does not need, section by section and field by field."""
    event = full(name)
    for section in sorted(set(event) - {"name"}):
        if isinstance(one.plan.parts(kit.event({k: v for k, v in event.items() if k != section}), kit.NOW), list):
            del event[section]
            continue
        for key in list(event[section]) if isinstance(event[section], dict) else ():
            left = {**event, section: {k: v for k, v in event[section].items() if k != key}}
            if isinstance(one.plan.parts(kit.event(left), kit.NOW), list):
                event = left
    return event


@pytest.mark.parametrize("vendor", VENDORS)
def test_smallest_and_full_events_match_their_snapshots(vendor: str) -> None:
    one = kit.ready(vendor, file={"unlisted": "send"})
    taken: dict[str, Any] = {}
    for name in rules_of(one):
        least = smallest(one, name)
        made = [kit.request(one, kit.parts(one, event)) for event in (least, full(name))]
        shown = [orjson.loads(request.body) if request.body else request.url for request in made]
        taken[name] = {"smallest": {"event": least, "sent": shown[0]}, "full": {"sent": shown[1]}}
    path = SNAPSHOTS / f"{vendor}.json"
    if os.environ.get("SNAPSHOTS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(taken, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    assert path.is_file(), f"{path} is missing: SNAPSHOTS=write makes it"
    assert taken == json.loads(path.read_text()), f"{vendor} sends something else; SNAPSHOTS=write if that is wanted"


LONG = "x" * 2000
AWKWARD: dict[str, dict[str, Any]] = {
    "nothing but its name": {},
    "empty sections": {"user": {}, "props": {}, "items": [], "ids": {}, "page": {}, "device": {}},
    "odd characters": {
        "user": {"email": "jörg+ü@exämple.de", "first_name": "李 小龍", "city": "Saint-Étienne"},
        "props": {"a\u2028b": "\x07\ud7ff"},
    },
    "lists where one is usual": {"user": {"email": ["a@example.com", "", "b@example.com"], "phone": ["+1 650 555 1234"]}},
    "nested properties": {"props": {"a": {"b": [{"c": None}, []]}, "d": [[1], [2]]}},
    "camelCase and dots": {"props": {"orderTotal": 1, "a.b": 2, "$set": 3, "Total Value": 4}},
    "numbers at the edge": {
        "props": {"value": 1e12, "tax": -0.0, "score": 2**53 + 1},
        "items": [{"id": "1", "price": 0, "quantity": 0}],
    },
    "items without ids": {"items": [{"name": "a"}, {"price": 1}, {}]},
    "a thousand items": {"items": [{"id": str(n), "price": 1} for n in range(1000)]},
    "very long texts": {"page": {"url": "https://shop.example/" + LONG}, "user": {"first_name": LONG}, "props": {"note": LONG}},
    "a name with spaces and signs": {"name": "Order ✓ (done) / 50 %"},
    "a name that is a reserved word": {"name": "error"},
    "an id with signs": {"id": "ä/?&\n" + "i" * 150},
    "ids of other kinds": {"ids": {"fbc": 5, "ttclid": ["a"], "ga_client_id": {"a": 1}}},
    "a date of birth that is none": {"user": {"birthdate": "31.02.1999", "gender": "?", "country": "Atlantis", "zip": "-"}},
}  # fmt: skip


@pytest.mark.parametrize("odd", AWKWARD)
@pytest.mark.parametrize("vendor", VENDORS)
def test_an_awkward_event_is_sent_whole_or_ends_for_a_reason(vendor: str, odd: str) -> None:
    one = kit.ready(vendor, file={"unlisted": "send"})
    for event in ({"name": "purchase", **AWKWARD[odd]}, {**full("purchase"), **AWKWARD[odd]}):
        made = one.plan.parts(kit.event(event), kit.NOW)
        if isinstance(made, Ending):
            assert made.reason in ("incomplete", "filter", "unmapped"), made
            continue
        request = kit.request(one, made)
        assert not any(hashed in request.body for hashed in EMPTY_HASHES), "the hash of an empty text"
        assert request.url.isascii()
        assert all(value.isascii() and "\n" not in value for value in request.headers.values())
        for part in made:
            assert list(empties(part.payload)) == []


def empties(node: Any, path: str = "") -> Iterator[str]:
    """Where a payload holds what must have vanished; Meta's `extinfo` is a list with places of its own."""
    if node in (None, "", [], {}) or (isinstance(node, str) and not node):
        yield path
    elif isinstance(node, dict):
        for key, value in node.items():
            if key != "extinfo":
                yield from empties(value, f"{path}.{key}")
    elif isinstance(node, list):
        for value in node:
            yield from empties(value, path)


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_same_event_gives_the_same_bytes(vendor: str) -> None:
    one = kit.ready(vendor)
    first, again = (kit.request(one, kit.parts(one, full("purchase"))) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("vendor", VENDORS)
def test_two_people_never_share_an_envelope_that_names_one(vendor: str) -> None:
    one = kit.ready(vendor)
    here, there = copy.deepcopy(kit.FULL), copy.deepcopy(kit.FULL)
    there["ids"]["ga_client_id"] = "2.2"
    there["device"]["ip"] = "198.51.100.9"
    first, second = kit.parts(one, here)[0], kit.parts(one, there)[0]
    if first.envelope.key == second.envelope.key:
        wrapped = orjson.dumps(first.envelope.wrap, default=str) if first.envelope.wrap else b""
        assert b"203.0.113.7" not in wrapped
        assert b"1098115397.1795514300" not in wrapped


# -- secrets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_no_secret_stands_in_anything_that_is_printed(vendor: str) -> None:
    manifest = load_manifest(vendor)
    kinds = {"list": ["s3cr3t-list"], "map": {"X-Key": "s3cr3t-map"}}
    settings = {name: kinds.get(spec.type, f"s3cr3t-{name}") for name, spec in manifest.settings.items() if spec.secret}
    one = kit.ready(vendor, settings)
    batch = kit.batch_of(one, 2)
    printed = [
        repr(one),
        repr(one.plan),
        repr(one.config),
        str(one.config),
        repr(one.plan.settings),
        repr(batch.parts[0].payload),
    ]
    for status in (200, 400, 401, 403, 429, 500):
        printed += [str(judgement) for judgement in one.destination.verdicts(Reply(status, {}, b"{}"), batch)]
    for data in ({"name": "purchase"}, {"name": "quiz_completed"}):
        printed.append(str(one.plan.parts(kit.event(data), kit.NOW)) if vendor != "webhook" else "")
    assert not [text for text in printed if "s3cr3t" in text]


@pytest.mark.parametrize("vendor", VENDORS)
def test_no_secret_stands_in_a_configuration_error(vendor: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        kit.ready(vendor, {"no_such_setting": 1}, {"events": {"purchase": {"body": {"x": "$usr.email"}}}})
    assert "no_such_setting" in str(raised.value)
    assert "s3cr3t" not in str(raised.value) + repr(raised.value)
