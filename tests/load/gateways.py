"""Configurations and processes for the benchmarks: servers pinned to core 0, load and sink to core 1."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.enrich.signed import Signer
from tests.faults.process import ROOT, free_port

SERVER_CORE, LOAD_CORE = 0, 1
_SETTINGS = {
    "meta": "  pixel_id: '1234567890'\n  access_token: T\n",
    "ga4": "  measurement_id: G-TEST12345\n  api_secret: S\n  validate_sample: 0\n",
    "tiktok": "  pixel_id: C4A\n  access_token: T\n",
}


def write_config(
    folder: Path,
    sink: int,
    vendors: tuple[str, ...],
    public: int = 0,
    ack: str = "durable",
    transport: str = "direct",
    workers: int = 0,
) -> Path:
    """A gateway.yaml whose destinations are a sink on this machine."""
    (folder / "destinations").mkdir(parents=True, exist_ok=True)
    for vendor in vendors:
        text = f"type: {vendor}\nendpoint: http://127.0.0.1:{sink}/{vendor}\ntransport: {transport}\n"
        text += f"settings:\n{_SETTINGS[vendor]}"
        (folder / "destinations" / f"{vendor}.yaml").write_text(text)
    path = folder / "gateway.yaml"
    path.write_text(
        f"lab: true\nworkers: {workers}\nlisten: 127.0.0.1:{public or free_port()}\nadmin:\n  listen: 127.0.0.1:{free_port()}\n"
        f"metrics:\n  listen: 127.0.0.1:{free_port()}\nqueue:\n  path: data\n  ack: {ack}\n"
        "sources:\n  shop:\n    write_keys: [wk_bench]\n    origins: ['https://shop.example']\n"
        f"    identity: {{key: {SIGNING_KEY}}}\ndestinations: destinations/\n"
    )
    return path


SIGNING_KEY = "signs-the-cookies-of-the-benchmark"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"


def browser() -> list[str]:
    """The header lines of a visitor who was here before: a page of the same site, its vendors' cookies and ours."""
    now, signer = int(time.time()), Signer(SIGNING_KEY.encode())
    ours = {
        "_tw_id": signer.sealed("id", f"1.{'A' * 22}.{now - 86400}.{now - 3600}."),
        "_tw_sid": signer.sealed("sid", f"{now - 600}.3.{now}"),
    }
    cookies = {"_ga": "GA1.1.1098115397.1795514300", "_fbp": "fb.1.1795500000000.1234567890", "cart": "c-1", **ours}
    return [
        "Origin: https://shop.example",
        "Referer: https://shop.example/",
        f"User-Agent: {CHROME}",
        "Accept: */*",
        "Accept-Language: de-DE,de;q=0.9,en;q=0.8",
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Mode: cors",
        "Sec-Fetch-Dest: empty",
        'sec-ch-ua: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"',
        "sec-ch-ua-mobile: ?0",
        'sec-ch-ua-platform: "Linux"',
        f"Cookie: {'; '.join(f'{name}={value}' for name, value in cookies.items())}",
    ]


PYTHON = (sys.executable, "-m")


class Pinned:
    """A process on one core, with its CPU time and memory: a module of ours, or another `program` with `environment`."""

    def __init__(
        self, core: int, *arguments: str, program: tuple[str, ...] = PYTHON, environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            ["taskset", "-c", str(core), *program, *arguments], env={**os.environ, **(environment or {})},
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """taskset execs, so this is the server itself."""
        return self._process.pid

    def cpu(self) -> float:
        """Seconds of user and system time, all threads, with the processes that it started."""
        children = " ".join(path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/children"))
        return sum(_cpu(pid) for pid in (self.pid, *map(int, children.split())))

    def rss_mb(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def peak_rss_mb(self) -> float:
        """The most resident memory it ever had, in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6

    def wait(self, url: str, timeout: float = 60) -> None:
        """Until `url` answers anything at all."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                words = self._process.stderr.read().decode() if self._process.stderr else ""
                raise SystemExit(f"a server of the benchmark ended: {words[-2000:]}")
            try:
                urllib.request.urlopen(url, timeout=2).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"nothing answers on {url}")

    def end(self) -> None:
        """Stop it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()


def _cpu(pid: int) -> float:
    """By the scheduler's own clock: /proc/…/stat counts in hundredths of a second, which is much for a short run."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9


def load(
    url: str, requests: int, connections: int, batch: int = 1, rate: float | None = None, headers: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the driver on the other core, with `rate` as an open loop. Exits when not every answer was 2xx."""
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "tests.load.driver", url]
    options = ["--requests", str(requests), "--connections", str(connections), "--batch", str(batch)]
    options += ["--rate", str(rate)] if rate else []
    options += [f"--header={line}" for line in headers]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"the driver failed: {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    if any(not status.startswith("2") for status in report["answers"]):
        raise SystemExit(f"answers other than 2xx: {report}")
    return report


def get_json(url: str) -> Any:
    """GET, parsed."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
