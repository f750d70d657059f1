"""The functions that mappings are written into: no text of a file becomes code, whatever it is, and any depth compiles."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.errors import ConfigErrors
from gateway.mapping import trace
from gateway.mapping.writer import HELPERS, Code
from tests.mapping_kit import NOW, Nulls, event_of, parts_of, plan_of, shape_of, value_of

HOSTILE = [
    "x'); boom() #",
    'x") or boom() or ("',
    "__import__('os').system('boom')",
    "\n    boom()\n",
    '"""\nboom()\n"""',
    "{boom()}",
    "K1 = boom",
    "\\'; boom()",
    "\u2028boom()",
    "scope.__class__.__mro__",
]


def quoted(text: str) -> str:
    """A YAML double-quoted text."""
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


def codes_of(plan: Any, name: str = "purchase") -> list[Code]:
    """The written functions of an event's rules."""
    return [code for rule in plan.rules_for(event_of(name)) for code in (rule.name_code, rule.body_code) if code.source]


def vocabulary(source: str) -> set[str]:
    """Every name, attribute and text of a source: what it could do."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Attribute):
            words.add(f".{node.attr}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(repr(node.value))
    return words


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_file_never_becomes_code(text: str) -> None:
    key = " ".join(text.split())  # a key is one line
    manifest = f"""
    tables: {{t: {{{quoted(key)}: {quoted(text)}}}}}
    blocks: {{b: {{{quoted(key)}: $user.email}}}}
    events:
      purchase:
        name: Purchase
        body:
          {quoted(key)}: {{$use: b}}
          constant: {quoted(text)}
          list: [{quoted(text)}, $user.email]
          joined: {{$for: $items, $do: $item.id, $join: {quoted(text)}}}
          table: $user.email | map:t
          setting: {{$when: $user.email, $value: $setting.pixel_id}}
    """
    settings = {"pixel_id": text, "token": SecretStr(text), "table": {text: text}, "keys": [text]}
    plan = plan_of(manifest, settings=settings)
    payload = parts_of(plan, event_of(user={"email": key}, items=[{"id": "a"}, {"id": "b"}]))[0].payload
    assert payload["constant"] == payload["setting"] == payload["table"] == text
    assert payload["joined"] == f"a{text}b"
    assert payload[key] == {key: key}
    for code in codes_of(plan):
        assert text not in code.source
        assert "boom" not in code.source


@pytest.mark.parametrize("text", [text.replace("'", '"').replace("\n", " ") for text in HOSTILE])
def test_text_in_an_expression_never_becomes_code(text: str) -> None:
    single = text.replace("\\", "\\\\")
    assert value_of(f"$props.x // '{single}'", props={}) == text
    assert value_of(f"$props['{single}']", props={text: 7}) == 7
    assert value_of(f"$props.x | replace:'a','{single}'", props={"x": "a"}) == text
    assert value_of(f"<${{$props.x}}>{text}", props={"x": text}) == f"<{text}>{text}"


def test_written_functions_use_numbered_names_and_their_helpers_alone() -> None:
    plan = plan_of(
        """
        tables: {words: {a: A}}
        events:
          purchase:
            name: "Order ${$props.id}"
            body:
              odd key: $props.x | lower | sha256
              all: {$merge: [$props, {b: $user.id // $ids.x}], $when: "$props.x == 'y' or $props.n > 1"}
              lines: {$for: $items, $if: $item.id, $do: {i: $index, id: "$item.id | str", q: "$item.q | int | default:1"}}
              word: $props.a | map:words
              price: $props.p | money:2
        """
    )
    known = {*HELPERS, "scope", "data", "run", "event", "props", "user", "ids", "items", "FAILURES"}
    for code in codes_of(plan):
        unknown = {word for word in vocabulary(code.source) if word not in known and not re.fullmatch(r"'K[0-9]+'", word)}
        plain = {word for word in unknown if word[0] == "." or word[0] == "'"}
        plain -= {".encode", ".hexdigest"}
        assert plain <= {".get", ".data", ".name", ".append", ".update", "'props'", "'user'", "'ids'", "'items'"}
        unknown = {word for word in unknown if word[0] not in ".'"}
        assert all(word.strip("0123456789") in ("K", "v", "w", "t", "m", "d", "i", "item") for word in unknown)


def test_what_was_written_can_be_read_without_a_secret() -> None:
    plan = plan_of("events: {purchase: {name: P, body: {a: '$props.x // $setting.token', b: $user.id}}}")
    (code,) = codes_of(plan)
    assert 'props := data.get("props")' in code.source
    assert "'b'" in code.legend.values()
    assert "str" in code.legend.values()
    assert "sesame" not in code.source + str(code.legend)


def test_written_functions_have_no_builtins() -> None:
    plan = plan_of("events: {purchase: {name: P, body: {a: $props.x}}}")
    (rule,) = plan.rules_for(event_of())
    assert rule.body.__globals__["__builtins__"] == {}


DEEP = {
    "alternatives": " // ".join(f"$props.x{n}" for n in range(150)) + " // $props.y",
    "parentheses": "(" * 38 + "$props.x // $props.y" + " | lower)" * 38,
    "alternatives in each other": "($props.x // " * 38 + "$props.y" + " | lower)" * 38,
    "calls": "$props.y" + " | lower | default:'z'" * 60,
    "arguments": "$props.y | default:(" * 38 + "$props.x" + ")" * 38,
    "then": "$props.y | then:(" * 38 + "$props.y" + ")" * 38,
}


@pytest.mark.parametrize("expression", DEEP.values(), ids=list(DEEP))
def test_expressions_may_be_long_and_deep(expression: str) -> None:
    assert value_of(expression, props={"y": "found"}) == "found"


CONDITIONS = {
    "and": " and ".join(["$props.y"] * 150),
    "or": " or ".join(["$props.x"] * 150 + ["$props.y"]),
    "both with calls": " and ".join(["($props.y | lower) == 'found'", "$props.x or ($props.y | lower)"] * 40),
    "not": "not (" * 18 + "$props.y" + ")" * 18,
    "calls in each other": "($props.y | lower) and (" * 38 + "$props.y" + ")" * 38,
    "either in each other": "($props.x | lower) or (" * 38 + "$props.y" + ")" * 38,
}


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=list(CONDITIONS))
def test_conditions_may_be_long_and_deep(condition: str) -> None:
    made = shape_of(f'a: {{$when: "{condition}", $value: 1}}', props={"y": "found"})
    assert made == {"a": 1}
    assert shape_of(f'a: {{$when: "not ({condition})", $value: 1}}', props={"y": "found"}) == {}


def test_loops_and_conditions_in_each_other_agree_with_the_tracing_evaluator() -> None:
    shape = "$item.id // $index"
    for depth in range(8):
        when = '$when: "$item.id | lower | then:true"' if depth % 2 else '$when: "$index >= 0"'
        shape = f'{{$for: $items, $do: {{{when}, n{depth}: {shape}, at: "$index"}}}}'
    nested = shape
    for _ in range(10):
        nested = f'{{$when: "($props.y | lower) and $props.y", k: {nested}}}'
    plan = plan_of(f"events:\n  purchase:\n    name: P\n    body: {nested}\n")
    event = event_of(props={"y": "Y"}, items=[{"id": "a"}, {"id": "B", "n": 2}])
    assert parts_of(plan, event)[0].payload == trace(plan, event, NOW).parts[0].payload
    assert "run1(scope, item" in plan.rules_for(event)[0].body_code.source


@pytest.mark.parametrize(
    "given", [{}, {"own": ""}, {"own": "y", "out": 1}, {"out": 1}, [], [{}], [{"out": 1}], "text", 0, None]
)
@pytest.mark.parametrize(
    "chain",
    [
        "omit:out | flatten",
        "omit:out | flatten | keys:'[a-z]+' | scalars | clip:3 | head:2",
        "omit:out | flatten | len",
        "pick:own | scalars | json",
        "omit:out | keys:'x' | default:'none'",
        "omit:out | head:1 | flatten | scalars | clip:1 | values | len",
        "omit:out | pick:$props.none",
        "omit:out | head:$props.none",
    ],
)
def test_functions_that_sift_agree_with_the_tracing_evaluator_where_nothing_is_left(chain: str, given: Any) -> None:
    plan = plan_of(f'events:\n  purchase:\n    name: P\n    body: {{x: {{$keep: "$props.p | {chain}"}}}}\n')
    event = event_of(props={"p": given})
    assert parts_of(plan, event)[0].payload == trace(plan, event, NOW).parts[0].payload


@pytest.mark.parametrize(
    "given", [{}, *({"p": value} for value in (None, "", 0, False, [], {}, [""], ["x", None], "x", 2**30))]
)
@pytest.mark.parametrize(
    "chain", ["", "| str", "| num", "| int", "| list", "| map:t", "| then:5", "| lower", "| len", "| default:7"]
)
def test_what_is_absent_null_or_empty_agrees_with_the_tracing_evaluator(chain: str, given: Any) -> None:
    plan = plan_of(
        f"""
        tables: {{t: {{x: 1, _: 2}}}}
        events:
          purchase:
            name: P
            body:
              field: "$props.p {chain}"
              list: ["$props.p {chain}"]
              other: "$props.q // $props.p {chain}"
              deep: "$props.p.q {chain}"
              when: {{$when: "($props.p {chain}) or $props.q", $value: 1}}
              lines: {{$for: "[$props]", $if: $item.p, $do: {{a: "$item.p {chain}", b: "$item.q // $item.p {chain}"}}}}
        """
    )
    event = event_of(props=given)
    assert parts_of(plan, event)[0].payload == trace(plan, event, NOW).parts[0].payload


@pytest.mark.parametrize(
    ("call", "given", "counted"),
    [("unix", "yesterday", True), ("unix", "", False), ("len", 5, False), ("num", "x", True), ("slice:1", {"a": 1}, False)],
)
def test_a_function_is_counted_once_where_its_null_counts(call: str, given: Any, counted: bool) -> None:
    meter = Nulls()
    shape_of(f'x: "$props.p | {call}"', meter=meter, props={"p": given})
    assert meter.seen == ([("acme", "x")] if counted else [])


@pytest.mark.parametrize(
    "text", ["Jane", "a" * 64, "A" * 32, "z" * 64, "", "\ud800", "null", ["Jane", "b" * 64], 5, None, {"a": 1}]
)
@pytest.mark.parametrize(
    "chain", ["sha256", "lower | sha256", "email | sha256", "name | sha256 | upper", "md5 | sha1", "sha1 | len"]
)
def test_hashes_agree_with_the_tracing_evaluator(chain: str, text: Any) -> None:
    plan = plan_of(
        f'events: {{purchase: {{name: P, body: {{x: {{$keep: "$props.p | {chain}"}}, l: ["$props.p | {chain}"]}}}}}}'
    )
    event = event_of(props={"p": text})
    assert parts_of(plan, event)[0].payload == trace(plan, event, NOW).parts[0].payload


def test_a_mistake_is_found_before_anything_is_written() -> None:
    with pytest.raises(ConfigErrors):
        plan_of("events: {purchase: {name: P, body: {a: $props.x | nosuch}}}")
