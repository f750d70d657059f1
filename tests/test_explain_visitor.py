"""`tagway explain` and the page tell who the visitor was known by: which cookie gave which id, and what speaks for a bot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.clock import FrozenClock, parse_instant
from gateway.config.load import load
from gateway.enrich.bots import WORDS
from gateway.enrich.signed import Signer
from gateway.explain import Stage, stories_of_hit
from gateway.hit_file import read_hit
from gateway.plans import prepare
from tests.cli_kit import tagway
from tests.gateway_kit import DENIED, GRANTED, LAB, Running, running, write_files

START = parse_instant("2026-11-24T10:00:03Z")
KEY = "a-signing-key-of-the-tests-0123456789"
SITE = "https://www.shop.example"
IDENTITY = "    identity:\n      domain: .shop.example\n      linked: [brand.example]\n"
SOURCES = f"  shop:\n    write_keys: [wk_shop]\n    origins: ['{SITE}']\n{IDENTITY}"
META = {"meta": LAB["meta"].format(base="http://127.0.0.1:9")}
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
ID = f"1.{'a' * 22}.1795500000.1795500000."
CLICKS = "1|gclid:Cj0KCQiA_test:1795500000"


def cookies(key: bytes = KEY.encode()) -> str:
    """A visitor who was here before: our three cookies and some of vendors."""
    seal = Signer(key).sealed
    ours = {"_tw_id": ("id", ID), "_tw_sid": ("sid", f"1795514000.3.{int(START) - 60}"), "_tw_click": ("click", CLICKS)}
    signed = [f"{name}={seal(kind, value)}" for name, (kind, value) in ours.items()]
    return "; ".join([*signed, "_ga=GA1.1.1098115397.1795514300", "_fbp=fb.1.1795514300000.1234567890"])


def request(cookie: str = "", agent: str = CHROME, consent: Any = GRANTED, url: str = f"{SITE}/", **event: Any) -> bytes:
    """A hit of the shop's page, as a tool copies it."""
    body = orjson.dumps({"name": "purchase", "consent": consent, "page": {"url": url}, **event})
    lines = ["POST /v1/events?k=wk_shop HTTP/1.1", "Host: t.shop.example", f"Origin: {SITE}", "Sec-Fetch-Site: same-site"]
    lines += [f"User-Agent: {agent}", "Accept-Language: de-DE", *([f"Cookie: {cookie}"] if cookie else [])]
    return "\r\n".join([*lines, "", ""]).encode() + body


def stages(folder: Path, hit: bytes, key: str | None = KEY, secret: bytes | None = None) -> dict[str, Stage]:
    """The stages of the only event of a hit; `key` is the source's own."""
    path = write_files(folder, META, SOURCES + ("      key: ${SIGNS}\n" if key else ""))
    config = load(path, {"SIGNS": key} if key else {}, secrets=False)
    [story] = stories_of_hit(config, prepare(config), read_hit(hit, config, None, START), START, secret)
    return {stage.name: stage for stage in story.stages}


def told(stage: Stage) -> dict[str, str]:
    """Where what the stage changed came from."""
    return {path: stage.origins.get(path, "") for path in stage.changed}


def test_each_id_of_a_known_visitor_is_told_with_its_cookie(tmp_path: Path) -> None:
    found = stages(tmp_path, request(cookies()))
    assert found["visitor"].changed["user.anonymous_id"] == "a" * 22
    assert found["visitor"].changed["ids.gclid"] == "Cj0KCQiA_test"
    assert (found["visitor"].changed["session.id"], found["visitor"].changed["session.number"]) == ("1795514000", 3)
    session = dict.fromkeys(("session.id", "session.number", "session.started"), "cookie _tw_sid")
    assert told(found["visitor"]) == {"user.anonymous_id": "the id cookie", "ids.gclid": "cookie _tw_click", **session}
    enriched = told(found["enrich"])
    assert (enriched["ids.ga_client_id"], enriched["ids.fbp"]) == ("cookie _ga", "cookie _fbp")
    assert (enriched["device.user_agent"], enriched["device.os"]) == ("the request's User-Agent", "device.user_agent")


def test_a_new_visitor_is_made_and_the_answer_sets_the_cookies(tmp_path: Path) -> None:
    found = stages(tmp_path, request(url=f"{SITE}/?fbclid=IwAR0abc&utm_source=mail"))["visitor"]
    assert told(found)["user.anonymous_id"] == "a new one, as no cookie held any"
    assert told(found)["session.id"] == "the visit that begins here"
    assert found.notes[-1] == "the answer sets _tw_id, _tw_sid, _tw_click, _fbc"


def test_click_ids_and_campaign_are_told_with_the_address(tmp_path: Path) -> None:
    enriched = stages(tmp_path, request(url=f"{SITE}/?fbclid=IwAR0abc&utm_source=mail"))["enrich"]
    wanted = {"ids.fbclid": "page.url", "campaign.source": "page.url", "ids.fbc": "made of the fbclid of page.url"}
    assert {path: told(enriched)[path] for path in wanted} == wanted


def test_another_user_on_the_device_begins_anew(tmp_path: Path) -> None:
    signer = Signer(KEY.encode())
    cookie = f"_tw_id={signer.sealed('id', ID + signer.who('u-1'))}"
    found = stages(tmp_path, request(cookie, user={"id": "u-2"}))["visitor"]
    assert told(found)["user.anonymous_id"] == "a new one, as another user was known on this device"
    assert found.changed["user.anonymous_id"] != "a" * 22


