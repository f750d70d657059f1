"""What is shipped: the Dockerfile is clean and its steps work, the wheel is whole, the compose file keeps its promises."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from gateway.demo.shop import FILES
from tests.demo_kit import demo_process
from tests.needs import missing

ROOT = Path(__file__).parents[1]
HADOLINT = Path(sys.executable).parent / "hadolint"


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    rest: str


def stages() -> list[list[Step]]:
    """The Dockerfile's instructions by stage; continuation lines joined, comments out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Step]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append(Step(word, " ".join(rest.split())))
    return found


def rest_of(stage: list[Step], word: str) -> list[str]:
    return [step.rest for step in stage if step.word == word]


def hadolint(dockerfile: Path) -> tuple[int, str]:
    result = subprocess.run([HADOLINT, dockerfile], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


def test_hadolint_has_nothing_to_say(tmp_path: Path) -> None:
    assert hadolint(ROOT / "Dockerfile") == (0, "")
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN apt-get install curl\n")
    status, complaints = hadolint(tmp_path / "Dockerfile")
    assert status != 0, "hadolint finds nothing wrong with anything"
    assert "DL3007" in complaints


def test_the_image_runs_as_nobody_in_particular_with_one_volume_and_a_health_check() -> None:
    build, final = stages()
    assert rest_of(final, "USER") == ["10001:10001"]
    assert rest_of(final, "VOLUME") == ["/data"]
    assert rest_of(final, "EXPOSE") == ["8080"]
    assert "/healthz" in rest_of(final, "HEALTHCHECK")[0]
    assert rest_of(final, "COPY") == ["--from=build /opt/tagway /opt/tagway"], "the final stage holds no source"
    after_user = [step.word for step in final[[step.word for step in final].index("USER") :]]
    assert not {"RUN", "COPY"} & set(after_user)
    for stage in (build, final):
        image = rest_of(stage, "FROM")[0].split()[0]
        assert re.fullmatch(r"python:3\.\d+-slim-\w+", image)


def test_dockerignore_lets_through_what_the_build_copies_and_nothing_else() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word.strip("./") for rest in rest_of(stages()[0], "COPY") for word in rest.split()[:-1]}
    assert allowed == copied
    assert all((ROOT / name).exists() for name in allowed)


