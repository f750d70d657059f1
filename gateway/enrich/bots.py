"""Is this a person? A score from 0 to 100 with reasons, for every destination to compare with its `bots.max_score` (50).

A *bot* signal is 100, a *suspect* one 30; they add up to at most 100, so that one bot signal or two suspicions pass the
default limit. Nothing is dropped here. In-app browsers (Facebook, Instagram, TikTok …) are people who clicked an ad: generic
lists take some of them for crawlers, so a list of their tokens is looked at first, and whom it names is not suspected for
headers, rate or address either.

Whose agent is judged: of a hit with browser headers, or on an image or collect route, the request's own with its headers; on
routes that servers and SDKs speak (JSON, Segment, Measurement Protocol) only the agent that the event itself names, never the
caller's library. Address and rate of a caller count only where its agent does. A score that a trusted proxy gives counts as it
is (gateway/receive/client.py says which headers).

An address in a data centre alone is a suspicion, as many people's VPN leads through one; with any other it is a bot.

Opens of e-mails were judged where they came in (gateway/receive/mail.py): proxies of mail programs are on every list of
crawlers, and a person may be behind them.

The list of crawlers is the `is-bot` package's (gateway/enrich/crawlers.py); answers are remembered for 65,536 agents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from gateway.enrich.crawlers import Crawlers
from gateway.enrich.lookups import NOTHING, Lookups
from gateway.receive.hit import Hit

BOT, SUSPECT, MOST = 100, 30, 100
LONGEST_AGENT, LONGEST_HINTS = 512, 300
WORDS = {
    "agent_empty": "it named no user agent",
    "agent_crawler": "its user agent is on the list of crawlers",
    "agent_automation": "its user agent or client hints name a browser that a program steers",
    "client_hints_differ": "its client hints are another browser's than its user agent",
    "client_hints_missing": "a browser of that version sends client hints, and none came",
    "no_accept_language": "it named no language, as every browser does",
    "prefetch": "it was fetched ahead of a visit",
    "webdriver": "the page saw that a program steers the browser",
    "screen": "its screen has no width or no height",
    "rate": "the client sent more at once than a person does",
    "datacentre": "its address is in a data centre's network",
    "upstream": "the proxy, or the server that sent it, scored it",
    "mail_machine": "a machine of a mail service fetched it",
}
"""Why: each reason in words."""
REASONS = tuple(WORDS)
"""Closed: what `bot.reasons` may hold."""
_IN_APP = re.compile(
    r"FBAN/|FB_IAB|FBAV/|MetaIAB|Instagram |Barcelona |BytedanceWebview|musical_ly|trill_|Snapchat/|\[Pinterest/"
    r"|LinkedInApp|Twitter for|Line/|MicroMessenger|GSA/|KAKAOTALK|NAVER\("
)
_AUTOMATION = (
    "headlesschrome", "phantomjs", "puppeteer", "playwright", "selenium", "lighthouse", "ptst", "gtmetrix", "slimerjs",
    "casperjs", "cypress",
)  # fmt: skip
"""Words of programs that steer a browser. One by one, since a pattern of all, whatever the case, takes 15 times as long."""
_CHROMIUM = re.compile(r"Chrom(?:e|ium)/(\d{1,6})")
_HINT_MAJOR = re.compile(r'"(?:Google Chrome|Chromium|Microsoft Edge)";\s*v="(\d+)')
_IMAGE_DIALECTS = frozenset({"pixel", "meta_pixel", "click"})
_COLLECT_ROUTES = frozenset({"/g/collect"})
_WEBVIEW = re.compile(r"; wv\)|Version/[\d.]+ Chrome/")


def judge(
    data: Mapping[str, Any], hit: Hit, suspicions: tuple[str, ...] = (), known: Lookups = NOTHING
) -> dict[str, Any] | None:
    """`{"score": 100, "reasons": ["agent_crawler"]}`, or None for who looks like a person.

    `suspicions` are reasons found elsewhere (the rate of a client); `known` is what files say of addresses. An event that
    was scored before it came here keeps its score where the body is trusted.
    """
    if data.get("dialect") == "email":
        return _of_open(data.get("props", {}))
    own = _is_visitors_own(data, hit)
    found = _signals(data, hit, own)
    if own and not is_in_app(hit.headers.get("user-agent", "")[:LONGEST_AGENT]):
        found += [(SUSPECT, reason) for reason in suspicions]
        if hit.ip and known.is_datacentre(hit.ip):
            together = any(points >= SUSPECT for points, _ in found)
            found.append((BOT if together else SUSPECT, "datacentre"))
    stated = data["bot"].get("score", 0) if "bot" in data and hit.trusts_body else 0
    if not found and not stated:
        return None
    score = min(MOST, max(stated, sum(points for points, _ in found)))
    return {"score": score, "reasons": [reason for _, reason in found] or ["upstream"]}


def _of_open(props: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of an e-mail's open: gateway/receive/mail.py knows who fetched it."""
    if not props.get("open_machine"):
        return None
    return {"score": BOT, "reasons": ["prefetch" if props.get("open_kind") == "prefetch" else "mail_machine"]}


