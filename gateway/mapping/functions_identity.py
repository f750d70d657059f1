"""Identity functions: personal data cleaned as the vendors ask before it is hashed.

All return a value of 32, 40 or 64 hexadecimal digits unchanged but lower-cased, so that what arrives hashed stays so, and
give null for what is no value: the texts "null", "undefined", "none" … and the hashes of the empty text. Where vendors
normalise differently there are variants, and the vendor's own sheet (the manifest's `docs`) says which one it wants.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps

from gateway.mapping.functions import function
from gateway.mapping.functions_text import HASH_LENGTHS, is_hash
from gateway.mapping.places import COUNTRIES, STATES

NOTHING = frozenset({"", "null", "undefined", "none", "nil", "nan", "n/a", "(not set)", "(null)", "unknown", "[object object]"})
"""What sites send where they know nothing; never an identity."""
EMPTY_HASHES = frozenset(
    {
        "d41d8cd98f00b204e9800998ecf8427e",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
)
"""MD5, SHA-1 and SHA-256 of the empty text."""
_EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[^@\s,;<>().]{2,}")
_PLAIN_EMAIL = re.compile(r"[a-z0-9_.+-]+@[a-z0-9.-]+\.[a-z]{2,}")
"""What most addresses look like: each of them is one for _EMAIL, which looks longer at every character."""
_GMAIL = ("gmail.com", "googlemail.com")
_EXTENSION = re.compile(r"\s*(?:ext\.?|x|#|;)\s*\d", re.IGNORECASE)
_NO_EXTENSION = re.compile(r"[-+0-9 ()./]+")
_NO_DIGITS = bytes(code for code in range(128) if not chr(code).isdigit())
_ALNUM = {code: None for code in range(128) if not chr(code).isalnum()}
_SPACED = {code: None for code in _ALNUM if not chr(code).isspace()}
_NOT_CITY = re.compile(r"[^a-z0-9]")
_DATES = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y")
_GENDERS = {
    **dict.fromkeys(("f", "female", "woman", "girl", "w", "weiblich", "femme", "mujer"), "f"),
    **dict.fromkeys(("m", "male", "man", "boy", "männlich", "homme", "hombre"), "m"),
}


def identity(name: str | None = None) -> Callable[[Callable[[str], str | None]], Callable[[str], str | None]]:
    """Register a cleaning function (given lower-case text without outer space) behind the rules that all identities share."""

    def wrap(clean: Callable[[str], str | None]) -> Callable[[str], str | None]:
        @wraps(clean)
        def work(text: str) -> str | None:
            value = text.strip().lower()
            if len(value) in HASH_LENGTHS and is_hash(value):
                return None if value in EMPTY_HASHES else value
            if value in NOTHING:
                return None
            return clean(value) or None

        function("identity", each=True, name=name)(work)
        return work

    return wrap


def _email(text: str) -> tuple[str, str] | None:
    value = _address(text)
    if value is None:
        return None
    user, _, domain = value.rpartition("@")
    return user, domain


def _address(text: str) -> str | None:
    if _PLAIN_EMAIL.fullmatch(text) and len(text) <= 320 and ".." not in text:
        return text
    if not _EMAIL.fullmatch(text):
        text = "".join(text.split())
        if not _EMAIL.fullmatch(text):
            return None
    return None if len(text) > 320 or ".." in text else text


@identity()
def email(text: str) -> str | None:
    """An e-mail address, lower case without spaces; dots and `+tag` stay. It must look like an address. (Meta, TikTok)"""
    return _address(text)


@identity()
def email_gmail(text: str) -> str | None:
    """As `email`, and for gmail.com and googlemail.com without dots and `+tag` before the @. (Google)"""
    found = _email(text)
    if not found or found[1] not in _GMAIL:
        return f"{found[0]}@{found[1]}" if found else None
    return _bare(*found)


@identity()
def email_strict(text: str) -> str | None:
    """As `email`, without dots and `+tag` before the @ for every domain. (Reddit)"""
    found = _email(text)
    return _bare(*found) if found else None


def _bare(user: str, domain: str) -> str | None:
    kept = user.partition("+")[0].replace(".", "")
    return f"{kept}@{domain}" if kept else None


def _digits(text: str) -> str:
    """ASCII digits of a phone number without leading zeros, digits of other scripts translated."""
    if not text.isascii():
        text = "".join(char if char.isascii() else str(unicodedata.digit(char, "")) for char in text)
    return text.encode().translate(None, _NO_DIGITS).lstrip(b"0").decode()


@identity()
def phone_digits(text: str) -> str | None:
    """A phone number with its country code: digits only, leading zeros out (so `00` works like `+`). (Meta, Snap, Pinterest)"""
    digits = _digits(text)
    return digits if len(digits) >= 5 else None


@identity()
def phone(text: str) -> str | None:
    """A phone number as E.164: `+` and digits, leading zeros and an extension out. (Google, TikTok, Reddit)"""
    plain = text if _NO_EXTENSION.fullmatch(text) else _EXTENSION.split(text, maxsplit=1)[0]
    digits = _digits(plain)
    return f"+{digits}" if len(digits) >= 5 else None


def _letters(text: str, *, spaces: bool = False) -> str:
    """Without punctuation, symbols and control characters, in any script; letters, marks and digits stay."""
    if text.isascii():
        return text if text.isalnum() else text.translate(_SPACED if spaces else _ALNUM)
    kept = (char for char in text if unicodedata.category(char)[0] in "LMN" or (spaces and char.isspace()))
    return "".join(kept)


@identity()
def name(text: str) -> str | None:
    """A first or last name: lower case, no white space, no punctuation; letters of every script stay. (Meta)"""
    return text if text.isascii() and text.isalnum() else _letters(text)


@identity()
def name_spaced(text: str) -> str | None:
    """A name or street: lower case, no punctuation, inner spaces kept as one. (Google)"""
    return " ".join(_letters(text, spaces=True).split())


@identity()
def name_letters(text: str) -> str | None:
    """A name: lower case, no digits and symbols, inner spaces kept as one. (GA4 names, cities and regions)"""
    kept = (char for char in text if unicodedata.category(char)[0] in "LM" or char.isspace())
    return " ".join("".join(kept).split())


@identity()
def name_compact(text: str) -> str | None:
    """A name: lower case, no white space; punctuation stays. (TikTok, Snap)"""
    return "".join(text.split())


@identity()
def city(text: str) -> str | None:
    """A city: lower case, only a-z and 0-9. (Meta)"""
    return text if text.isascii() and text.isalnum() else _NOT_CITY.sub("", text)


@identity()
def plain_place(text: str) -> str | None:
    """A city, state or country sent unhashed: lower case, letters of every script and digits only. (TikTok)"""
    return _letters(text)


@identity()
def state(text: str) -> str | None:
    """A state: lower case, no punctuation and spaces; names of US states and Canadian provinces become their codes. (Meta)"""
    kept = _letters(text)
    kept = kept.removeprefix("us") if len(kept) == 4 and text.startswith(("us-", "us_")) else kept
    return STATES.get(kept, kept)


@identity(name="zip")
def zip_(text: str) -> str | None:
    """A postcode: lower case, no spaces, only the part before `-`; at least 2 characters. (Meta)"""
    kept = "".join(text.split()).partition("-")[0]
    return kept if len(kept) >= 2 else None


@identity()
def zip_compact(text: str) -> str | None:
    """A postcode: lower case, spaces and dashes out. (TikTok)"""
    return "".join(text.split()).replace("-", "")


@identity()
def country(text: str) -> str | None:
    """A country as its ISO 3166-1 alpha-2 code in lower case; common English names and alpha-3 codes are translated."""
    kept = _letters(text)
    return COUNTRIES.get(kept, kept if len(kept) == 2 else "")


@identity()
def gender(text: str) -> str | None:
    """`f` or `m`; anything else is left out."""
    return _GENDERS.get(text)


@identity()
def dob(text: str) -> str | None:
    """A date of birth as YYYYMMDD; a text that is no date, or one outside 1900 to 2099, is left out."""
    day = _day(text)
    return f"{day.year}{day.month:02}{day.day:02}" if day and 1900 <= day.year < 2100 else None


def _day(text: str) -> date | None:
    head = text[:10] if len(text) > 10 and text[10] in "t " else text
    try:
        return date.fromisoformat(head)  # YYYY-MM-DD and YYYYMMDD, twenty times faster than strptime
    except ValueError:
        pass
    for form in _DATES:
        try:
            return datetime.strptime(head, form).date()
        except ValueError:
            continue
    return None