def test_compose_starts_the_gateway_without_rights_behind_tls() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    gateway = services["tagway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert "ports" not in gateway, "only the TLS end is reachable"
    assert "data:/data" in gateway["volumes"]
    assert int(gateway["stop_grace_period"].removesuffix("s")) > 25
    assert services["caddy"]["depends_on"]["tagway"]["condition"] == "service_healthy"
    assert (ROOT / "deploy" / "Caddyfile").read_text().count("reverse_proxy tagway:8080") == 1


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build stage, run here: its COPY and RUN steps with their folders moved under a temporary one."""
    root = tmp_path_factory.mktemp("image")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".env")
    for step in stages()[0]:
        if step.word == "COPY":
            *sources, target = step.rest.split()
            for source in sources:
                to = root / "src" / target / (source if target == "./" else "")
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                to.parent.mkdir(parents=True, exist_ok=True)
                copy(ROOT / source, to, **({"ignore": ignore} if copy is shutil.copytree else {}))
        elif step.word == "RUN":
            command = step.rest.replace("/opt/", f"{root}/opt/").replace("/wheels", f"{root}/wheels")
            environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
            path = f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["sh", "-ec", command.replace("python -m", f"{_interpreter()} -m", 1)],
                cwd=root / "src",
                env=environment | {"PATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    return root


def _interpreter() -> str:
    """The Python that made this environment: a clean one, as the image's."""
    return shlex.quote(getattr(sys, "_base_executable", sys.executable))


def tagway(installed: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TAGWAY"))}
    command = [installed / "opt" / "tagway" / "bin" / "tagway", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_build_steps_give_a_working_command(installed: Path, tmp_path: Path) -> None:
    done = tagway(installed, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for verb in ("serve", "check", "audit", "lab"):
        assert re.search(rf"^\s+{verb}\b", done.stdout, re.MULTILINE), verb


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_holds_every_vendor_and_no_test(installed: Path, tmp_path: Path) -> None:
    code = "import json; from gateway.manifest import discover; print(json.dumps(sorted(discover())))"
    done = subprocess.run(
        [installed / "opt" / "tagway" / "bin" / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    vendors = sorted(path.stem for path in (ROOT / "destinations").glob("*.yaml"))
    assert json.loads(done.stdout) == vendors, done.stderr
    assert {"meta", "ga4", "tiktok", "webhook"} <= set(vendors)
    packages = next((installed / "opt" / "tagway").glob("lib/python3*/site-packages"))
    assert not (packages / "tests").exists()
    wheels = [wheel.name for wheel in (installed / "wheels").glob("tagway-*.whl")]
    assert len(wheels) == 1


ONLY_DATA_WRITABLE = 'mount --bind "$0" "$0"; mount --bind / /; mount -o remount,ro,bind /; exec "$@"'


def read_only(data: Path) -> list[str]:
    """A command prefix under which nothing but `data` can be written, as under `docker run --read-only`."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    prefix = ["unshare", "--mount", *rights, "sh", "-ec", ONLY_DATA_WRITABLE, str(data)]
    probe = subprocess.run([*prefix, "touch", data.parent / "probe"], capture_output=True, text=True, check=False)
    if "Read-only file system" not in probe.stderr:
        missing(f"this machine does not let us make a mount of our own: {probe.stderr.strip()}")
    return prefix


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("root", ["writable root", "read-only root"])
async def test_the_health_check_of_the_image_passes_on_a_running_gateway(installed: Path, tmp_path: Path, root: str) -> None:
    ports = free_ports(3)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "gateway.yaml").write_text(CONFIG.format(*ports))
    (tmp_path / "data").mkdir(mode=0o700)
    prefix = await asyncio.to_thread(read_only, tmp_path / "data") if root == "read-only root" else []
    command = re.sub(r"127\.0\.0\.1:8080", f"127.0.0.1:{ports[0]}", rest_of(stages()[1], "HEALTHCHECK")[0])
    check = json.loads(command[command.index("[") :])
    check[0] = str(installed / "opt" / "tagway" / "bin" / "python")
    assert await asyncio.to_thread(healthy, check) is False, "nothing listens yet"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TAGWAY"))}
    process = await asyncio.create_subprocess_exec(
        *prefix,
        str(installed / "opt" / "tagway" / "bin" / "tagway"),
        *("serve", "--drain", "0"),
        cwd=tmp_path,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(healthy, check):
                assert process.returncode is None, (await process.communicate())[1]
                await asyncio.sleep(0.2)
    finally:
        if process.returncode is None:
            process.terminate()
        _, log = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, b"error" in log) == (0, False), log


def healthy(check: list[str]) -> bool:
    return subprocess.run(check, capture_output=True, check=False).returncode == 0


CONFIG = """
listen: 127.0.0.1:{}
admin:
  listen: 127.0.0.1:{}
metrics:
  listen: 127.0.0.1:{}
queue:
  path: ../data
sources:
  shop:
    write_keys:
      - wk_shop_test
"""


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_of_an_installed_wheel_needs_no_checkout(installed: Path, tmp_path: Path) -> None:
    with demo_process(tmp_path, command=[str(installed / "opt" / "tagway" / "bin" / "tagway")]) as demo:
        packages = str(installed / "opt" / "tagway")
        assert demo.board()["gateway"]["pid"] > 0
        for path in ("/", *(f"/static/{name}" for name in FILES)):
            with urllib.request.urlopen(f"{demo.url}{path}", timeout=10) as answer:
                assert answer.status == 200, path
        running = Path(f"/proc/{demo.process.pid}/cmdline").read_text()
        assert packages in running
