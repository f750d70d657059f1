"""Casts, money, time, map and logic functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, wraps
from typing import Any

from gateway.clock import iso as iso_text
from gateway.mapping.functions import LARGEST, Work, all_text, as_text, function, is_empty, nothing, scalar_text, to_number

_TRUE = frozenset({"true", "1", "yes", "on", "y", "t"})
_FALSE = frozenset({"false", "0", "no", "off", "n", "f"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_ZERO_DECIMALS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())


def minor_digits(currency: str) -> int:
    """How many decimals a currency's minor unit has (ISO 4217)."""
    code = currency.strip().upper()
    return 0 if code in _ZERO_DECIMALS else 3 if code in _THREE_DECIMALS else 2


def _listwise(cast: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A cast that works on each element of a list and drops what it cannot do."""

    @wraps(cast)
    def work(value: Any) -> Any:
        if type(value) is not list:
            return cast(value)
        return [made for one in value if not is_empty(made := work(one))]

    return work


_texts = _listwise(as_text)


@function("cast", name="str", passes=(str,))
def str_(value: Any) -> Any:
    """As text: whole numbers without a point, booleans as true and false, maps as JSON; a list element by element."""
    if type(value) is list and all_text(value):
        return value
    return _texts(value)


@function("cast", passes=(int, float))
@_listwise
def num(value: Any) -> Any:
    """As a finite number; a decimal text is read; a list element by element."""
    return to_number(value)


@function("cast", name="int", passes=(int,))
@_listwise
def int_(value: Any) -> int | None:
    """As a whole number, decimals cut off; a decimal text is read; a list element by element."""
    number = to_number(value)
    return None if number is None else to_whole(number)


def to_whole(number: int | float) -> int | None:
    """Cut to an integer that fits 64 bit, or null."""
    whole = int(number)
    return whole if -(2**63) <= whole < 2**63 else None


@function("cast", name="bool")
@_listwise
def bool_(value: Any) -> bool | None:
    """As true or false: 1/0, true/false, yes/no, on/off in any case; a list element by element."""
    if isinstance(value, bool):
        return value
    text = (scalar_text(value) or "").strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


@function("cast", name="list", passes=(list,))
def list_(value: Any) -> list[Any]:
    """As a list: a list is itself, another value a list of one."""
    return value if isinstance(value, list) else [value]


def _decimal(value: Any) -> Decimal | None:
    number = to_number(value)
    return None if number is None else Decimal(repr(number))


def _shifted(value: Any, digits: int) -> int | None:
    exact = _decimal(value)
    if exact is None:
        return None
    return to_whole(int((exact.scaleb(digits)).quantize(Decimal(1), ROUND_HALF_UP)))


@function("money", "money:2", fewest=0, most=1)
def money(decimals: Any = 2) -> Work:
    """Text with a fixed number of decimals, halves rounded up: 12.5 becomes "12.50"."""
    places = Decimal(1).scaleb(-_places(decimals))

    def work(value: Any) -> str | None:
        exact = _decimal(value)
        return None if exact is None else f"{exact.quantize(places, ROUND_HALF_UP):f}"

    return work


def _places(decimals: Any) -> int:
    number = to_number(decimals)
    if number is None or not 0 <= number <= 12:
        raise ValueError("decimals must be 0 to 12")
    return int(number)


@function("money", "minor:$props.currency", fewest=1, most=1)
def minor(currency: Any) -> Work:
    """Integer minor units of a currency: 12.34 EUR becomes 1234, 500 JPY stays 500; null without a currency."""
    code = scalar_text(currency)
    return lambda value: _shifted(value, minor_digits(code)) if code else None


@function("money")
def micros(value: Any) -> int | None:
    """Integer millionths: 1.5 becomes 1500000."""
    return _shifted(value, 6)


@function("money", "round:2", fewest=0, most=1, name="round")
def round_(decimals: Any = 0) -> Work:
    """A number rounded to so many decimals, halves away from zero."""
    count = _places(decimals)
    places = Decimal(1).scaleb(-count)

    def work(value: Any) -> int | float | None:
        exact = _decimal(value)
        if exact is None:
            return None
        rounded = exact.quantize(places, ROUND_HALF_UP)
        return float(rounded) if count else to_whole(int(rounded))

    return work


def to_micros(value: Any) -> int:
    """Epoch microseconds of RFC 3339 text or of an epoch in s, ms or µs (told apart by size). Raises ValueError."""
    return _text_micros(value) if type(value) is str else _micros(value)


@lru_cache(maxsize=256)
def _text_micros(text: str) -> int:
    """Every destination asks the same times of an event."""
    return _micros(text)


def _micros(value: Any) -> int:
    if isinstance(value, str):
        text = value.strip()
        if text[4:5] == "-" or not text.lstrip("-").replace(".", "", 1).isdigit():
            moment = datetime.fromisoformat(text)
            since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
            return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds
    exact = _decimal(value)
    if exact is None:
        raise ValueError("not a time")
    size = abs(exact)
    if size >= LARGEST:
        raise ValueError("not a time")
    factor = 1_000_000 if size < 10**11 else 1000 if size < 10**14 else 1
    return int(exact * factor)


@function("time")
def unix(value: Any) -> int:
    """Epoch seconds of a time."""
    return to_micros(value) // 1_000_000


@function("time")
def unix_ms(value: Any) -> int:
    """Epoch milliseconds of a time."""
    return to_micros(value) // 1000


@function("time")
def unix_us(value: Any) -> int:
    """Epoch microseconds of a time."""
    return to_micros(value)


@function("time")
def iso(value: Any) -> str:
    """A time as RFC 3339 UTC with milliseconds."""
    return iso_text(to_micros(value) / 1_000_000)


@function("time", 'date:"%Y%m%d"', fewest=1, most=1)
def date(form: Any) -> Work:
    """A time (UTC) in a strftime format."""
    pattern = scalar_text(form) or "%Y-%m-%d"
    return lambda value: datetime.fromtimestamp(to_micros(value) / 1_000_000, UTC).strftime(pattern)


@function("time", takes_now=True)
def age_s(now: float) -> Work:
    """Whole seconds that have passed since a time."""
    return lambda value: int(now - to_micros(value) / 1_000_000)


@function("map", "map:table", fewest=1, most=1, name="map", takes_table=True, counts=False)
def map_(table: Any) -> Work:
    """Look a value up in a table of the manifest or in a setting that holds a map; `_` is the default, else null."""
    entries: Mapping[str, Any] = table if isinstance(table, Mapping) else {}
    default = entries.get("_")
    if not entries:
        return nothing

    def one(value: Any) -> Any:
        return entries.get(value if type(value) is str else scalar_text(value) or "", default)

    def work(value: Any) -> Any:
        return [found for each in value if (found := one(each)) is not None] if isinstance(value, list) else one(value)

    return work


def _keys(given: tuple[Any, ...]) -> list[str]:
    keys: list[str] = []
    for one in given:
        keys.extend(str(as_text(inner)) for inner in (one if isinstance(one, list) else [one]) if not is_empty(inner))
    return keys


@function("map", "pick:a,b", fewest=1, most=None, counts=False)
def pick(*given: Any) -> Work:
    """Only these keys of a map (or of each map in a list); one list of keys may be given instead."""
    keys = tuple(dict.fromkeys(_keys(given)))
    if not keys:
        return nothing
    return _maps(lambda one: {key: one[key] for key in keys if key in one})


@function("map", "omit:a,b", fewest=1, most=None, counts=False)
def omit(*given: Any) -> Work:
    """A map (or each map in a list) without these keys; one list of keys may be given instead."""
    keys = frozenset(_keys(given))
    only = next(iter(keys), "")

    def without(one: Any) -> dict[str, Any]:
        if type(one) is dict and len(keys) == 1:
            rest = one.copy()
            rest.pop(only, None)
            return rest
        if type(one) is dict and keys.issuperset(one):
            return {}
        return {key: value for key, value in one.items() if key not in keys}

    return _maps(without)


@function("map", "rename:table", fewest=1, most=1, takes_table=True)
def rename(table: Any) -> Work:
    """A map (or each map in a list) with its keys renamed by a table; keys that it does not name stay."""
    names: Mapping[str, Any] = table if isinstance(table, Mapping) else {}
    return _maps(lambda one: {str(names.get(key, key)): value for key, value in one.items()})


def _maps(change: Any) -> Work:
    def work(value: Any) -> Any:
        if isinstance(value, list):
            return [change(one) for one in value if isinstance(one, dict)]
        return change(value)

    return work


def snake_case(text: str) -> str:
    """`orderTotal` and `Order Total` become `order_total`."""
    return "_".join(word.lower() for word in _WORD.findall(text)) or text


def camel_case(text: str) -> str:
    """`order_total` and `Order Total` become `orderTotal`."""
    words = _WORD.findall(text)
    return (words[0].lower() + "".join(word.capitalize() for word in words[1:])) if words else text


def _cased(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {change(key): inner for key, inner in value.items()}
    if isinstance(value, list):
        return [_cased(inner, change) for inner in value]
    return change(scalar_text(value))


@function("map")
def snake(value: Any) -> Any:
    """Keys of a map (or a text) in snake_case."""
    return _cased(value, snake_case)


@function("map")
def camel(value: Any) -> Any:
    """Keys of a map (or a text) in camelCase."""
    return _cased(value, camel_case)


@function("map", 'flatten:"_"', fewest=0, most=1, name="flatten")
def flatten(separator: Any = "_") -> Work:
    """Nested maps as one map, keys joined by `_` (or the argument); in a list, lists inside are unfolded."""
    by = "_" if separator is None else (scalar_text(separator) or "")

    def work(value: Any) -> Any:
        if isinstance(value, list):
            return [inner for one in value for inner in (one if isinstance(one, list) else [one])]
        flat: dict[str, Any] = {}
        _flatten(value, "", by, flat)
        return flat

    return work


def _flatten(value: dict[str, Any], path: str, by: str, into: dict[str, Any]) -> None:
    for key, inner in value.items():
        name = f"{path}{by}{key}" if path else key
        if isinstance(inner, dict):
            _flatten(inner, name, by, into)
        else:
            into[name] = inner


@function("logic", "default:x", fewest=1, most=1, sees_null=True, counts=False)
def default(other: Any) -> Work:
    """The argument where the value is empty."""
    return lambda value: other if is_empty(value) else value


@function("logic", sees_null=True)
def empty(value: Any) -> bool:
    """Whether the value is null, "", [] or {}."""
    return is_empty(value)


@function("logic", sees_null=True)
def exists(value: Any) -> bool:
    """Whether the value is not empty."""
    return not is_empty(value)


@function("logic", "eq:x", fewest=1, most=1, sees_null=True)
def eq(other: Any) -> Work:
    """Whether the value equals the argument, compared as `==` does."""
    return lambda value: same(value, other)


@function("logic", "then:x", fewest=1, most=1, counts=False)
def then(value: Any) -> Work:
    """The argument where the value is not empty and not false, else null."""
    return lambda condition: value if holds(condition) else None


def holds(value: Any) -> bool:
    """How a bare condition and `require` read a value: not empty and not false (0 holds)."""
    return bool(value) or not (value is False or is_empty(value))


def same(left: Any, right: Any) -> bool:
    """`==`: text with text, number with number (a numeric text is cast), true/false/null with themselves; else false."""
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    if left is None or right is None or isinstance(left, bool) or isinstance(right, bool):
        return left is right
    a, b = to_number(left), to_number(right)
    return a is not None and b is not None and a == b


def ordered(left: Any, right: Any) -> tuple[Any, Any] | None:
    """Both sides made comparable for < and >, or None where no order exists."""
    if isinstance(left, str) and isinstance(right, str):
        return left, right
    a, b = to_number(left), to_number(right)
    return None if a is None or b is None else (a, b)


def within(value: Any, container: Any) -> bool:
    """`in`: an element of a list equals the value, or a map has it as a key."""
    if isinstance(container, list):
        return any(same(value, element) for element in container)
    return isinstance(container, dict) and (scalar_text(value) or "") in container if value is not None else False
