"""Tells when the configuration's files change, by looking at their bytes every few seconds.

Notifications of the file system are not used: a mounted ConfigMap changes by swapping the `..data` symlink behind the
files, of which inotify shows only a delete. Folders count with the YAML files in them, so an added file is seen too. Of
files too long to be YAML (databases of addresses) size, time and number count instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from gateway.config.yaml_file import MAX_BYTES

EVERY = 3.0
SETTLE = 0.3
"""A change counts once the files have been the same for this long: an editor may still be writing."""

Sleep = Callable[[float], Awaitable[None]]


async def changes(
    files: Sequence[str] | Callable[[], Sequence[str]], *, every: float = EVERY, sleep: Sleep = asyncio.sleep
) -> AsyncIterator[None]:
    """One item for each change. `files` are `Gateway.files`, or a function that gives the current ones."""
    watched = files if callable(files) else lambda: files
    known = await asyncio.to_thread(fingerprint, watched())
    while True:
        await sleep(every)
        seen = await asyncio.to_thread(fingerprint, watched())
        while seen != known:
            await sleep(SETTLE)
            again = await asyncio.to_thread(fingerprint, watched())
            if again == seen:
                known = seen
                yield
                # What the consumer read may name other files: compare from here on with these.
                known = seen = await asyncio.to_thread(fingerprint, watched()) if callable(files) else seen
            else:
                seen = again


def fingerprint(paths: Sequence[str]) -> bytes:
    """A hash over names and bytes of files, and of the YAML files in folders. What cannot be read counts as such."""
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        total.update(os.fsencode(path) + b"\0")
        if os.path.isdir(path):
            for name in _names(path):
                total.update(os.fsencode(name) + b"\0" + _digest(os.path.join(path, name)))
        else:
            total.update(_digest(path))
    return total.digest()


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []


def _digest(path: str) -> bytes:
    if not os.path.isfile(path):
        return b"folder" if os.path.isdir(path) else b"missing"
    try:
        about = os.stat(path)
        if about.st_size > MAX_BYTES:  # no YAML: a list of addresses, too long to be read every few seconds
            return f"{about.st_ino} {about.st_size} {about.st_mtime_ns}".encode()
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(MAX_BYTES + 1)).digest()
    except OSError:
        return b"unreadable"
