"""Plans: which events go out, parts, envelopes that never mix, the bytes of a request, authentication."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.destination import Batch
from gateway.mapping import CompiledPlan
from gateway.outcomes import Ending, Outcome
from tests.mapping_kit import NOW, SETTINGS, batch_of, event_of, parts_of, plan_of, reply_of

ADS = """
category: ads
blocks:
  person:
    em: ["$user.email | email | sha256"]
    ph: ["$user.phone | phone_digits | sha256"]
    agent: $device.user_agent
    fbc: $ids.fbc
  basket:
    value: $props.value | num
    currency: $props.currency | upper
    kind: product
    ids: "$items | pluck:'id'"
    lines:
      $for: $items
      $do: {id: $item.id, quantity: "$item.quantity // 1 | int", price: $item.price | num}
defaults:
  event: $name
  event_id: $event.id
  at: $event.time | unix
  url: $page.url
  person: {$use: person}
events:
  page_view: {name: PageView}
  purchase:
    name: Purchase
    require: {all: [$props.value, $props.currency], any: [[$user.email], [$ids.fbc, $device.user_agent]]}
    body: {custom: {$use: basket, order: $props.transaction_id}}
  refund: null
batch: {max_events: 1000, wrap: {data: $batch}}
test: {test_code: $setting.pixel_id}
consent: {requires: [ad_storage], limit: {flags: [LDU], person: {agent: null}}}
"""
STREAM = """
defaults:
  name: $name
  micros: $event.time | unix_us
  params: {session: "$ids.session // $session.id", length: $event.engagement_ms // 1}
events:
  purchase:
    name: purchase
    require: {all: [$props.transaction_id], any: [[$ids.client], [$user.anonymous_id]]}
    body: {params: {order: $props.transaction_id, value: $props.value | num}}
  "*": {name: $event.name}
batch:
  max_events: 25
  wrap:
    client: $ids.client // $user.anonymous_id
    user: $user.id
    address: $device.ip
    consent: {ads: "$consent.ad_user_data | map:words"}
    time: $event.time
    events: $batch
tables: {words: {granted: GRANTED, denied: DENIED, _: DENIED}}
confirms: none
"""
BUYER: dict[str, Any] = {
    "user": {"email": "Jane@Example.com", "phone": "+1 650 555 1234", "anonymous_id": "a1"},
    "props": {"value": "42.50", "currency": "eur", "transaction_id": "T1"},
    "items": [{"id": "s1", "price": "10"}, {"id": "s2", "quantity": 3}],
    "page": {"url": "https://shop.example/thanks"},
    "device": {"user_agent": "UA", "ip": "203.0.113.7"},
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def ending_of(plan: CompiledPlan, event: Any) -> Ending:
    found = plan.parts(event, NOW)
    assert isinstance(found, Ending)
    return found


def body_of(plan: CompiledPlan, *events: Any) -> Any:
    parts = [part for event in events for part in parts_of(plan, event)]
    return orjson.loads(plan.assemble(batch_of(*parts), NOW).body)


def test_an_ad_purchase_is_mapped_hashed_and_wrapped() -> None:
    plan = plan_of(ADS)
    assert body_of(plan, event_of(**BUYER)) == {
        "data": [
            {
                "event": "Purchase",
                "event_id": "e-1",
                "at": 1795514400,
                "url": "https://shop.example/thanks",
                "person": {"em": [sha("jane@example.com")], "ph": [sha("16505551234")], "agent": "UA"},
                "custom": {
                    "value": 42.5,
                    "currency": "EUR",
                    "kind": "product",
                    "ids": ["s1", "s2"],
                    "lines": [{"id": "s1", "quantity": 1, "price": 10}, {"id": "s2", "quantity": 3}],
                    "order": "T1",
                },
            }
        ]
    }


def test_a_stream_event_stands_in_its_clients_envelope() -> None:
    plan = plan_of(STREAM)
    event = event_of(**BUYER, consent={"ad_user_data": "granted"}, engagement_ms=7, session={"id": "17"})
    assert body_of(plan, event) == {
        "client": "a1",
        "address": "203.0.113.7",
        "consent": {"ads": "GRANTED"},
        "time": "2026-11-24T10:00:00.000Z",
        "events": [
            {
                "name": "purchase",
                "micros": 1795514400000000,
                "params": {"session": "17", "length": 7, "order": "T1", "value": 42.5},
            }
        ],
    }


@pytest.mark.parametrize(
    ("event", "outcome", "reason", "detail"),
    [
        (event_of("unheard_of"), Outcome.SKIPPED, "unmapped", "unheard_of is not in the mapping"),
        (event_of("refund"), Outcome.SKIPPED, "filter", "refund is null in the mapping"),
        (event_of(props={"value": 1}), Outcome.SKIPPED, "incomplete", "needs $props.currency"),
        (event_of(props={"value": 1, "currency": "EUR"}, ids={"fbc": "x"}), Outcome.SKIPPED, "incomplete", "needs one of"),
    ],
)
def test_why_there_are_no_parts(event: Any, outcome: Outcome, reason: str, detail: str) -> None:
    ending = ending_of(plan_of(ADS), event)
    assert (ending.outcome, ending.reason) == (outcome, reason)
    assert detail in ending.detail


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (event_of(), "needs a value above zero"),
        (event_of(props={"value": 1}), "needs somebody to tell it of"),
        (event_of(props={"value": 1}, user={"email": "a@b.co"}), None),
    ],
)
def test_what_is_missing_is_told_in_words_where_there_are_some(event: Any, words: str | None) -> None:
    require = "{all: [{if: $props.value > 0, say: a value above zero}], any: [[$user.email]], say: somebody to tell it of}"
    manifest = "endpoint:\n  url: https://x.example\nevents:\n  purchase:\n    name: paid\n"
    for plan in (plan_of(f"{manifest}check: {require}\n"), plan_of(f"{manifest}    require: {require}\n")):
        found = plan.parts(event, NOW)
        assert (found.detail if isinstance(found, Ending) else None) == words


def test_zero_is_money_and_satisfies_require() -> None:
    event = event_of(**{**BUYER, "props": {"value": 0, "currency": "EUR"}})
    assert parts_of(plan_of(ADS), event)[0].payload["custom"]["value"] == 0


@pytest.mark.parametrize(
    ("category", "manifest", "customer", "sent"),
    [
        ("ads", "", None, False),
        ("ads", "", "send", True),
        ("ads", "unlisted: send", None, True),
        ("analytics", "", None, True),
        ("analytics", "", "skip", False),
        ("analytics", "unlisted: skip", None, False),
    ],
)
def test_unlisted_events(category: str, manifest: str, customer: str | None, sent: bool) -> None:
    text = f"category: {category}\n{manifest}\ndefaults: {{as: $name}}\nevents: {{login: {{name: Login}}}}"
    found = plan_of(text, unlisted=customer).parts(event_of("quiz"), NOW)
    if sent:
        assert isinstance(found, list)
        assert found[0].payload == {"as": "quiz"}
    else:
        assert found == Ending(Outcome.SKIPPED, "unmapped", "quiz is not in the mapping")


def test_the_star_sees_what_is_not_listed_and_no_tombstone() -> None:
    plan = plan_of('events: {login: null, "*": {name: "custom_${$event.name}", body: {as: $name}}}')
    assert parts_of(plan, event_of("quiz"))[0].payload == {"as": "custom_quiz"}
    assert plan.filtered(event_of("login"), NOW) == "login is null in the mapping"
    assert plan.filtered(event_of("quiz"), NOW) is None


def test_the_customers_when_filters() -> None:
    plan = plan_of(ADS, "when: $props.value > 10")
    assert plan.filtered(event_of(props={"value": 11}), NOW) is None
    assert plan.filtered(event_of(props={"value": "11"}), NOW) is None
    assert plan.filtered(event_of(props={"value": 9}), NOW) == "the destination's `when` does not hold"
    assert plan.filtered(event_of(), NOW) is not None


@pytest.mark.parametrize(
    ("listed", "out"),
    [
        (None, False),
        ({}, False),
        ({"All": True}, False),
        ({"All": False}, True),
        ({"All": False, "ACME": True}, False),
        ({"all": False, "my shop": True}, False),
        ({"acme": False}, True),
        ({"All": True, "My-Shop": False}, True),
        ({"Other": False}, False),
    ],
)
def test_the_hits_own_list_of_destinations(listed: Any, out: bool) -> None:
    plan = plan_of(ADS, name="my_shop")
    event = event_of(**({"integrations": listed} if listed is not None else {}))
    assert (plan.filtered(event, NOW) is not None) is out


def test_loops_are_what_the_manifest_says() -> None:
    plan = plan_of("loop: \"$event.dialect == 'ga4' and $ids.property == $setting.pixel_id\"\nevents: {a: {}}")
    assert plan.loops(event_of(dialect="ga4", ids={"property": "p-1"}))
    assert not plan.loops(event_of(dialect="json", ids={"property": "p-1"}))
    assert not plan_of("events: {a: {}}").loops(event_of())


def test_rules_make_parts_with_ids_of_their_own() -> None:
    manifest = """
    defaults: {id: $event.id}
    events:
      purchase:
        - {name: One}
        - {name: Two, when: $props.value > 5}
        - {name: Three, require: [$props.none]}
        - {each: $items, name: "Item ${$item.id}", when: not $item.skip, body: {i: $item.id, at: $index}}
    """
    event = event_of(props={"value": 1}, items=[{"id": "a"}, {"id": "b", "skip": True}, {"id": "c"}])
    parts = parts_of(plan_of(manifest), event)
    assert [(part.index, part.id, part.name) for part in parts] == [
        (0, "e-1", "One"),
        (1, "e-1-2", "Item a"),
        (2, "e-1-3", "Item c"),
    ]
    assert parts[2].payload == {"id": "e-1", "i": "c", "at": 2}


def test_one_vendor_event_per_name_of_a_setting() -> None:
    manifest = 'events: {purchase: {each: "$event.name | map:$setting.table", name: $item}}'
    plan = plan_of(manifest, settings={**SETTINGS, "table": {"purchase": ["Buy", "Order"]}})
    assert [part.name for part in parts_of(plan, event_of())] == ["Buy", "Order"]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("{when: $props.none, name: A}", "filter"),
        ("[{when: $props.none}, {when: false}]", "filter"),
        ("[{when: $props.none}, {require: [$props.none]}]", "incomplete"),
        ("{each: $items, name: A}", "incomplete"),
        ("{name: $props.none}", "incomplete"),
    ],
)
def test_rules_of_which_none_applies(rules: str, reason: str) -> None:
    plan = plan_of(f"events: {{purchase: {rules}}}")
    assert ending_of(plan, event_of()).reason == reason
    if reason == "filter":
        assert plan.filtered(event_of(), NOW) == "no rule's `when` holds"


def test_the_limited_form_is_sent_after_an_opt_out_and_only_where_chosen() -> None:
    opted = event_of(**BUYER, consent={"sale_opt_out": True})
    limit = {"on_opt_out": "limit"}
    limited = parts_of(plan_of(ADS, consent=limit), opted)[0].payload
    assert limited["flags"] == ["LDU"]
    assert "agent" not in limited["person"]
    assert "flags" not in parts_of(plan_of(ADS, consent=limit), event_of(**BUYER))[0].payload
    assert "flags" not in parts_of(plan_of(ADS), opted)[0].payload


def test_the_test_code_travels_in_mode_test_and_only_then() -> None:
    for mode, code in (("live", None), ("dry_run", None), ("test", "p-1")):
        assert body_of(plan_of(ADS, mode=mode), event_of(**BUYER)).get("test_code") == code
    bare = "events: {purchase: {body: {a: 1}}}\ntest: {debug: true}"
    assert body_of(plan_of(bare, mode="test"), event_of()) == {"a": 1, "debug": True}


def test_an_event_that_is_too_large_is_rejected() -> None:
    plan = plan_of("limits: {max_event_bytes: 100}\nevents: {purchase: {body: {x: $props.x}}}")
    assert len(parts_of(plan, event_of(props={"x": "a" * 92}))[0].body) == 100
    assert ending_of(plan, event_of(props={"x": "a" * 93})) == Ending(
        Outcome.REJECTED, "too_large", "101 bytes, the vendor takes 100"
    )


def test_what_cannot_be_serialised_is_rejected_without_its_value() -> None:
    plan = plan_of("events: {purchase: {body: {x: $props.x}}}")
    ending = ending_of(plan, event_of(props={"x": "secret \ud800"}))
    assert (ending.outcome, ending.reason) == (Outcome.REJECTED, "mapping")
    assert "secret" not in ending.detail


def test_events_with_equal_envelopes_share_a_request_and_a_constant_one_is_made_once() -> None:
    plan = plan_of(ADS)
    first, second = (parts_of(plan, event_of(**{**BUYER, "id": identity}))[0] for identity in ("e-1", "e-2"))
    assert first.envelope is second.envelope
    sent = orjson.loads(plan.assemble(batch_of(first, second), NOW).body)
    assert [one["event_id"] for one in sent["data"]] == ["e-1", "e-2"]


@pytest.mark.parametrize(
    "change",
    [
        {"consent": {"ad_user_data": "denied"}},
        {"device": {"ip": "203.0.113.8"}},
        {"time": "2026-11-24T10:00:00.001Z"},
        {"user": {"anonymous_id": "a2"}},
        {"user": {"anonymous_id": "a1", "id": "u"}},
    ],
)
def test_two_events_never_share_another_ones_envelope(change: dict[str, Any]) -> None:
    plan = plan_of(STREAM)
    base: dict[str, Any] = {
        "user": {"anonymous_id": "a1"},
        "props": {"transaction_id": "T1"},
        "device": {"ip": "203.0.113.7"},
        "consent": {"ad_user_data": "granted"},
    }
    one, same, other = (parts_of(plan, event_of(**data))[0] for data in (base, base, {**base, **change}))
    assert one.envelope.key == same.envelope.key
    assert one.envelope.key != other.envelope.key


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(a=TEXT, b=TEXT, c=TEXT, d=TEXT)
def test_keys_are_equal_only_where_all_of_the_envelope_is(a: str, b: str, c: str, d: str) -> None:
    plan = plan_of(
        """
        endpoint: {url: "https://h.example/p?x=${$props.a}", headers: {}, query: {q: $props.b}}
        events: {purchase: {}}
        batch: {wrap: {c: $props.c, d: $props.d, events: $batch}}
        """
    )
    one = parts_of(plan, event_of(props={"a": a, "b": b, "c": c, "d": d}))[0].envelope
    two = parts_of(plan, event_of(props={"a": b, "b": a, "c": d, "d": c}))[0].envelope
    assert (one.key == two.key) is ((a, c) == (b, d))


def request_of(endpoint: str, *, rest: str = "events: {purchase: {body: $props}}", given: Any = None, **data: Any) -> Any:
    plan = plan_of(f"endpoint: {endpoint}\n{rest}", **(given or {}))
    return plan.assemble(batch_of(*parts_of(plan, event_of(**data))), NOW)


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ('"https://h.example/${$setting.pixel_id}/e"', "https://h.example/p-1/e"),
        ('"https://h.example/${$props.a}/e"', "https://h.example/x%2Fy%20%3Fz%23/e"),
        ('"https://h.example/e?id=${$props.a}&n=${$props.none}"', "https://h.example/e?id=x%2Fy%20%3Fz%23&n="),
        ('"https://${$setting.pixel_id}.h.example/e"', "https://p-1.h.example/e"),
        ("https://h.example", "https://h.example"),
    ],
)
def test_urls(url: str, made: str) -> None:
    request = request_of(f"{{url: {url}}}", props={"a": "x/y ?z#"})
    assert (request.method, request.url) == ("POST", made)


def test_a_setting_may_hold_the_whole_address_with_holes_in_its_path() -> None:
    given = {"settings": {**SETTINGS, "pixel_id": "https://hooks.example/in/${$event.name}?t=1"}}
    assert request_of("{url: $setting.pixel_id}", given=given).url == "https://hooks.example/in/purchase?t=1"


@pytest.mark.parametrize("value", ["..", ".", "", None, [1], {"a": 1}])
def test_a_path_that_would_be_another_one_is_refused(value: Any) -> None:
    plan = plan_of('endpoint: {url: "https://h.example/v1/${$props.a}/e"}\nevents: {purchase: {}}')
    ending = ending_of(plan, event_of(props={"a": value}))
    assert (ending.outcome, ending.reason) == (Outcome.REJECTED, "mapping")


@settings(max_examples=150, deadline=None)
@given(TEXT)
def test_no_value_leaves_its_place_in_the_url(value: str) -> None:
    plan = plan_of('endpoint: {url: "https://h.example/v1/${$props.a}/e"}\nevents: {purchase: {}}')
    parts = plan.parts(event_of(props={"a": value}), NOW)
    if isinstance(parts, list):
        url = parts[0].envelope.url
        assert url.startswith("https://h.example/v1/")
        assert url.endswith("/e")
        assert url.count("/") == 5
        assert not set(url) & set("?#\\ \r\n")


@pytest.mark.parametrize(
    ("base", "made"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/v3/x?y=1"),
        ("http://127.0.0.1:9000/meta/", "http://127.0.0.1:9000/meta/v3/x?y=1"),
        (None, "https://api.example/v3/x?y=1"),
    ],
)
def test_the_customers_endpoint_is_put_before_the_manifests_path(base: str | None, made: str) -> None:
    given = {"endpoint": base}
    assert request_of('{url: "https://api.example/v3/${$event.props.p}?y=1"}', given=given, props={"p": "x"}).url == made


def test_a_rule_may_override_method_path_and_body() -> None:
    rest = """
events:
  purchase: {body: {a: 1}, endpoint: {method: put, path: "/people/${$user.id}"}}
  login: {body: {a: [1, 2], b: {c: 1}}, endpoint: {url: https://other.example/l, body: form}}
  logout: {endpoint: {method: DELETE, path: "/people/${$user.id}"}}
"""
    plan = plan_of(f"endpoint: {{url: https://h.example/v1/events, headers: {{X-A: b}}}}\n{rest}")

    def sent(name: str) -> Any:
        return plan.assemble(batch_of(*parts_of(plan, event_of(name, user={"id": "u 1"}))), NOW)

    assert (sent("purchase").method, sent("purchase").url) == ("PUT", "https://h.example/people/u%201")
    assert (sent("login").url, sent("login").body) == ("https://other.example/l", b"a=1&a=2&b=%7B%22c%22%3A1%7D")
    assert sent("login").headers == {"Content-Type": "application/x-www-form-urlencoded", "X-A": "b"}
    assert (sent("logout").method, sent("logout").body, sent("logout").headers) == ("DELETE", b"", {"X-A": "b"})


@pytest.mark.parametrize(
    ("kind", "wrap", "url", "body", "content_type"),
    [
        ("json", "{e: $batch, k: v}", "", b'{"e":[{"a":"x y","b":[1,2]}],"k":"v"}', "application/json"),
        ("json", "$batch", "", b'[{"a":"x y","b":[1,2]}]', "application/json"),
        ("json", "{deep: {er: {$keep: $batch}}}", "", b'{"deep":{"er":[{"a":"x y","b":[1,2]}]}}', "application/json"),
        ("json", None, "", b'{"a":"x y","b":[1,2]}', "application/json"),
        ("form", None, "", b"a=x%20y&b=1&b=2", "application/x-www-form-urlencoded"),
        ("form", "{data: $batch, t: 1}", "", b"data=%5B%7B%22a%22%3A%22x%20y%22%2C%22b%22%3A%5B1%2C2%5D%7D%5D&t=1",
         "application/x-www-form-urlencoded"),
        ("query", None, "?a=x%20y&b=1&b=2", b"", None),
        ("ndjson", None, "", b'{"a":"x y","b":[1,2]}\n', "application/x-ndjson"),
    ],
)  # fmt: skip
def test_body_kinds(kind: str, wrap: str | None, url: str, body: bytes, content_type: str | None) -> None:
    batch = f"batch: {{wrap: {wrap}}}" if wrap else ""
    rest = f"{batch}\nevents: {{purchase: {{body: $props}}}}"
    request = request_of(f"{{url: https://h.example/e, body: {kind}}}", rest=rest, props={"a": "x y", "b": [1, 2]})
    assert (request.url, request.body) == (f"https://h.example/e{url}", body)
    assert request.headers.get("Content-Type") == content_type


def test_lines_and_texts_hold_several_events() -> None:
    plan = plan_of("endpoint: {url: https://h.example, body: ndjson}\nevents: {purchase: {body: {id: $event.id}}}")
    parts = [parts_of(plan, event_of(id=identity))[0] for identity in ("a", "b")]
    assert plan.assemble(batch_of(*parts), NOW).body == b'{"id":"a"}\n{"id":"b"}\n'
    plan = plan_of('endpoint: {url: https://h.example, body: text}\nevents: {purchase: {body: "m,${$event.id}"}}')
    parts = [parts_of(plan, event_of(id=identity))[0] for identity in ("a", "b")]
    assert plan.assemble(batch_of(*parts), NOW).body == b"m,a\nm,b"


def test_without_a_wrap_a_request_carries_one_event() -> None:
    plan = plan_of("events: {purchase: {}}")
    part = parts_of(plan, event_of())[0]
    with pytest.raises(ValueError, match="one event"):
        plan.assemble(Batch(part.envelope, (part, part)), NOW)


def test_get_puts_pairs_into_the_query_and_carries_no_body() -> None:
    request = request_of("{method: GET, url: https://h.example/p, body: query}", props={"a": 1})
    assert (request.method, request.url, request.body, request.headers) == ("GET", "https://h.example/p?a=1", b"", {})
    assert request_of("{method: GET, url: https://h.example/p}", props={"a": 1}).body == b""


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "ümlaut", "x" * 1025, "tab\there", " lead"])
def test_header_values_are_visible_ascii(value: str) -> None:
    plan = plan_of("endpoint: {url: https://h.example, headers: {X-Agent: $device.user_agent}}\nevents: {purchase: {}}")
    ending = ending_of(plan, event_of(device={"user_agent": value}))
    assert (ending.outcome, ending.reason) == (Outcome.REJECTED, "mapping")
    assert value not in ending.detail
    good = parts_of(plan, event_of(device={"user_agent": "Mozilla/5.0 (X)"}))[0]
    assert ("X-Agent", "Mozilla/5.0 (X)") in good.envelope.headers
    assert [name for name, _ in parts_of(plan, event_of())[0].envelope.headers] == ["Content-Type"]


@pytest.mark.parametrize(
    ("auth", "headers", "url"),
    [
        ("{kind: none}", {}, ""),
        ("{kind: bearer, token: $setting.token}", {"Authorization": "Bearer sesame-open"}, ""),
        ("{kind: bearer, token: $setting.none}", {}, ""),
        (
            "{kind: basic, username: $setting.pixel_id, password: $setting.token}",
            {"Authorization": "Basic " + base64.b64encode(b"p-1:sesame-open").decode()},
            "",
        ),
        ('{kind: header, name: X-Key, value: "Token ${$setting.token}"}', {"X-Key": "Token sesame-open"}, ""),
        ("{kind: query, name: key, value: $setting.token}", {}, "?key=sesame-open"),
        ("[{kind: bearer, token: $setting.none}, {kind: header, name: A, value: b}]", {"A": "b"}, ""),
        ("{kind: oauth2}", {}, ""),
    ],
)
def test_authentication(auth: str, headers: dict[str, str], url: str) -> None:
    given = {"settings": {**SETTINGS, "none": None}}
    request = request_of(
        "{url: https://h.example/e}", rest=f"auth: {auth}\nevents: {{purchase: {{body: {{a: 1}}}}}}", given=given
    )
    assert request.headers == {"Content-Type": "application/json", **headers}
    assert request.url == f"https://h.example/e{url}"


def test_body_authentication_stands_in_the_envelope_or_the_body() -> None:
    auth = "auth: {kind: body, name: access_token, value: $setting.token}"
    wrapped = plan_of(f"{auth}\nevents: {{purchase: {{body: {{a: 1}}}}}}\nbatch: {{wrap: {{data: $batch}}}}")
    assert body_of(wrapped, event_of()) == {"data": [{"a": 1}], "access_token": "sesame-open"}
    bare = plan_of(f"{auth}\nevents: {{purchase: {{body: {{a: 1}}}}}}")
    assert body_of(bare, event_of()) == {"a": 1, "access_token": "sesame-open"}


def test_hmac_signs_the_exact_bytes_with_every_secret() -> None:
    given = {"settings": {**SETTINGS, "keys": [SecretStr("old"), SecretStr("new")]}}
    rest = "auth: {kind: hmac, secret: $setting.keys}\nevents: {purchase: {body: {a: ü}}}"
    request = request_of("{url: https://h.example/e}", rest=rest, given=given)
    signed = f"{int(NOW)}.".encode() + request.body
    digests = [hmac.new(key, signed, hashlib.sha256).hexdigest() for key in (b"old", b"new")]
    assert request.headers["X-Signature-256"] == f"t={int(NOW)},v1={digests[0]},v1={digests[1]}"


def test_hmac_by_template() -> None:
    rest = (
        "auth: {kind: hmac, secret: $setting.token, header: X-Sig, algorithm: sha1, sign: '{body}', value: '{hex}'}\n"
        "events: {purchase: {body: {a: 1}}}"
    )
    request = request_of("{url: https://h.example/e}", rest=rest)
    assert request.headers["X-Sig"] == hmac.new(b"sesame-open", b'{"a":1}', hashlib.sha1).hexdigest()


def test_secrets_stay_out_of_parts_and_of_what_is_printed() -> None:
    plan = plan_of(f"auth: {{kind: bearer, token: $setting.token}}\n{ADS}")
    part = parts_of(plan, event_of(**BUYER))[0]
    assert "sesame-open" not in repr(part) + repr(plan) + repr(plan.settings)


VALIDATED = """
events: {purchase: {body: {id: $event.id}}}
batch: {wrap: {client: $user.id, events: $batch}}
validate: {every: $setting.keys, url: https://api.acme.example/debug, body: {strict: true}, complaints: $res.messages}
auth: {kind: query, name: key, value: $setting.token}
"""


def test_one_event_in_so_many_is_sent_to_the_validation_endpoint() -> None:
    plan = plan_of(VALIDATED, settings={**SETTINGS, "keys": 4})
    asked = 0
    for n in range(400):
        part = parts_of(plan, event_of(id=f"e-{n}", user={"id": "u"}))[0]
        request = plan.validation(batch_of(part), NOW)
        assert request == plan.validation(batch_of(part), NOW)
        if request is not None:
            asked += 1
            assert request.url == "https://api.acme.example/debug?key=sesame-open"
            assert orjson.loads(request.body) == {"client": "u", "events": [{"id": f"e-{n}"}], "strict": True}
    assert 60 < asked < 140


@pytest.mark.parametrize("every", [0, None])
def test_no_sample_asks_nobody(every: Any) -> None:
    plan = plan_of(VALIDATED, settings={**SETTINGS, "keys": every})
    parts = [parts_of(plan, event_of(id=f"e-{n}", user={"id": "u"}))[0] for n in range(50)]
    assert plan.validation(batch_of(*parts), NOW) is None


def test_complaints_are_what_the_validation_endpoint_lists() -> None:
    plan = plan_of(VALIDATED, settings={**SETTINGS, "keys": 1})
    reply = reply_of(200, '{"messages": [{"code": "NAME"}, "text"]}')
    assert plan.complaints(reply) == ['{"code":"NAME"}', "text"]
    assert plan.complaints(reply_of(200, "<html>")) == []
    assert plan.complaints(reply_of(500, '{"messages": ["x"]}')) == []


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["user", "props", "items", "ids", "device", "page", "consent", "session"]),
        st.recursive(
            st.none() | st.integers() | st.floats() | TEXT,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["email", "id", "value", "ip"]), inner),
            max_leaves=8,
        ),
    )
)
def test_mapping_a_hostile_event_ends_in_parts_or_an_ending(data: dict[str, Any]) -> None:
    for text in (ADS, STREAM):
        found = plan_of(text).parts(event_of("page_view", **data), NOW)
        assert isinstance(found, Ending) or all(orjson.loads(part.body) is not None for part in found)
