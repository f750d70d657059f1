"""Meta's hashing equals Meta's own: our functions against facebook-business, and our cookies against Meta's parameter builder.

A few hundred inputs in many scripts. Where we differ on purpose, the rule stands in DIFFERENCES with its reason, and a case is
let off only if that rule is about it; the same table is in docs/destinations.md. (The Python parameter builder makes cookies
only; its rules for personal data are those of Meta's newer code, which the manifest follows.)
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.enrich import enrich
from gateway.receive.hit import Hit
from tests import destination_kit as kit

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from capi_param_builder import ParamBuilder
    from facebook_business.adobjects.serverside.normalize import Normalize

ABSENT = None
USER = {
    "em": "email", "ph": "phone", "fn": "first_name", "ln": "last_name", "ct": "city", "st": "state", "zp": "zip",
    "country": "country", "db": "birthdate", "ge": "gender",
}  # fmt: skip

INPUTS: dict[str, list[str]] = yaml.safe_load((kit.GOLDEN / "identities.yaml").read_text())
"""Meta's field → values as sites send them, hashed ones among them."""


def ours(field: str, value: str) -> str | None:
    """What the manifest sends for a value, or nothing."""
    one = kit.ready("meta")
    made = kit.parts(one, {"name": "contact", "ids": {"fbp": "fb.1.1.1"}, "user": {USER[field]: value}})[0].payload
    found: list[str] = made["user_data"].get(field, [])
    assert len(found) <= 1
    return found[0] if found else ABSENT


def theirs(field: str, value: str) -> str | None:
    """What the SDK sends, or nothing where it raises or gives nothing."""
    try:
        return Normalize.normalize_field(field, value) or ABSENT
    except (TypeError, ValueError):
        return ABSENT


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def lowered(value: str) -> str:
    return value.lower().strip()


def _letters(value: str) -> str:
    return "".join(char for char in lowered(value) if unicodedata.category(char)[0] in "LMN")


Rule = Callable[[str, str | None, str | None], bool]
ADDRESS = re.compile(r"[^@\s]+@[^@\s.][^@\s]*\.[^@\s]{2,}")
STATE_CODES = tuple(sha(code) for code in ("ca", "ny", "nc", "on", "qc", "bc", "tx", "wa", "dc"))


def digits(value: str) -> str:
    return re.sub(r"\D", "", value).lstrip("0")


def no_address(value: str) -> bool:
    return not ADDRESS.fullmatch(value.strip()) or ".." in value


NAMES: list[tuple[str, Rule]] = [
    ("punctuation and white space go, letters of every script stay", lambda v, a, b: a == sha(_letters(v))),
]
DIFFERENCES: dict[str, list[tuple[str, Rule]]] = {
    "*": [
        ("an MD5 is no SHA-256: it is not passed on as one", lambda v, a, b: len(v) == 32 and v == b and a == sha(v)),
        ("the SDK hashes what is empty after trimming, we leave it out", lambda v, a, b: not v.strip() and a is ABSENT),
        ("a word for nothing is no identity", lambda v, a, b: lowered(v) in ("null", "none", "unknown") and a is ABSENT),
    ],
    "em": [
        ("what does not look like an address is left out", lambda v, a, b: a is ABSENT and no_address(v)),
        ("white space inside is taken out", lambda v, a, b: a == sha(re.sub(r"\s", "", v).lower())),
    ],
    "ph": [
        ("the SDK knows a national pattern, we take the digits", lambda v, a, b: a == sha(digits(v))),
    ],
    "fn": NAMES,
    "ln": NAMES,
    "ct": [
        ("only a-z and 0-9 stay", lambda v, a, b: a == sha(re.sub(r"[^a-z0-9]", "", lowered(v)))),
        ("a city in another script is left out", lambda v, a, b: a is ABSENT and not re.search(r"[a-z0-9]", lowered(v))),
    ],
    "st": [
        ("names of US states and Canadian provinces become their codes", lambda v, a, b: a in STATE_CODES),
        ("punctuation goes, digits stay", lambda v, a, b: a == sha(_letters(v))),
    ],
    "zp": [("one character is no postcode", lambda v, a, b: a is ABSENT and len(lowered(v).split("-")[0]) < 2)],
    "country": [
        ("names and longer codes are translated", lambda v, a, b: a in (sha("us"), sha("de"), sha("gb")) and b is ABSENT),
        ("two letters are not looked up", lambda v, a, b: a == sha("xx") and b is ABSENT),
    ],
    "db": [
        ("written as YYYYMMDD", lambda v, a, b: a == sha("19850307")),
        ("what is no date is left out", lambda v, a, b: a is ABSENT and v in ("1985-02-30", "soon")),
    ],
    "ge": [
        ("words become f and m", lambda v, a, b: a in (sha("f"), sha("m"))),
        ("anything else is left out", lambda v, a, b: a is ABSENT and lowered(v) not in ("f", "m")),
    ],
}
"""Field (or `*`) → why we differ, and whether a (value, ours, theirs) is such a case."""


