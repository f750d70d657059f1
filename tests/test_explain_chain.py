"""The promise of `explain --field`: its chain, run again, gives the byte that is sent, or it names what removed it."""

from __future__ import annotations

import ast
import random
import re
from typing import Any

import orjson
import pytest

from gateway.cli.telling import field_json
from gateway.config.tree import Mark, Scalar
from gateway.event import Event
from gateway.manifest import discover
from gateway.mapping import CompiledPlan, trace
from gateway.mapping.compile import compile_scalar
from gateway.mapping.functions import as_text, is_empty
from gateway.mapping.scope import Context, Scope
from gateway.mapping.structure import prune
from gateway.mapping.trace_expression import MASK
from gateway.plans import Ready
from tests import destination_kit as kit
from tests.gateway_kit import GRANTED

NOW = kit.NOW


def random_events(count: int) -> list[dict[str, Any]]:
    """Events in which any value may be missing, odd, of another type, or a list."""
    rng = random.Random(20261124)
    odd: list[Any] = ["", " X y ", "ÄÖ", "12.5", 7, 0, -1.5, True, False, [], ["a", "b"], {}, {"a": 1}, "x" * 300, "a@b.co"]

    def some(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: some(one) for key, one in value.items() if rng.random() < 0.8}
        if isinstance(value, list):
            return [some(one) for one in value if rng.random() < 0.9]
        return rng.choice(odd) if rng.random() < 0.12 else value

    names = ["purchase", "page_view", "add_to_cart", "view_item_list", "search", "sign_up", "generate_lead", "group", "my_own"]
    events = []
    for number in range(count):
        data = {section: some(value) for section, value in kit.FULL.items() if rng.random() < 0.9}
        data["props"] = {
            **(data.get("props") or {}),
            "value": rng.choice([9.5, "12", 3]),
            "currency": "EUR",
            "transaction_id": "T",
        }
        data["user"] = {**(data.get("user") or {}), "id": f"u-{number}"}
        consent = {**GRANTED, "sale_opt_out": rng.random() < 0.2}
        events.append({**data, "id": f"e-{number}", "name": names[number % len(names)], "consent": consent})
    return events


def base_of(steps: list[dict[str, Any]]) -> int:
    """The step with which the last chain begins: what follows it are calls alone."""
    return max(index for index, step in enumerate(steps) if step["kind"] != "call")


def run_again(steps: list[dict[str, Any]], event: Event, name: str, context: Context) -> Any:
    """The printed chain through the fast evaluator, from the event (or the loop's item) to the value."""
    start = base_of(steps)
    base, calls = steps[start], [step["step"] for step in steps[start + 1 :]]
    items = [step["after"] for step in steps[:start] if step["kind"] == "item"]
    if base["kind"] == "path" and base["step"].startswith("["):  # a key of a map that a merged layer brought
        value: Any = base["before"][ast.literal_eval(base["step"][1:-1])]
        return value
    if base["kind"] == "join":
        return base["step"].removeprefix("$join: ").join(as_text(one) or "" for one in base["before"]) or None
    if base["kind"] == "constant":
        return base["after"]
    data = dict(event.data)
    text = base["step"] if base["kind"] == "text" or not calls else " | ".join([base["step"], *calls])
    if items:
        data["props"] = {**data.get("props", {}), "the_item": items[-1]}
        text = re.sub(r"\$item\b", "$props.the_item", text)
    leaf = Scalar(text, Mark("again", 1, 1), plain=False)
    code = compile_scalar(leaf, context.narrowed(problems=[], noted=set()))
    return code.run(Scope(data, NOW, name))


def printed(field: dict[str, Any]) -> dict[str, Any]:
    """A field as a program reads it off `explain --field --json`."""
    made: dict[str, Any] = orjson.loads(orjson.dumps(field))
    return made


SENT_AS = {"meta": {"on_opt_out": "limit"}, "tiktok": {"on_opt_out": "limit"}}


def bare(value: Any) -> bytes:
    """A value as it stands in the body; a list may stand there among others."""
    text = orjson.dumps(value)
    return text[1:-1] if isinstance(value, list) else text


@pytest.mark.slow
@pytest.mark.parametrize("vendor", discover())
def test_running_a_printed_chain_again_gives_the_sent_value_byte_for_byte(vendor: str) -> None:
    one: Ready = kit.ready(vendor, {}, {"consent": SENT_AS[vendor]} if vendor in SENT_AS else {})
    assert isinstance(one.plan, CompiledPlan)
    sent = missing = 0
    for data in random_events(200):
        event = kit.event(data)
        parts = one.plan.parts(event, NOW)
        told = trace(one.plan, event, NOW)
        if not isinstance(parts, list):
            assert told.ending == parts
            continue
        assert [part.payload for part in told.parts] == [part.payload for part in parts]
        for name, body, found in [
            (p.name, p.body, field) for p, t in zip(parts, told.parts, strict=True) for field in t.fields
        ]:
            field = printed(field_json(vendor, found))
            if MASK in str(field["steps"]) or field["value"] == "(the events)" or not field["steps"]:
                continue  # secrets are not printed, and $batch is the list of what is explained here
            again = prune(run_again(field["steps"], event, name, one.plan.context))
            if field["sent"]:
                sent += 1
                if is_empty(again):  # `$keep`: it stays although empty
                    assert is_empty(field["value"]), field
                else:
                    assert orjson.dumps(again) == orjson.dumps(field["value"]), field
                    assert field["field"].startswith("envelope.") or bare(again) in body, field
            else:
                missing += 1
                assert_removed(field, event, name, one.plan.context)
    assert sent > 2000
    assert missing > 500


def assert_removed(field: dict[str, Any], event: Event, name: str, context: Context) -> None:
    """The named step is the first that gave nothing: what stood before it still had a value."""
    removed, steps = field["removed"], field["steps"]
    assert removed is not None, field
    at = steps.index(removed)
    if removed["kind"] not in ("call", "join"):
        assert removed["after"] is False or is_empty(prune(removed["after"])), field
        return
    assert is_empty(prune(run_again(steps[: at + 1], event, name, context))), field
    assert not is_empty(
        prune(removed["before"] if removed["kind"] == "join" else run_again(steps[:at], event, name, context))
    ), field
