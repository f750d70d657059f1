"""Shapes and their directives, what vanishes and what stays, and the order of merging."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.tree import plain
from gateway.mapping import merged
from tests.mapping_kit import config_of, event_of, manifest_of, parts_of, plan_of, problems_of, shape_of

ITEMS = [{"id": "a", "price": 1.5, "quantity": 2}, {"id": "b", "price": 0, "tags": ["x", "y"]}, {"id": ""}]


def test_plain_values_are_constants() -> None:
    shape = "a: text\nb: 5\nc: 1.5\nd: true\ne: '5'\nf: {g: [1, two]}"
    assert shape_of(shape) == {"a": "text", "b": 5, "c": 1.5, "d": True, "e": "5", "f": {"g": [1, "two"]}}


def test_empties_vanish_and_zero_and_false_stay() -> None:
    shape = """
    a: $props.none
    b: ""
    c: []
    d: {}
    e: {f: {g: $props.none}}
    h: [$props.none, {i: $props.none}, "", 0]
    j: $props.zero
    k: $props.no
    """
    assert shape_of(shape, props={"zero": 0, "no": False}) == {"h": [0], "j": 0, "k": False}


def test_empties_vanish_inside_what_an_expression_brings() -> None:
    props = {"a": {"b": "", "c": [None, {}, 1, [None]]}, "d": None, "e": 0}
    assert shape_of("all: $props", props=props) == {"all": {"a": {"c": [1]}, "e": 0}}
    assert props["d"] is None


def test_an_expression_in_a_list_is_flattened_and_a_list_written_there_is_not() -> None:
    assert shape_of('x: ["$props.l", z, [1, [2]]]', props={"l": ["a", "b"]}) == {"x": ["a", "b", "z", [1, [2]]]}
    assert shape_of('x: ["$props.l"]', props={"l": ["a"]}) == {"x": ["a"]}
    assert shape_of('x: ["$props.l"]', props={"l": 0}) == {"x": [0]}
    assert shape_of('x: ["$props.l"]', props={}) == {}


def test_vendor_keys_with_a_dollar_pass_untouched() -> None:
    shape = "$insert_id: $event.id\n$set: {$name: x}\n$unset: [a]\n$user_id: 1\n$ip: 2\n$os: 3"
    assert shape_of(shape) == {"$insert_id": "e-1", "$set": {"$name": "x"}, "$unset": ["a"], "$user_id": 1, "$ip": 2, "$os": 3}


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("x: {$for: $items, $do: $item.id}", ["a", "b"]),
        ("x: {$for: $items, $do: {i: $item.id, at: $index}}", [{"i": "a", "at": 0}, {"i": "b", "at": 1}, {"at": 2}]),
        ("x: {$for: $items, $if: $item.price > 0, $do: $item.id}", ["a"]),
        ("x: {$for: $items, $do: $item.id, $join: '|'}", "a|b"),
        ("x: {$for: $items, $if: $item.nope, $do: $item.id, $join: '|'}", None),
        ('x: {$for: "$items as product", $do: {p: $product.id, q: $product.quantity // 1}}', [
            {"p": "a", "q": 2}, {"p": "b", "q": 1}, {"q": 1},
        ]),
        ('x: {$for: "$items as p", $if: $p.tags, $do: {$for: $p.tags, $do: "${$p.id}-${$item}${$index}"}}',
         [["b-x0", "b-y1"]]),
        ("x: {$for: $items, $if: $item.tags, $do: {t: {$for: $item.tags, $do: $item}, after: $item.id}}", [
            {"t": ["x", "y"], "after": "b"},
        ]),
        ("x: {$for: $props.one, $do: $item.k}", [5]),
        ("x: {$for: $props.text, $do: $item}", ["t"]),
        ("x: {$for: $props.none, $do: $item}", None),
        ("x: {$for: $items, $do: {$keep: $item.nope}}", [None, None, None]),
        ("x: {$for: $items, $do: {$when: $item.quantity, $value: $item.id}}", ["a"]),
    ],
)  # fmt: skip
def test_loops(shape: str, value: Any) -> None:
    found = shape_of(shape, items=ITEMS, props={"one": {"k": 5}, "text": "t"})
    assert found.get("x") == value


def test_conditions_beside_keys_and_beside_a_value() -> None:
    shape = """
    a: {$when: $props.y, b: 1}
    c: {$when: $props.n, d: 1}
    e: {$when: $props.y == 'yes', $value: $props.y}
    f: {$when: not $props.y, $value: [1]}
    g: {$when: $setting.pixel_id, $value: {$when: $props.y, h: 2}}
    i: {$value: 7}
    """
    found = shape_of(shape, props={"y": "yes"})
    assert found == {"a": {"b": 1}, "e": "yes", "g": {"h": 2}, "i": 7}


def test_merge_is_a_shallow_union_and_the_keys_beside_it_win() -> None:
    shape = """
    x:
      $merge:
        - $props
        - {deep: {b: 2}, w: 2}
        - $props.none
        - $props.text
        - {$when: $props.none, z: 1}
      w: 3
    """
    found = shape_of(shape, props={"a": 1, "w": 1, "deep": {"a": 1}, "text": "t"})
    assert found == {"x": {"a": 1, "w": 3, "deep": {"b": 2}, "text": "t"}}


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("x: {$keep: []}", {"x": []}),
        ("x: {$keep: $props.none}", {"x": None}),
        ("x: {$keep: ''}", {"x": ""}),
        ("x: {$keep: {a: $props.none}}", {"x": {}}),
        ("x: {$keep: $props.messy}", {"x": {"a": None}}),
        ("x: {$keep: [a, {$keep: ''}]}", {"x": ["a", ""]}),
        ("x: {$when: $props.none, $value: {$keep: []}}", {}),
        ("x: {$when: $props.messy, $value: {$keep: []}}", {"x": []}),
    ],
)
def test_keep(shape: str, value: Any) -> None:
    assert shape_of(shape, props={"messy": {"a": None}}) == value


def test_a_block_is_copied_in_and_the_keys_beside_it_patch_it() -> None:
    manifest = """
    blocks:
      money: {value: $props.value, currency: $props.currency}
      cart: {$use: money, list: {$for: $items, $do: {id: $item.id}}, type: product}
    events:
      purchase: {body: {data: {$use: cart, type: null, currency: EUR, deep: {$use: money, value: 1}}}}
    """
    event = event_of(props={"value": 5, "currency": "USD"}, items=[{"id": "a"}])
    assert parts_of(plan_of(manifest), event)[0].payload == {
        "data": {"value": 5, "currency": "EUR", "list": [{"id": "a"}], "deep": {"value": 1, "currency": "USD"}}
    }


def test_blocks_that_use_themselves_are_refused() -> None:
    found = problems_of("blocks: {a: {$use: b}, b: {$use: a}}\nevents: {purchase: {body: {$use: a}}}")
    assert any("uses itself" in problem for problem in found)


MANIFEST = """
tables: {sizes: {s: small, m: medium}}
blocks: {user: {em: $user.email, ph: $user.phone}}
defaults: {event: $name, user: {$use: user}, source: web, size: $props.size | map:sizes}
limits: {max_event_bytes: 1000}
events:
  purchase: {name: Purchase, body: {value: $props.value, list: [1, 2], nested: {a: 1, b: 2}}}
  login: {name: Login}
  refund: null
  pair:
    - {name: One}
    - {name: Two, body: {source: null}}
