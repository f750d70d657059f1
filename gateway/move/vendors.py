"""Whose tag is it: vendors by the type of a tag, by the words of its template, by what a piece of custom HTML loads.

Names are what a person reads; the second is the name that a destination of ours has or would have.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Vendor(NamedTuple):
    """A vendor's name for people, and for us."""

    name: str
    destination: str


META, TIKTOK, GA4 = Vendor("Meta", "meta"), Vendor("TikTok", "tiktok"), Vendor("Google Analytics 4", "ga4")
ADS, FLOODLIGHT = Vendor("Google Ads", "google_ads"), Vendor("Floodlight (Campaign Manager 360)", "floodlight")
LINKEDIN, PINTEREST, SNAPCHAT = Vendor("LinkedIn", "linkedin"), Vendor("Pinterest", "pinterest"), Vendor("Snapchat", "snapchat")
MICROSOFT, X, REDDIT = Vendor("Microsoft Advertising", "microsoft_ads"), Vendor("X", "x"), Vendor("Reddit", "reddit")
CRITEO, QUORA, TABOOLA = Vendor("Criteo", "criteo"), Vendor("Quora", "quora"), Vendor("Taboola", "taboola")
OUTBRAIN, AWIN, KLAVIYO = Vendor("Outbrain", "outbrain"), Vendor("Awin", "awin"), Vendor("Klaviyo", "klaviyo")
HOTJAR, CLARITY, HUBSPOT = Vendor("Hotjar", "hotjar"), Vendor("Microsoft Clarity", "clarity"), Vendor("HubSpot", "hubspot")
MATOMO, PIWIK, AMPLITUDE = Vendor("Matomo", "matomo"), Vendor("Piwik PRO", "piwik_pro"), Vendor("Amplitude", "amplitude")
MIXPANEL, SEGMENT, POSTHOG = Vendor("Mixpanel", "mixpanel"), Vendor("Segment", "segment"), Vendor("PostHog", "posthog")
ADOBE, BING = Vendor("Adobe Analytics", "adobe_analytics"), MICROSOFT

BY_TYPE = {
    **dict.fromkeys(("awct", "sp", "awud", "awcc", "sgtmadsct", "sgtmadsremarket"), ADS),
    **dict.fromkeys(("flc", "fls", "sgtmdcflc", "sgtmdcfls"), FLOODLIGHT),
    "baut": BING,
    **dict.fromkeys(("twitter_website_tag", "twitter"), X),
    "bzi": LINKEDIN,
    "pntr": PINTEREST,
    "qpx": QUORA,
    "crto": CRITEO,
    "hjtc": HOTJAR,
    "adm": Vendor("Adometry", "adometry"),
    "asp": Vendor("AdRoll", "adroll"),
    "csm": Vendor("comScore", "comscore"),
    "cegg": Vendor("Crazy Egg", "crazy_egg"),
    "abtGeneric": Vendor("AB Tasty", "ab_tasty"),
    "k50Init": Vendor("K50", "k50"),
    "mf": Vendor("Mouseflow", "mouseflow"),
    "nudge": Vendor("Nudge", "nudge"),
    "okt": Vendor("Oktopost", "oktopost"),
    "shareaholic": Vendor("Shareaholic", "shareaholic"),
    "svw": Vendor("Survicate", "survicate"),
    "yieldify": Vendor("Yieldify", "yieldify"),
}
"""Google's own tag types; those of GA4 are read in tags.py."""

_BY_WORDS: tuple[tuple[str, Vendor], ...] = (
    (r"facebook|meta (?:pixel|conversion)|\bcapi\b", META),
    (r"tiktok", TIKTOK),
    (r"linkedin", LINKEDIN),
    (r"pinterest", PINTEREST),
    (r"snap(?:chat)?\b", SNAPCHAT),
    (r"floodlight|campaign manager", FLOODLIGHT),
    (r"google ads|adwords", ADS),
    (r"microsoft (?:ads|advertising|uet)|bing ads|\buet\b", MICROSOFT),
    (r"clarity", CLARITY),
    (r"\btwitter|\bx (?:pixel|ads|conversion)", X),
    (r"reddit", REDDIT),
    (r"criteo", CRITEO),
    (r"quora", QUORA),
    (r"taboola", TABOOLA),
    (r"outbrain", OUTBRAIN),
    (r"\bawin\b", AWIN),
    (r"klaviyo", KLAVIYO),
    (r"hotjar", HOTJAR),
    (r"hubspot", HUBSPOT),
    (r"matomo", MATOMO),
    (r"piwik", PIWIK),
    (r"amplitude", AMPLITUDE),
    (r"mixpanel", MIXPANEL),
    (r"posthog", POSTHOG),
    (r"\bsegment\b", SEGMENT),
)
_BY_HTML: tuple[tuple[str, Vendor], ...] = (
    (r"connect\.facebook\.net|facebook\.com/tr|\bfbq\(", META),
    (r"analytics\.tiktok\.com|\bttq\.", TIKTOK),
    (r"snap\.licdn\.com|px\.ads\.linkedin\.com|_linkedin_partner_id|\blintrk\(", LINKEDIN),
    (r"s\.pinimg\.com|ct\.pinterest\.com|\bpintrk\(", PINTEREST),
    (r"sc-static\.net|tr\.snapchat\.com|\bsnaptr\(", SNAPCHAT),
    (r"fls\.doubleclick\.net|'DC-\d|\"DC-\d", FLOODLIGHT),
    (r"googleadservices\.com|['\"]AW-\d", ADS),
    (r"bat\.bing\.com|\buetq\b", MICROSOFT),
    (r"clarity\.ms", CLARITY),
    (r"static\.ads-twitter\.com|\btwq\(", X),
    (r"redditstatic\.com/ads|\brdt\(", REDDIT),
    (r"static\.criteo\.net|criteo_q|dynamic\.criteo\.com", CRITEO),
    (r"\bqp\(|a\.quora\.com", QUORA),
    (r"cdn\.taboola\.com|_tfa\b", TABOOLA),
    (r"amplify\.outbrain\.com|\bobApi\(", OUTBRAIN),
    (r"dwin1\.com", AWIN),
    (r"klaviyo\.com", KLAVIYO),
    (r"hotjar\.com", HOTJAR),
    (r"hs-scripts\.com|hs-analytics\.net|_hsq\b", HUBSPOT),
    (r"matomo|_paq\b", MATOMO),
    (r"amplitude\.com", AMPLITUDE),
    (r"mixpanel\.com|mixpanel\.", MIXPANEL),
    (r"posthog", POSTHOG),
    (r"cdn\.segment\.com", SEGMENT),
    (r"\bs\.t\(\)|omtrdc\.net", ADOBE),
    (r"['\"]G-[A-Z0-9]+['\"]", GA4),
)


def of_words(words: str) -> Vendor | None:
    """The vendor that a template's names speak of."""
    return _first(_BY_WORDS, words)


def of_html(html: str) -> Vendor | None:
    """The vendor whose script a piece of HTML loads or calls."""
    return _first(_BY_HTML, html[:100_000])


def _first(table: tuple[tuple[str, Vendor], ...], text: str) -> Vendor | None:
    return next((vendor for pattern, vendor in table if re.search(pattern, text)), None)
