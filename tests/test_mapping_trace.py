"""The tracing evaluator: the same payload as the fast one, and chains that can be run again."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.config.models import DestinationConfig
from gateway.config.tree import Mark, MarkedMap, Scalar
from gateway.event import Event
from gateway.manifest import discover, load_manifest, settings_model
from gateway.mapping import CompiledPlan, FieldTrace, compile_plan, trace
from gateway.mapping.compile import compile_scalar, parse_scalar
from gateway.mapping.functions import is_empty
from gateway.mapping.scope import Scope
from gateway.mapping.structure import prune
from gateway.mapping.trace_expression import MASK, Step, Surrounding, evaluate
from gateway.outcomes import Outcome
from tests.mapping_kit import NOW, event_of, parts_of, plan_of, value_of

MANIFEST = """
tables: {words: {granted: GRANTED, _: DENIED}}
blocks:
  person:
    em: ["$user.email | email | sha256"]
    id: $user.id // $user.anonymous_id | lower
    secret: $setting.token | sha256
defaults: {event: $name, person: {$use: person}, url: $page.url}
events:
  purchase:
    name: Purchase
    body:
      value: $props.value | num
      missing: $props.nothing | lower
      ids: "$items | pluck:'id' | join:','"
      lines: {$for: $items, $if: $item.id, $do: {id: $item.id, at: $index, price: "$item.price // $props.price | money:2"}}
      tags: {$for: "$items as line", $do: {$for: $line.tags, $do: "${$line.id}:${$item}"}}
      joined: {$for: $items, $do: $item.id, $join: "|"}
      text: "Order ${$props.id} of ${$user.email // 'guest'}"
      only: {$when: $props.value > 100, $value: $props.value}
      shown: {$when: $props.value > 1, a: 1, b: $props.b}
      kept: {$keep: $props.nothing}
      keptlist: {$keep: []}
      all: {$merge: [$props, {extra: 1}, {$when: $props.nothing, $value: $user}], value: mine}
      list: ["$props.tags", z, {$keep: ""}]
      consent: "$consent.ad_storage | map:words"
      free: $props.deep
      typo: null
      now: $now | unix
  each: {each: "$items as line", name: "Item ${$line.id}", body: {i: $line.id | upper}}