"""


def payload(customer: str, event: str = "purchase", **data: Any) -> Any:
    found = event_of(event, user={"email": "e", "phone": "p"}, props={"value": 1, "size": "s"}, **data)
    return [part.payload for part in parts_of(plan_of(MANIFEST, customer), found)]


@pytest.mark.parametrize(
    ("customer", "changes"),
    [
        ("", {}),
        ("defaults: {source: app, extra: 1}", {"source": "app", "extra": 1}),
        ("defaults: {source: null}", {"source": None}),
        ("blocks: {user: {ph: null, id: $user.id // 'x'}}", {"user": {"em": "e", "id": "x"}}),
        ("tables: {sizes: {s: S}}", {"size": "S"}),
        ("events: {purchase: {body: {list: [3]}}}", {"list": [3]}),
        ("events: {purchase: {body: {nested: {a: null, c: 3}}}}", {"nested": {"b": 2, "c": 3}}),
        ("events: {purchase: {body: {nested: $props.value}}}", {"nested": 1}),
        ("events: {purchase: {name: Buy}}", {"event": "Buy"}),
        ("events: {purchase: {body: {user: {em: null}}}}", {"user": {"ph": "p"}}),
        ("blocks: {mine: {q: 1}}\nevents: {purchase: {body: {m: {$use: mine, r: 2}}}}", {"m": {"q": 1, "r": 2}}),
    ],
)
def test_a_patch_reaches_what_it_should(customer: str, changes: dict[str, Any]) -> None:
    whole = {
        "event": "Purchase", "user": {"em": "e", "ph": "p"}, "source": "web", "size": "small",
        "value": 1, "list": [1, 2], "nested": {"a": 1, "b": 2},
    }  # fmt: skip
    expected = {key: value for key, value in {**whole, **changes}.items() if value is not None}
    assert payload(customer) == [expected]


def test_defaults_lie_under_new_events_under_lists_and_under_what_replaces_a_tombstone() -> None:
    base = {"user": {"em": "e", "ph": "p"}, "source": "web", "size": "small"}
    assert payload("events: {quiz: {name: Lead, body: {x: 1}}}", "quiz") == [{"event": "Lead", **base, "x": 1}]
    assert payload("events: {refund: {name: Refund}}", "refund") == [{"event": "Refund", **base}]
    two = {key: value for key, value in base.items() if key != "source"}
    assert payload("", "pair") == [{"event": "One", **base}, {"event": "Two", **two}]
    assert payload("events: {login: [{name: A}, {name: B, body: {x: 1}}]}", "login") == [
        {"event": "A", **base},
        {"event": "B", **base, "x": 1},
    ]


def test_a_patched_loop_is_another_list() -> None:
    manifest = "events: {purchase: {body: {c: {$for: $items, $if: $item.id, $do: {id: $item.id, p: 1}}}}}"
    event = event_of(items=[{"id": "a"}, {"name": "n"}])

    def made(customer: str) -> Any:
        return parts_of(plan_of(manifest, customer), event)[0].payload["c"]

    assert made("") == [{"id": "a", "p": 1}]
    assert made("events: {purchase: {body: {c: {$do: {q: 2}}}}}") == [{"id": "a", "p": 1, "q": 2}]
    assert made("events: {purchase: {body: {c: {$for: $items, $do: {t: $item.name}}}}}") == [{"t": "n"}]
    assert made("events: {purchase: {body: {c: {x: 1}}}}") == {"x": 1}


def test_merged_tree_knows_where_each_leaf_stands() -> None:
    customer = "events:\n  purchase:\n    body:\n      source: app\n"
    tree = merged(manifest_of(MANIFEST), config_of(customer))
    body = tree["events"]["purchase"]["body"]
    assert (str(body["source"].mark), body["source"]) == ("configs/destinations/acme.yaml:4", "app")
    assert str(body["user"]["em"].mark) == "destinations/acme.yaml:2"
    assert plain(body["nested"]) == {"a": 1, "b": 2}
    assert tree["events"]["refund"] is None