def explained(field: str, value: str, mine: str | None, sdk: str | None) -> str | None:
    return next((why for why, rule in (*DIFFERENCES["*"], *DIFFERENCES[field]) if rule(value, mine, sdk)), None)


@pytest.mark.parametrize("field", INPUTS)
def test_hashes_equal_the_sdk_but_for_what_the_table_says(field: str) -> None:
    unexplained = []
    used: set[str] = set()
    for value in INPUTS[field]:
        mine, sdk = ours(field, value), theirs(field, value)
        if mine == sdk:
            continue
        why = explained(field, value, mine, sdk)
        used.add(why or "")
        if why is None:
            unexplained.append((value, mine, sdk))
    assert not unexplained
    unused = {why for why, _ in DIFFERENCES[field]} - used
    assert not unused, f"no input shows this difference: {unused}"


def test_there_are_hundreds_of_inputs_and_most_hashes_are_equal() -> None:
    pairs = [(ours(field, value), theirs(field, value)) for field, values in INPUTS.items() for value in values]
    assert len(pairs) > 300
    assert sum(mine == sdk for mine, sdk in pairs) / len(pairs) > 0.6
    assert not [mine for mine, _ in pairs if mine == sha("")]


def test_the_docs_name_the_fields_that_differ() -> None:
    text = (Path(__file__).parents[1] / "docs" / "destinations.md").read_text().split("Deliberate differences in hashing")[1]
    table = text.split('<a id="')[0]
    for word in ("e-mail", "phone", "first and last name", "city", "state", "postcode", "country", "date of birth", "gender"):
        assert f"| {word} |" in table


CLICKS = ["IwAR0AbC-_x", "IwZXh0bgNhZW0CMTEAAR0", "AbCdEf123", "a.b", "x" * 100]


@pytest.mark.parametrize("click", CLICKS)
def test_a_click_id_becomes_the_cookie_that_meta_would_write(click: str) -> None:
    builder = ParamBuilder(["shop.example"])
    builder.process_request("www.shop.example", {"fbclid": [click]}, {}, None)
    cookie = builder.get_fbc()
    assert cookie is not None
    prefix, index, stamp, theirs_click = cookie.split(".", 3)
    received = 1_795_514_400.0
    url = f"https://www.shop.example/?fbclid={click}"
    event: dict[str, Any] = {"time": kit.TIME, "page": {"url": url}, "source": "shop", "dialect": "json"}
    made = enrich(event, Hit("POST", "/v1/events", "", {"host": "t.shop.example"}, b"", "shop", received))
    mine = made["ids"]["fbc"]
    assert mine.split(".")[:2] == [prefix, index]
    assert re.fullmatch(r"\d{13}", mine.split(".")[2])
    assert re.fullmatch(r"\d{13}", stamp)
    assert mine.split(".", 3)[3] == click
    assert theirs_click.startswith(click)
