"""The baselines of every ratio: a bare aiohttp handler that answers 204, and one that parses the same body.

`python -m tests.load.bare PORT`; routes `/204` and `/parse`.
"""

from __future__ import annotations

import asyncio
import sys

import orjson
import uvloop
from aiohttp import web


async def nothing(request: web.Request) -> web.Response:
    """Read the body, answer 204."""
    await request.read()
    return web.Response(status=204)


async def parse(request: web.Request) -> web.Response:
    """Parse the body, answer 204."""
    orjson.loads(await request.read())
    return web.Response(status=204)


async def main(port: int) -> None:
    """Serve until killed."""
    application = web.Application()
    application.add_routes([web.post("/204", nothing), web.post("/parse", parse)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
