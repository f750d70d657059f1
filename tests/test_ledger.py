"""The ledger view: rows, marks, JSON and table are the counts of the store and nothing else."""

from __future__ import annotations

import orjson
import pytest

from gateway.observe.ledger import SENTENCES, WORDS, ledger, reason_sentence, reason_words, table
from gateway.outcomes import CODES
from gateway.queue.base import Audit, LaneCount, SourceCount

META_SHOP = LaneCount("meta", "shop", 10, 2, {("delivered", ""): 7, ("skipped", "consent"): 3}, 2, late=1)
META_BLOG = LaneCount("meta", "blog", 1000, 0, {("delivered", ""): 1000}, 0)
GA4_SHOP = LaneCount("ga4", "shop", 10, 0, {("delivered", ""): 9}, 1)
BROKEN = LaneCount("tiktok", "shop", 10, 0, {("delivered", ""): 9}, 0)
SHOP = SourceCount("shop", 12, 10, 1, 1)
NEVER_CONFIRMS = frozenset({"ga4"})


def view(*lanes: LaneCount, sources: tuple[SourceCount, ...] = (SHOP,), problems: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    return ledger(Audit(sources, lanes, problems), {}, NEVER_CONFIRMS)


def test_a_destination_row_is_the_sum_over_its_sources() -> None:
    (row,) = view(META_SHOP, META_BLOG)["destinations"]
    figures = {key: row[key] for key in ("accepted", "backfilled", "delivered", "queued", "late", "balanced")}
    assert figures == {"accepted": 1012, "backfilled": 2, "delivered": 1007, "queued": 2, "late": 1, "balanced": True}
    assert row["accepted"] == sum(cell["events"] for cell in row["outcomes"]) + row["queued"]
    assert [(pair["source"], pair["accepted"]) for pair in row["sources"]] == [("blog", 1000), ("shop", 12)]


@pytest.mark.parametrize(
    ("lanes", "sources", "problems", "balanced"),
    [
        ((META_SHOP, GA4_SHOP), (SHOP,), (), True),
        ((META_SHOP, BROKEN), (SHOP,), (), False),
        ((META_SHOP,), (SourceCount("shop", 12, 10, 1, 0),), (), False),
        ((META_SHOP,), (SHOP,), ("row 5 of shop is damaged",), False),
        ((META_SHOP, LaneCount("meta", "blog", 5, 0, {("delivered", ""): 6}, 0)), (SHOP,), (), False),
    ],
    ids=["all hold", "a destination is off by one", "a source is off by one", "a damaged row", "one source of a destination"],
)
def test_the_ledger_balances_only_when_every_equation_does(
    lanes: tuple[LaneCount, ...], sources: tuple[SourceCount, ...], problems: tuple[str, ...], balanced: bool
) -> None:
    assert view(*lanes, sources=sources, problems=problems)["balanced"] is balanced


def test_errors_of_two_sources_do_not_cancel_out() -> None:
    more = LaneCount("meta", "shop", 5, 0, {("delivered", ""): 6}, 0)
    less = LaneCount("meta", "blog", 5, 0, {("delivered", ""): 4}, 0)
    assert not view(more, less)["destinations"][0]["balanced"]


def test_the_table_shows_the_equation_with_its_mark() -> None:
    text = table(view(META_SHOP, META_BLOG, GA4_SHOP))
    assert text.splitlines()[:3] == [
        "destination  accepted = delivered + no consent + queued",
        "ga4 *              10 =         9 +          0 +      1  ✓",
        "meta            1,012 =     1,007 +          3 +      2  ✓",
    ]
    assert text.splitlines()[4:6] == [
        "source  accepted = logged + same again + same id, other content",
        "shop          12 =     10 +          1 +                      1  ✓",
    ]
    assert "* counted as delivered when sent" in text


def test_the_table_says_what_does_not_balance() -> None:
    text = table(view(BROKEN, problems=("row 5 of shop is damaged",)))
    assert "✗ does not balance" in text
    assert "problem: row 5 of shop is damaged" in text
    assert "* counted" not in text


def test_an_empty_store_gives_an_empty_table() -> None:
    assert table(ledger(Audit((), ()), {})) == ""


def test_event_names_carry_their_outcomes_per_destination_and_duplicates_at_the_source() -> None:
    counters = {
        ("shop", "meta", "purchase", "delivered", ""): 2,
        ("blog", "meta", "purchase", "delivered", ""): 3,
        ("shop", "ga4", "purchase", "skipped", "consent"): 1,
        ("shop", "", "purchase", "duplicate", "same"): 4,
        ("shop", "", "custom", "logged", ""): 4,
        ("shop", "meta", "custom", "dead", "timeout"): 0,
    }
    body = ledger(Audit((), ()), counters)
    assert body["events"] == [
        {
            "event": "purchase",
            "destinations": {
                "ga4": [{"outcome": "skipped", "reason": "consent", "words": "no consent", "events": 1}],
                "meta": [{"outcome": "delivered", "reason": "", "words": "delivered", "events": 5}],
            },
            "duplicates": [{"outcome": "duplicate", "reason": "same", "words": "same again", "events": 4}],
        }
    ]


def test_the_ledger_is_plain_json_and_marks_who_never_confirms() -> None:
    body = view(META_SHOP, GA4_SHOP)
    assert orjson.loads(orjson.dumps(body)) == body
    assert {row["destination"]: row["confirmed"] for row in body["destinations"]} == {"ga4": False, "meta": True}
    assert body["sources"] == [{"source": "shop", "accepted": 12, "logged": 10, "same": 1, "conflict": 1, "balanced": True}]


def test_every_outcome_and_reason_has_words() -> None:
    pairs = {(str(outcome), reason) for outcome, reason in CODES}
    assert set(WORDS) == pairs
    assert set(SENTENCES) == pairs
    assert len(set(WORDS.values())) == len(pairs)
    assert all(reason_words(*pair) and reason_sentence(*pair).endswith(".") for pair in pairs)
