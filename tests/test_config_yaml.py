"""The strict YAML loader: hostile input is refused fast and in words, and nothing but ConfigErrors ever comes out."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.config.load import load
from gateway.config.tree import MarkedList, MarkedMap, Scalar, plain
from gateway.config.words import near, suspicious
from gateway.config.yaml_file import MAX_BYTES, parse, read_tree
from gateway.errors import ConfigErrors, Problem

SLOWEST = 2.0
"""Seconds on a machine that is busy with other things; on a free one each takes less than 0.2."""

HOSTILE = {
    "3,000 lists in each other": ("[" * 3000, "f.yaml:1: nested deeper than 32 levels"),
    "a million maps in each other": ("{a: " * 250_000, "f.yaml:1: nested deeper than 32 levels"),
    "600 levels of indentation": ("\n".join(" " * i + "a:" for i in range(600)), "f.yaml:33: nested deeper than 32 levels"),
    "dashes without end": ("- " * 400_000, "f.yaml:1: nested deeper than 32 levels"),
    "question marks without end": ("? " * 400_000, "a key must be text, not a list or map; quote it"),
    "half a million items": ("[" + "a," * 500_000, "f.yaml:1: more than 30000 values in one file"),
    "90,000 keys": ("\n".join(f"k{i}: 1" for i in range(90_000)), "f.yaml:15000: more than 30000 values in one file"),
    "90,000 times the same key": ("a: 1\n" * 90_000, "f.yaml:51: a is given twice (first in line 1)"),
    "300,000 aliases": ("a: &a [1]\n" + "\n".join(f"b{i}: *a" for i in range(60_000)), "*a is an alias"),
    "a megabyte of commas": ("{" + "," * 900_000, "a comma is missing"),
    "a megabyte of braces": (
        "{" * 1_000_000,
        "f.yaml:1: ",
    ),  # a key that is no text, or too deep: by how far libyaml reads ahead
    "a megabyte of tabs": ("a:\n" + "\t" * 900_000, "a tab stands here"),
    "comments behind every item": ("- a #b\n" * 150_000, 'the value is cut at " #"'),
    "one long line with comments signs": ("[" + "a, #" * 200_000, "f.yaml:1:"),
    "quotes without end": ('a: "' + "x" * 1_000_000, "a quote that opens here is not closed"),
    "anchors without end": ("&a " * 300_000, "&a is an anchor"),
    "a key of a megabyte": ("? " + "a" * 1_000_000 + "\n: 1\n", "f.yaml:1: a key must be one line of at most 256 characters"),
    "a key of two lines": ('"a\\nb": 1\n', "f.yaml:1: a key must be one line of at most 256 characters"),
    "a bomb of aliases": (
        "a: &a [x]\n" + "\n".join(f"{chr(98 + i)}: &{chr(98 + i)} [{f'*{chr(97 + i)},' * 9}]" for i in range(9)),
        "b[0]: *a is an alias, which is not read",
    ),
}


def told(text: str) -> str:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_input_is_refused_fast(text: str, message: str) -> None:
    began = time.process_time()
    words = told(text)
    assert time.process_time() - began < SLOWEST
    assert message in words
    assert len(words.splitlines()) <= 50


def test_a_file_over_a_mebibyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES * 1000)
    with pytest.raises(ConfigErrors, match=r"big.yaml: is larger than 1024 KiB"):
        read_tree(path, "big.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff\n", "f.yaml:1: is not UTF-8 text"),
        ("a: 1\nb: é".encode("latin-1"), "f.yaml:2: is not UTF-8 text"),
        ("a: 1".encode("utf-16"), "f.yaml:1: is not UTF-8 text"),
        (b"a: 1\nb: \x00\n", "f.yaml:2: the character U+0000 is not allowed"),
        ("a: \u200b\ufffe\n".encode(), "f.yaml:1: the character U+FFFE is not allowed"),
        (b"", "f.yaml: is empty; it must hold a map of keys"),
        (b"# only a comment\n", "f.yaml: is empty; it must hold a map of keys"),
        (b"[1, 2]\n", "f.yaml:1: must hold a map of keys (`key: value` lines)"),
    ],
)
def test_what_is_no_map_of_text_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ConfigErrors) as caught:
        read_tree(tmp_path / "f", "f.yaml")
    assert str(caught.value) == message


def test_places_are_lines_and_columns_from_one() -> None:
    tree = parse("# top\na:\n  b: [x, 'NO']\n  c: null\n", "f.yaml")
    assert isinstance(tree, MarkedMap)
    assert isinstance(tree["a"], MarkedMap)
    items = tree["a"]["b"]
    assert isinstance(items, MarkedList)
    assert (tree.marks["a"].line, tree["a"].marks["b"].line, items.marks[1].column) == (2, 3, 10)
    first, second = items
    assert (first.plain, first.flow, second.plain) == (True, True, False)
    assert tree["a"]["c"] is None


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_tree(tmp_path / "f") == {"a": "1"}


def test_several_problems_of_a_file_are_told_together() -> None:
    words = told("a: &x 1\nb: *x\nc: !!str y\nb: 2\nd: {e}\nf: @\n")
    assert [line.split(": ")[0] for line in words.splitlines()] == [f"f.yaml:{n}" for n in range(1, 7)]


@pytest.mark.parametrize(
    "text",
    [
        "share: 100   # percent",
        "when: $props.value > 0 # only paid ones",
        'name: "Order #5"',
        "name: Order#5",
        "list:\n  - a # first\n  - b ##### second",
        "a: {b: null, c: ~}",
        "a: {b: '', c: \"\"}",
        "a: |\n  text # with a sign\n  more",
        "page_view:",
        'token: ${NAME:-"x"}',
        "list: [a, b,]",
        '"*": {name: $event.name}',
        "a: $x // $y | lower",
    ],
)
def test_usual_writing_is_read(text: str) -> None:
    assert parse(text, "f.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("false", False), ("1", 1), ("-12", -12), ("1.50", 1.5), ("1e3", 1000.0), ("'1'", "1"),
        ('"true"', "true"), ("NO", "NO"), ("2026-11-24", "2026-11-24"), ("v1.3", "v1.3"), ("1.2.3", "1.2.3"), ("+49", 49),
    ],
)  # fmt: skip
def test_undeclared_scalars_are_read_as_yaml_1_2(text: str, value: object) -> None:
    assert plain(parse(f"a: {text}", "f.yaml")) == {"a": value}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("NO", "false"), ("no", "false"), ("Off", "false"), ("y", "true"), ("YES", "true"), ("True", "true"),
        ("FALSE", "false"), ("0123", "83"), ("0x1F", "31"), ("0o17", "15"), ("1_000", "1000"), ("12:30", "750"),
        ("1:30:00", "5400"), (".nan", ".nan"), ("0199", "199"), ("-.INF", "-.inf"),
    ],
)  # fmt: skip
def test_what_yaml_reads_differently_is_suspicious(text: str, read: str) -> None:
    scalar = parse(f"a: {text}", "f.yaml")["a"]
    assert suspicious(scalar) == f'was read as "{read}" by YAML; quote it: "{text}"'
    assert suspicious(parse(f"a: '{text}'", "f.yaml")["a"]) is None


@pytest.mark.parametrize(
    "text", ["true", "false", "1", "1.5", "null", "NOK", "v1", "2026-11-24", "$event.id", "0", "0.5", "a:b"]
)
def test_usual_words_and_numbers_are_not_suspicious(text: str) -> None:
    assert suspicious(Scalar(text, parse("a: b", "f.yaml").mark)) is None


@pytest.mark.parametrize(
    ("word", "meant"),
    [("lisen", "listen"), ("write-keys", "write_keys"), ("Sources", "sources"), ("qqqq", None), ("", None), ("x" * 5000, None)],
)
def test_near_matches(word: str, meant: str | None) -> None:
    assert near(word, ["listen", "write_keys", "sources"]) == meant


PIECES = st.sampled_from(
    """a b: : - [ ] { } , ? & * ! | > ' " % @ ` # \\ $ ${ ${A} ${A:-b} ${file:/x} &a *a !!python/name:os << --- ... \t
    sources: shop: hosts: origins: consent: listen: admin: token: queue: path: destinations: meta: type: settings: pixel_id:
    access_token: events: purchase: body: limits: max_age: null NO 0123 1e999 .nan true ~""".split(" ")
)
TEXTS = st.lists(
    st.one_of(PIECES, st.sampled_from([" ", "\n", "\n  ", "\n    ", "\n- "]), st.text(max_size=4)), max_size=60
).map("".join)


def assert_only_config_errors(path: Path) -> None:
    found: tuple[Problem, ...] = (Problem("it loads"),)
    try:
        load(path, {"A": "1"})
    except ConfigErrors as error:
        found = error.problems
    assert found
    assert all(problem.message and "\n" not in problem.message for problem in found)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, kind=st.sampled_from(["gateway", "destination"]))
@example(text="sources:\n  shop:\ndestinations: destinations/\nlab: ${A}", kind="gateway")
@example(text="type: meta\nsettings:\n  [a]", kind="destination")
@example(text="extends: .\n", kind="destination")
@example(text='sources: "a\\0b"\n', kind="gateway")
@example(text='sources: {shop: }\ndestinations: "\\0"\n', kind="gateway")
def test_whatever_stands_in_a_file_only_config_errors_come_out(tmp_path: Path, text: str, kind: str) -> None:
    folder = tmp_path / "configs" / "destinations"
    folder.mkdir(parents=True, exist_ok=True)
    gateway = tmp_path / "configs" / "gateway.yaml"
    files = {gateway: "sources:\n  shop:\ndestinations: destinations/\n", folder / "meta.yaml": "type: webhook\n"}
    files[gateway if kind == "gateway" else folder / "meta.yaml"] = text
    for path, content in files.items():
        path.write_text(content)
    began = time.perf_counter()
    assert_only_config_errors(gateway)
    assert time.perf_counter() - began < SLOWEST


MUTATIONS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_sample_never_crashes_the_loader(tmp_path: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(MUTATIONS))
    text = path.read_text()
    start = data.draw(st.integers(0, len(text)))
    damaged = text[:start] + data.draw(TEXTS) + text[start + data.draw(st.integers(0, 30)) :]
    folder = tmp_path / "configs" / "destinations"
    folder.mkdir(parents=True, exist_ok=True)
    gateway = tmp_path / "configs" / "gateway.yaml"
    gateway.write_text("sources:\n  shop:\ndestinations: destinations/\n")
    target = gateway if path.name == "gateway.yaml" else folder / "meta.yaml"
    target.write_text(damaged)
    assert_only_config_errors(gateway)
