"""Bots: crawlers are found, people stay people, and a caller that is a server is not judged by its own agent."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from is_bot import Bots

from gateway.enrich.bots import REASONS, agent_reason, judge
from gateway.enrich.crawlers import NOT_CRAWLERS, Crawlers
from gateway.enrich.lookups import Lookups
from gateway.enrich.pace import Pace
from gateway.receive.hit import Hit
from gateway.receive.proxies import Networks
from tests.client_kit import node_modules

CORPORA = Path(__file__).parent / "corpora"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
PEOPLE = {
    "accept-language": "de",
    "sec-ch-ua": '"Google Chrome";v="142", "Chromium";v="142"',
    "sec-ch-ua-mobile": "?0",
    "sec-fetch-mode": "no-cors",
    "user-agent": CHROME,
}
IN_APP = [
    "Mozilla/5.0 (Linux; Android 15; CPH2557 Build/AP3A.240617.008; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/142.0.7444.142 Mobile Safari/537.36 Instagram 406.0.0.58.159 Android (35/15; 480dpi; 1080x2400; OPPO)",
    "Mozilla/5.0 (Linux; Android 16; Pixel 10 Pro XL Build/CP1A.260305.018; wv) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Version/4.0 Chrome/146.0.7680.174 Mobile Safari/537.36 MetaIAB Facebook",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
    "[FBAN/FBIOS;FBAV/460.0.0;FBDV/iPhone15,2;FBSN/iOS;FBSV/17.5]",
    "Mozilla/5.0 (Linux; Android 14; SM-G991B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/126.0.6478.122 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/470.0.0.51.78;]",
    "Mozilla/5.0 (Linux; Android 13; SM-A536B Build/TP1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/120.0.0.0 Mobile Safari/537.36 trill_320905 JsSdk/1.0 AppName/musical_ly BytedanceWebview/d8a21c6",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 "
    "Mobile/15E148 Snapchat/12.80.0.45 (like Safari/8617.2.4.10.8, panda)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Mobile/15E148 [Pinterest/iOS]",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) GSA/310.0.0 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 13; Discovery SE) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 "
    "Mobile Safari/537.36",
]
CRAWLERS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "AdsBot-Google-Mobile",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "ChatGPT-User/1.0",
    "ClaudeBot/1.0",
    "PerplexityBot/1.0",
    "meta-externalagent/1.1",
    "facebookexternalhit/1.1",
    "Mozilla/5.0 (compatible; bingbot/2.0)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0)",
    f"{CHROME} HeadlessChrome/142.0",
    f"{CHROME} Chrome-Lighthouse",
    "Mozilla/5.0 PTST/1.0",
    "python-requests/2.32",
    "curl/8.9",
]


HOSTED = Lookups(datacentres=Networks(["203.0.113.0/24"]))


def hit(headers: dict[str, str], route: str = "/p.gif", **more: Any) -> Hit:
    return Hit("GET", route, "", headers, b"", "shop", 1_795_514_400.0, ip="203.0.113.7", **more)


@pytest.mark.parametrize("agent", IN_APP, ids=lambda agent: agent[-40:])
def test_in_app_browsers_stay_people(agent: str) -> None:
    assert agent_reason(agent) == ""


@pytest.mark.parametrize("agent", IN_APP[:-1], ids=lambda agent: agent[-40:])
def test_in_app_browsers_are_not_suspected_for_headers_rate_or_address(agent: str) -> None:
    headers = {"user-agent": agent, "sec-ch-ua": '"Chromium";v="1"', "sec-ch-ua-mobile": "?1"}
    assert judge({"dialect": "pixel"}, hit(headers), ("rate",), HOSTED) is None
    steered = {**headers, "user-agent": f"{agent} HeadlessChrome/1"}
    assert (judge({"dialect": "pixel"}, hit(steered)) or {})["score"] == 100


@pytest.mark.parametrize("agent", CRAWLERS, ids=lambda agent: agent[-40:])
def test_crawlers_and_tools_are_bots_on_an_image(agent: str) -> None:
    found = judge({"dialect": "pixel"}, hit({"user-agent": agent, "accept-language": "en"}))
    assert found is not None
    assert found["score"] == 100


NO_HINTS = {"sec-ch-ua": "-", "sec-fetch-mode": "-", "x-forwarded-proto": "https"}
CASES: list[tuple[str, dict[str, str], dict[str, Any], int, list[str]]] = [
    ("a person", {}, {}, 0, []),
    ("no agent at all", {"user-agent": ""}, {}, 100, ["agent_empty"]),
    ("no language", {"accept-language": "-"}, {}, 30, ["no_accept_language"]),
    ("hints of another version", {"sec-ch-ua": '"Chromium";v="99"'}, {}, 30, ["client_hints_differ"]),
    ("a desktop that says mobile", {"sec-ch-ua-mobile": "?1"}, {}, 30, ["client_hints_differ"]),
    ("headless in the hints only", {"sec-ch-ua": '"HeadlessChrome";v="142"'}, {}, 100, ["agent_automation"]),
    ("hints missing over https", NO_HINTS, {}, 30, ["client_hints_missing"]),
    ("opened by a machine", {}, {"dialect": "email", "props": {"open_kind": "scanner", "open_machine": True}}, 100,
     ["mail_machine"]),
    ("opened ahead", {}, {"dialect": "email", "props": {"open_kind": "prefetch", "open_machine": True}}, 100, ["prefetch"]),
    ("a driven browser says so", {}, {"raw": {"wd": "1"}}, 100, ["webdriver"]),
    ("an impossible screen", {}, {"device": {"screen_width": 0, "screen_height": 0}}, 30, ["screen"]),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "data", "score", "reasons"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_signals_add_up(headers: dict[str, str], data: dict[str, Any], score: int, reasons: list[str]) -> None:
    said = {name: value for name, value in {**PEOPLE, **headers}.items() if value != "-"}
    found = judge({"dialect": "pixel", **data}, hit(said))
    assert found == ({"score": score, "reasons": reasons} if score else None)
    assert set(reasons) <= set(REASONS)


@pytest.mark.parametrize(
    "agent",
    ["", "x", "Mozilla/5.0", "Foo.com", "foocom", "myMONITOR/2", "monitored", "cubot", "A cubot_", "ROBOT", "newsSapphire",
     "gnews", "12", "a12", "DuckDuckGo", "no duckduckgo", "(x", "ünïcode bot", "\N{KELVIN SIGN}", "a" * 60, "Discovery SE"],
)  # fmt: skip
def test_the_list_is_looked_up_as_its_package_would(agent: str) -> None:
    theirs = Bots()
    theirs.exclude(NOT_CRAWLERS)
    assert Crawlers().has(agent) is theirs.is_bot(agent)


def test_an_agent_that_was_never_seen_costs_less_than_the_rest_of_its_hit() -> None:
    browsers = [CHROME.replace("142", str(number)) for number in range(400)]
    crawlers = Crawlers()
    best = min(_seconds(crawlers, browsers) for _ in range(5)) / len(browsers)
    assert best < 150e-6, f"{best * 1e6:.0f} µs; 20 µs where nothing else runs"


def _seconds(crawlers: Crawlers, agents: list[str]) -> float:
    began = time.thread_time()
    assert not any(crawlers.has(agent) for agent in agents)
    return time.thread_time() - began


def test_two_suspicions_pass_the_default_limit_and_one_does_not() -> None:
    said = {name: value for name, value in PEOPLE.items() if name != "accept-language"}
    one = judge({"dialect": "pixel"}, hit(said))
    two = judge({"dialect": "pixel"}, hit(said), ("rate",))
    assert one is not None
    assert two is not None
    assert one["score"] <= 50 < two["score"]


@pytest.mark.parametrize(
    ("data", "more", "score"),
    [
        ({"dialect": "segment"}, {"route": "/v1/batch"}, 0),
        ({"dialect": "segment", "device": {"user_agent": CRAWLERS[0]}}, {"route": "/v1/batch"}, 100),
        ({"dialect": "segment", "device": {"user_agent": CHROME}}, {"route": "/v1/batch"}, 0),
        ({"dialect": "json"}, {"route": "/v1/events", "server": True}, 0),
        ({"dialect": "json", "bot": {"score": 80}}, {"route": "/v1/events", "server": True}, 80),
        ({"dialect": "json", "bot": {"score": 80}}, {"route": "/v1/events", "browser": True}, 100),
    ],
    ids=["an SDK's library", "the agent it names", "a person it speaks for", "a server", "a server's word", "a browser's word"],
)
def test_a_server_is_judged_by_the_agent_of_its_event(data: dict[str, Any], more: dict[str, Any], score: int) -> None:
    found = judge(data, hit({"user-agent": "analytics-node-next/latest"}, **more))
    assert (found["score"] if found else 0) == score


@pytest.mark.parametrize(
    ("headers", "more", "found"),
    [
        ({}, {}, {"score": 30, "reasons": ["datacentre"]}),
        ({"accept-language": "-"}, {}, {"score": 100, "reasons": ["no_accept_language", "datacentre"]}),
        ({}, {"bot_score": 5}, {"score": 35, "reasons": ["upstream", "datacentre"]}),
        ({"user-agent": CRAWLERS[0]}, {}, {"score": 100, "reasons": ["agent_crawler", "datacentre"]}),
        ({}, {"server": True}, None),
        ({}, {"route": "/v1/batch"}, None),
        ({}, {"route": "/v1/batch", "browser": True}, {"score": 30, "reasons": ["datacentre"]}),
    ],
    ids=["alone", "with another suspicion", "with a low score", "with a bot", "a server key", "an SDK", "a browser's SDK"],
)
def test_a_data_centre_is_a_suspicion_of_browsers(headers: dict[str, str], more: dict[str, Any], found: Any) -> None:
    said = {name: value for name, value in {**PEOPLE, **headers}.items() if value != "-"}
    dialect = "segment" if more.get("route") else "pixel"
    assert judge({"dialect": dialect}, hit(said, **more), (), HOSTED) == found


def test_the_rate_of_a_server_is_not_its_visitors() -> None:
    assert judge({"dialect": "segment"}, hit(PEOPLE, "/v1/batch"), ("rate",)) is None


def test_a_trusted_proxys_score_counts_as_it_is() -> None:
    assert judge({"dialect": "pixel"}, hit(PEOPLE, bot_score=60)) == {"score": 60, "reasons": ["upstream"]}


@pytest.mark.slow
def test_crawlers_are_found_and_real_browsers_are_not_taken_for_them() -> None:
    modules = asyncio.run(node_modules(CORPORA))
    crawlers = json.loads((modules / "crawler-user-agents" / "crawler-user-agents.json").read_text())
    known = [agent for one in crawlers for agent in one["instances"]]
    recall = sum(bool(agent_reason(agent)) for agent in known) / len(known)
    top = json.loads((modules / "top-user-agents" / "src" / "index.json").read_text())
    real = {one["userAgent"] for one in json.loads((modules / "user-agents" / "dist" / "user-agents.json").read_text())}
    wrong = [agent for agent in {*top, *real} if agent_reason(agent)]
    theirs = Bots()
    theirs.exclude(NOT_CRAWLERS)
    ours = Crawlers()
    assert [agent for agent in {*known, *top, *real} if ours.has(agent) != theirs.is_bot(agent)] == []
    assert recall >= 0.99, f"{recall:.4f}"
    assert len(wrong) / len({*top, *real}) <= 0.0005, wrong


def test_a_client_over_the_pace_is_suspect_until_the_minute_ends() -> None:
    pace = Pace(per_minute=3)
    hits = [hit(PEOPLE)._replace(received=1000.0 + n, body=bytes([n])) for n in range(5)]
    assert [pace.suspicions(one) for one in hits] == [(), (), (), ("rate",), ("rate",)]
    assert pace.suspicions(hits[-1]) == ("rate",), "another event of the same hit is no hit more"
    assert pace.suspicions(hit(PEOPLE)._replace(received=1070.0)) == ()
    assert pace.suspicions(hit(PEOPLE)._replace(received=1070.0, ip="203.0.113.8")) == ()
    assert pace.suspicions(hit(PEOPLE)._replace(received=1070.0, server=True)) == ()
