"""Programs of others in tests: running one, and the Node packages that some need.

Node's packages are installed once, by the lock file of their folder (tests/clients, tests/corpora), into `.cache/<folder>`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from tests.needs import program

CLIENTS = Path(__file__).parent / "clients"
CACHE = Path(__file__).parents[1] / ".cache"
LOCK = ("package.json", "package-lock.json")
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


async def run(*command: str, **environment: str) -> str:
    """The output of a program that must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=CLIENTS,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def node_modules(folder: Path = CLIENTS) -> Path:
    """The installed packages of a folder with a lock file; says what is missing where nothing can be installed."""
    program("node", "nodejs")
    program("npm", "npm")
    wanted = b"".join((folder / name).read_bytes() for name in LOCK)
    cache = CACHE / folder.name
    mark = cache / "installed"
    if not mark.exists() or mark.read_bytes() != wanted:
        cache.mkdir(parents=True, exist_ok=True)
        for name in LOCK:
            shutil.copy(folder / name, cache / name)
        await run(*INSTALL, "--prefix", str(cache))
        mark.write_bytes(wanted)
    return cache / "node_modules"