def _signals(data: Mapping[str, Any], hit: Hit, own: bool) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    if hit.bot_score:
        found.append((hit.bot_score, "upstream"))
    if "raw" in data and data["raw"].get("wd") in ("1", 1, True, "true"):
        found.append((BOT, "webdriver"))
    if data.get("dialect") == "click" and data.get("props", {}).get("click_machine"):
        found.append((BOT, "mail_machine"))
    device = data.get("device")
    if device and (device.get("screen_width") == 0 or device.get("screen_height") == 0):
        found.append((SUSPECT, "screen"))
    if own:
        found += _of_visitor(hit.headers)
    elif device and hit.trusts_body:
        agent = device.get("user_agent")
        if agent and agent != hit.headers.get("user-agent"):
            found += _of_agent(str(agent))
    return found


def _of_visitor(headers: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Of the visitor's own request."""
    agent = headers.get("user-agent", "")
    if not agent:
        yield BOT, "agent_empty"
    yield from _of_agent(agent)
    if not is_in_app(agent[:LONGEST_AGENT]):
        yield from _of_headers(agent, headers)


def _is_visitors_own(data: Mapping[str, Any], hit: Hit) -> bool:
    """Whether the caller is the visitor's browser, and not a server or an SDK that speaks for it."""
    if hit.server:
        return False
    return hit.browser or data.get("dialect") in _IMAGE_DIALECTS or hit.route in _COLLECT_ROUTES


def _of_agent(agent: str) -> Iterator[tuple[int, str]]:
    reason = agent_reason(agent[:LONGEST_AGENT])
    if reason:
        yield BOT, reason


@lru_cache(maxsize=65_536)
def agent_reason(agent: str) -> str:
    """`agent_automation`, `agent_crawler`, or nothing for a person's agent. Remembered by agent."""
    if _is_automated(agent):
        return "agent_automation"
    if not agent or is_in_app(agent):
        return ""
    return "agent_crawler" if _crawlers().has(agent) else ""


@lru_cache(maxsize=65_536)
def is_in_app(agent: str) -> bool:
    """Whether an app shows the page, and no program that steers a browser says so. Remembered by agent."""
    return _IN_APP.search(agent) is not None and not _is_automated(agent)


def _is_automated(text: str) -> bool:
    small = text.lower()
    return any(word in small for word in _AUTOMATION)


@cache
def _crawlers() -> Crawlers:
    return Crawlers()


def _of_headers(agent: str, headers: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    if not agent.startswith("Mozilla/"):
        return
    if "accept-language" not in headers:
        yield SUSPECT, "no_accept_language"
    hints = headers.get("sec-ch-ua")
    if hints is not None:
        yield from _of_hints(agent[:LONGEST_AGENT], hints[:LONGEST_HINTS], headers.get("sec-ch-ua-mobile") == "?1")
    elif headers.get("x-forwarded-proto") == "https" and "sec-fetch-mode" not in headers:
        chromium = _CHROMIUM.search(agent)
        if chromium is not None and int(chromium[1]) >= 90 and not _WEBVIEW.search(agent):
            yield SUSPECT, "client_hints_missing"


@lru_cache(maxsize=16_384)
def _of_hints(agent: str, hints: str, mobile: bool) -> tuple[tuple[int, str], ...]:
    """What client hints say against the agent. Remembered: a browser sends the same ones with each hit."""
    found: list[tuple[int, str]] = []
    if _is_automated(hints):
        found.append((BOT, "agent_automation"))
    chromium, major = _CHROMIUM.search(agent), _HINT_MAJOR.search(hints)
    other = major is not None and chromium is not None and major[1] != chromium[1]
    if other or (mobile and "Mobile" not in agent and "Android" not in agent):
        found.append((SUSPECT, "client_hints_differ"))
    return tuple(found)
