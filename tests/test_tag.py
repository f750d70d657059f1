"""The browser tag as it is built and as the door serves it; what it does in a page is in test_tag_browser.py."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path

import pytest

from gateway.receive.tag import FOLDER
from tests.client_kit import node_modules, run
from tests.gateway_kit import running

BUILDS = ("core", "tag")
LIMITS = {"core": 3 * 1024, "tag": 6 * 1024}
OWN_PATHS = "  other:\n    write_keys: [wk_other]\n    paths:\n      prefix: /o\n      events: v\n      tag: w.js\n"


@pytest.mark.parametrize("build", BUILDS)
def test_it_is_as_small_as_promised(build: str) -> None:
    assert len(gzip.compress((FOLDER / f"{build}.js").read_bytes(), 9)) <= LIMITS[build]


@pytest.mark.slow
async def test_the_built_files_are_what_the_source_gives_byte_for_byte(tmp_path: Path) -> None:
    modules = await node_modules(FOLDER)
    program, *words = shlex.split(json.loads((FOLDER / "package.json").read_text())["scripts"]["build"])
    assert words[-1] == "--outdir=."
    sources = [str(FOLDER / word) if word.startswith("src/") else word for word in words[:-1]]
    await run(str(modules / ".bin" / program), *sources, f"--outdir={tmp_path}")
    for build in BUILDS:
        assert (tmp_path / f"{build}.js").read_bytes() == (FOLDER / f"{build}.js").read_bytes(), f"{build}.js: run `make tag`"


@pytest.mark.slow
async def test_the_source_is_sound_by_its_types() -> None:
    modules = await node_modules(FOLDER)
    await run(str(modules / ".bin" / "tsc"), "--project", str(FOLDER))


async def test_it_may_be_kept_and_is_compared_by_its_tag(tmp_path: Path) -> None:
    async with running(tmp_path, {}) as gateway:
        async with gateway.client.get(f"{gateway.url}/tag.js?k=wk_shop") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert answer.headers["Cache-Control"] == "public, max-age=3600"
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert "tagway" in await answer.text()
            etag = answer.headers["ETag"]
        for known, status in ((etag, 304), (f'W/{etag}, "x"', 304), ('"x"', 200)):
            async with gateway.client.get(f"{gateway.url}/tag.js", headers={"If-None-Match": known}) as answer:
                assert (answer.status, answer.headers["ETag"]) == (status, etag)
        async with gateway.client.get(f"{gateway.url}/tag.js", headers={"Accept-Encoding": "identity"}) as answer:
            assert "Content-Encoding" not in answer.headers
            assert answer.headers["ETag"] != etag
        async with gateway.client.head(f"{gateway.url}/tag.js") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with gateway.client.post(f"{gateway.url}/tag.js") as answer:
            assert answer.status == 405


@pytest.mark.parametrize(
    ("target", "events", "consent"),
    [
        ("/tag.js", "m/e", "m/v1/consent"),
        ("/m/tag.js", "e", "v1/consent"),
        ("/m/t.js?k=wk_shop", "e", "v1/consent"),
        ("/o/w.js?k=wk_other", "v", "v1/consent"),
        ("/tag.js?k=wk_other", "o/v", "o/v1/consent"),
    ],
)
async def test_it_sends_to_the_names_of_the_configuration(tmp_path: Path, target: str, events: str, consent: str) -> None:
    paths = "paths:\n  prefix: /m\n  events: e\n  tag: t.js\n"
    sources = "  shop:\n    write_keys: [wk_shop]\n" + OWN_PATHS
    async with running(tmp_path, {}, sources=sources, gateway=paths) as gateway:
        async with gateway.client.get(gateway.url + target) as answer:
            text = await answer.text()
        assert f'"{events}"' in text
        assert f'"{consent}"' in text
        assert "%events%" not in text
        assert "%consent%" not in text


async def test_the_small_one_is_there_for_the_asking(tmp_path: Path) -> None:
    async with running(tmp_path, {}) as gateway:
        sizes = []
        for query in ("?core&k=wk_shop", "?k=wk_shop"):
            async with gateway.client.get(f"{gateway.url}/tag.js{query}") as answer:
                sizes.append(len(await answer.text()))
        assert sizes[0] < sizes[1] * 0.6