batch: {wrap: {client: $user.id // $user.anonymous_id, events: $batch}}
endpoint: {url: https://api.acme.example/e, headers: {X-Agent: $device.user_agent}, query: {k: $props.id}}
"""
FULL: dict[str, Any] = {
    "user": {"email": " Jane@Example.com ", "anonymous_id": "A1"},
    "props": {"value": "42.5", "id": "T1", "b": "", "tags": ["x", "y"], "deep": {"a": None, "b": [1, ""]}, "price": 3},
    "items": [{"id": "s1", "price": 2, "tags": ["p"]}, {"id": ""}, {"id": "s3", "tags": ["q", "r"]}],
    "consent": {"ad_storage": "unknown"},
    "device": {"user_agent": "UA"},
    "page": {"url": "https://shop.example/"},
}


def fields_of(plan: CompiledPlan, event: Event) -> dict[str, FieldTrace]:
    return {one.field: one for one in trace(plan, event, NOW)}


@pytest.fixture(name="plan")
def _plan() -> CompiledPlan:
    return plan_of(MANIFEST)


def test_a_chain_tells_each_value_and_where_it_can_be_changed(plan: CompiledPlan) -> None:
    found = fields_of(plan, event_of(**FULL))["person.em[0]"]
    assert [(step.text, step.before, step.after) for step in found.steps] == [
        ("$user.email", None, " Jane@Example.com "),
        ("email", " Jane@Example.com ", "jane@example.com"),
        ("sha256", "jane@example.com", found.value),
    ]
    assert found.sent
    assert found.removed is None
    assert found.place == "destinations/acme.yaml:4"


@pytest.mark.parametrize(
    ("data", "field", "removed"),
    [
        ({"user": {"email": "broken"}}, "person.em[0]", "email"),
        ({"user": {}}, "person.em[0]", "$user.email"),
        ({"user": {}}, "person.id", "$user.id"),
        ({"props": {"value": "x"}}, "value", "num"),
        ({"props": {"value": 5}}, "only", "$when: $props.value > 100"),
        ({}, "missing", "$props.nothing"),
        ({}, "lines", "$items"),
        ({}, "url", "$page.url"),
        ({}, "typo", "null"),
    ],
)
def test_a_missing_field_names_the_step_that_removed_it(plan: CompiledPlan, data: Any, field: str, removed: str) -> None:
    found = fields_of(plan, event_of(**data)).get(field)
    if field == "typo":
        assert found is None or found.removed is not None
        return
    assert found is not None
    assert not found.sent
    assert found.removed is not None
    assert found.removed.text == removed


def test_an_alternative_that_gave_nothing_is_shown(plan: CompiledPlan) -> None:
    found = fields_of(plan, event_of(**FULL))["person.id"]
    assert [(step.kind, step.text, step.after) for step in found.steps] == [
        ("empty", "$user.id", None),
        ("path", "$user.anonymous_id", "A1"),
        ("call", "lower", "a1"),
    ]


def test_a_patch_of_the_customer_shows_the_customers_line() -> None:
    plan = plan_of(MANIFEST, "events:\n  purchase:\n    body:\n      value: $props.price\n")
    found = fields_of(plan, event_of(**FULL))["value"]
    assert (found.value, found.place) == (3, "configs/destinations/acme.yaml:4")


def test_the_envelope_is_traced_too(plan: CompiledPlan) -> None:
    found = fields_of(plan, event_of(**FULL))
    assert found["envelope.client"].value == "A1"
    assert found["envelope.headers.X-Agent"].value == "UA"
    assert found["envelope.query.k"].value == "T1"


def test_one_field_can_be_asked_for(plan: CompiledPlan) -> None:
    asked = trace(plan, event_of(**FULL), NOW, "person")
    assert {one.field for one in asked} == {"person.em[0]", "person.id", "person.secret"}
    assert {one.field for one in trace(plan, event_of(**FULL), NOW, "lines[1].id")} == {"lines[1].id"}


def test_secrets_are_masked(plan: CompiledPlan) -> None:
    event = event_of(**FULL)
    assert fields_of(plan, event)["person.secret"].value == MASK
    assert "sesame-open" not in repr(trace(plan, event, NOW))


def test_parts_of_each_have_their_item(plan: CompiledPlan) -> None:
    event = event_of("each", **FULL)
    found = trace(plan, event, NOW)
    assert [(part.id, part.name, part.payload["i"]) for part in found.parts if part.payload.get("i")] == [
        ("e-1", "Item s1", "S1"),
        ("e-1-2", "Item s3", "S3"),
    ]


def test_an_event_without_parts_says_why(plan: CompiledPlan) -> None:
    plan = plan_of(MANIFEST, "events: {purchase: null}")
    found = trace(plan, event_of(**FULL), NOW)
    assert found.parts == ()
    assert found.ending is not None
    assert (found.ending.outcome, found.ending.reason) == (Outcome.SKIPPED, "filter")


def agree(plan: CompiledPlan, event: Event) -> None:
    """Both evaluators make the same parts, and what is sent is what the fields say."""
    parts = plan.parts(event, NOW)
    traced = trace(plan, event, NOW)
    if not isinstance(parts, list):
        assert traced.ending == parts
        return
    assert [(part.id, part.name, part.payload) for part in traced.parts] == [(p.id, p.name, p.payload) for p in parts]


def test_the_slow_evaluator_agrees_with_the_fast_one(plan: CompiledPlan) -> None:
    for name in ("purchase", "each", "other"):
        agree(plan, event_of(name, **FULL))
        agree(plan, event_of(name))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.sampled_from(["", "a@b.co", "x", " Y ", "12.5", "granted"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "email", "price", "tags"]), inner),
    max_leaves=6,
)
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.dictionaries(st.sampled_from(["email", "id", "anonymous_id"]), VALUES),
        "props": st.dictionaries(st.sampled_from(["value", "nothing", "b", "tags", "deep", "id", "price"]), VALUES),
        "items": st.lists(st.dictionaries(st.sampled_from(["id", "price", "tags"]), VALUES), max_size=3),
        "consent": st.dictionaries(st.just("ad_storage"), VALUES),
        "page": st.dictionaries(st.just("url"), VALUES),
    },
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(SECTIONS)
def test_the_evaluators_agree_on_any_event(data: dict[str, Any]) -> None:
    plan = plan_of(MANIFEST)
    agree(plan, event_of(**data))
    agree(plan, event_of("each", **data))


def rerun(found: FieldTrace, data: dict[str, Any]) -> Any:
    """Run the printed chain again, from the value that was read through each function, with the fast evaluator."""
    start = max(index for index, step in enumerate(found.steps) if step.kind == "path")
    calls = [step.text for step in found.steps[start + 1 :] if step.kind == "call"]
    chain = " | ".join([found.steps[start].text, *calls])
    value = value_of(chain, tables="{words: {granted: GRANTED, _: DENIED}}", **data)
    return value if found.field == "kept" else prune(value)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(SECTIONS)
def test_running_a_printed_chain_again_gives_the_sent_value(data: dict[str, Any]) -> None:
    whole = {**data, "page": {"url": "https://shop.example/"}}
    again = []
    for found in trace(plan_of(MANIFEST), event_of(**whole), NOW):
        alone = {step.kind for step in found.steps} <= {"path", "empty", "call"}
        if not found.sent or not alone or found.value == MASK or found.field.startswith(("event", "envelope.events", "all.")):
            continue  # a loop, a condition, a merged layer, $name of another rule and $batch are more than one chain
        assert rerun(found, whole) == found.value, found
        again.append(found.field)
    assert "url" in again


@settings(max_examples=200, deadline=None)
@given(
    data=st.dictionaries(st.sampled_from(["a", "b"]), VALUES),
    expression=st.sampled_from(
        [
            "$props.a // $props.b | lower",
            "[$props.a, $props.b] | join:'-'",
            "$props.a | default:$props.b | str",
            "($props.a | num) // ($props.b | int) // 7",
            "$props.a | pluck:'id' | unique | first",
            "$props.b | eq:$props.a | then:'same'",
            "$props.a | map:$setting.table",
            "'${$props.a}+${$props.b}'",
            "$props | pick:a | flatten",
            "$now | age_s",
        ]
    ),
)
def test_each_step_leads_to_the_next(data: dict[str, Any], expression: str) -> None:
    plan = plan_of("events: {}")
    event = event_of(props=data)
    leaf = Scalar(expression, Mark("f", 1, 1), plain=False)
    node = parse_scalar(leaf, plan.context)
    assert node is not None
    steps: list[Step] = []
    slow = evaluate(node, Surrounding(plan.context, event.data, NOW, "N"), steps, "f:1")
    fast = compile_scalar(leaf, plan.context).run(Scope(event.data, NOW, "N"))
    assert slow == fast
    for before, after in pairwise(steps):
        if after.kind == "call" and before.kind != "empty":
            assert before.after == after.before
    if steps[-1].kind != "empty":
        assert steps[-1].after == slow


SAMPLE = {
    "str": "https://hooks.example/in",
    "int": 3,
    "float": 1.5,
    "bool": True,
    "list": ["value", "custom"],
    "map": {"purchase": "x"},
}


@pytest.mark.parametrize("name", sorted(discover()))
def test_the_evaluators_agree_on_every_shipped_manifest(name: str) -> None:
    manifest = load_manifest(name)
    given: dict[str, Any] = {}
    for key, spec in manifest.settings.items():
        if spec.required:
            given[key] = (spec.enum or [SecretStr("0123456789") if spec.secret else SAMPLE[spec.type]])[0]
            if spec.pattern and not spec.secret:
                given[key] = "1234567890"
    model = settings_model(manifest).model_validate(given)
    values = {key: getattr(model, key) for key in type(model).model_fields}
    config = DestinationConfig(name=name, type=name, file="c.yaml", sources=["shop"], settings=values, tree=None)
    plan = compile_plan(manifest, config)
    for event in ("purchase", "page_view", "add_to_cart", "search", "my_own_event"):
        agree(plan, event_of(event, **FULL))
        agree(plan, event_of(event, user={"id": "u"}, device={"ip": "203.0.113.7", "user_agent": "UA"}))
    assert isinstance(plan.tree, MarkedMap)
    assert Path(plan.tree.mark.file).stem == name


def test_fields_that_are_sent_are_those_of_the_payload(plan: CompiledPlan) -> None:
    event = event_of(**FULL)
    payload = parts_of(plan, event)[0].payload
    for field, found in fields_of(plan, event).items():
        if field.startswith("envelope.") or "[" in field or "." in field:
            continue
        assert found.sent is (field in payload), field
        if found.sent and not is_empty(found.value):
            assert payload[field] == found.value