def test_a_click_that_may_be_an_earlier_users_is_told_as_left_out(tmp_path: Path) -> None:
    signer = Signer(KEY.encode())
    cookie = f"_tw_id={signer.sealed('id', ID + signer.who('u-1'))}; _gcl_aw=GCL.1795500000.Cj0KCQiA_of_the_other"
    found = stages(tmp_path, request(cookie, user={"id": "u-2"}))
    assert found["enrich"].origins["ids.gclid"] == "cookie _gcl_aw"
    assert "left out, as an earlier user of the device may have clicked there: ids.gclid" in found["visitor"].notes
    assert not [path for path in found["visitor"].changed if path.startswith("ids.")]


@pytest.mark.parametrize(
    ("hit", "note"),
    [
        (request(cookies(), consent=DENIED), "neither ad_storage nor analytics_storage is granted"),
        (request(cookies()).replace(b"same-site", b"cross-site"), "no page of this site sent it"),
    ],
)
def test_where_no_cookie_of_ours_is_read_the_reason_is_told(tmp_path: Path, hit: bytes, note: str) -> None:
    found = stages(tmp_path, hit)["visitor"]
    assert found.changed == {}
    assert [one for one in found.notes if one.startswith(note)]


def test_a_cookie_of_another_hand_is_nobodys(tmp_path: Path) -> None:
    found = stages(tmp_path, request(cookies(b"somebody else's secret")))["visitor"]
    assert told(found)["user.anonymous_id"] == "a new one, as no cookie held any"


def test_without_the_secret_cookies_are_taken_at_their_word_and_this_is_said(tmp_path: Path) -> None:
    found = stages(tmp_path, request(cookies(b"not known here")), key=None)["visitor"]
    assert told(found)["user.anonymous_id"] == "the id cookie"
    assert "taken at their word" in found.notes[0]
    known = stages(tmp_path, request(cookies(b"the store's")), key=None, secret=b"the store's")["visitor"]
    assert (told(known)["user.anonymous_id"], "their word" in "".join(known.notes)) == ("the id cookie", False)


@pytest.mark.parametrize(
    ("agent", "score", "reason"),
    [("Googlebot/2.1", 100, "agent_crawler"), ("HeadlessChrome/142", 100, "agent_automation"), (CHROME, None, "")],
)
def test_what_speaks_for_a_bot_is_told_in_words(tmp_path: Path, agent: str, score: int | None, reason: str) -> None:
    found = stages(tmp_path, request(agent=agent))["bots"]
    assert found.changed.get("bot.score") == score
    assert found.notes == ((WORDS[reason],) if reason else ("nothing speaks against a person",))


def test_the_command_prints_the_stage_and_the_chain_of_a_field(tmp_path: Path) -> None:
    path = str(write_files(tmp_path, META, SOURCES))
    (tmp_path / "hit.http").write_bytes(request(cookies(), props={"value": 1, "currency": "EUR"}))
    asked = ("explain", "-c", path, "--hit", str(tmp_path / "hit.http"))
    shown = tagway(*asked)
    assert f'  user.anonymous_id = "{"a" * 22}"    from the id cookie' in shown.stdout, shown.stderr
    shown = tagway(*asked, "--field", "user_data.fbp")
    assert '  enrich: ids.fbp = "fb.1.1795514300000.1234567890"    from cookie _fbp' in shown.stdout, shown.stderr
    [first, *_] = json.loads(tagway(*asked, "--field", "user_data.external_id[0]", "--json").stdout)
    assert {(one["stage"], one["from"]) for one in first["before"]} == {("visitor", "the id cookie")}
    [story] = json.loads(tagway(*asked, "--json").stdout)["stories"]
    visitor = next(one for one in story["stages"] if one["stage"] == "visitor")
    assert visitor["origins"]["ids.gclid"] == "cookie _tw_click"


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    hook = {"webhook": LAB["webhook"].format(base="http://127.0.0.1:9")}
    async with running(tmp_path, hook, sources=SOURCES, clock=FrozenClock(START)) as gateway:
        yield gateway


async def test_the_page_tells_who_a_stored_events_visitor_was_known_by(up: Running) -> None:
    headers = {"Origin": SITE, "Sec-Fetch-Site": "same-site", "Cookie": cookies(up.app.store.salt), "User-Agent": "curl/8"}
    body = {"id": "e-1", "name": "purchase", "consent": GRANTED, "page": {"url": f"{SITE}/"}}
    async with up.client.post(f"{up.url}/v1/events?k=wk_shop", json=body, headers=headers) as answer:
        assert answer.status == 200
    [story] = (await up.admin("GET", "/story/e-1"))["stories"]
    steps = {step["title"]: step for step in story["steps"]}
    rows = {row["field"]: (row["value"], row["from"]) for row in steps["Visitor"]["rows"]}
    assert rows["user.anonymous_id"] == ("***", "the id cookie")
    assert rows["session.number"] == (3, "cookie _tw_sid")
    assert rows["ids.gclid"] == ("***", "cookie _tw_click")
    assert rows["ids.fbp"] == ("***", "the hit, or a vendor's cookie on it")
    assert steps["Visitor"]["words"].endswith("the visitor's id, the session, ids of clicks.")
    assert steps["Bots"]["words"] == f"Score 100 of 100: {WORDS['agent_crawler']}."
