"""The server as a process: cut connections, nonsense, its end; and what the commands refuse."""

import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from made_images import image_files
from typer.main import get_command

from cifarlab.cli import app
from cifarlab_serve.exported import ServeError, count_cores
from cifarlab_serve.server import parser, serve
from cifarlab_serve.settings import Limits

IMAGE = image_files()["fits.png"]
SLOW = """
import sys, time
from cifarlab_serve.exported import ExportedNetwork
from cifarlab_serve.server import main
run = ExportedNetwork.run
def slow(self, images):
    print("begun", flush=True)
    time.sleep(1)
    return run(self, images)
ExportedNetwork.run = slow
main()
"""


HANGING = SLOW.replace("sleep(1)", "sleep(600 if images.any() else 0)")  # not when it is loaded


@contextmanager
def process(*command: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            lines = iter(server.stdout.readline, "")
            address = next(re.search(r"http://\S+(?=/)", line) for line in lines if "http" in line)
            assert address
            yield server, address[0]
        finally:
            server.kill()


def raw(address: str, content: bytes) -> bytes:
    """What a connection is answered that sends just these bytes, and no more."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_a_process_answers_through_nonsense_and_cut_connections(exported: Path) -> None:
    command = ("-m", "cifarlab", "serve", exported, "--port", "0", "--threads", "1")
    with process(*command) as (server, address):
        for _ in range(20):
            raw(
                address, b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx"
            )
            assert raw(address, b"\0\xff nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        with httpx.Client(base_url=address) as client:
            answer = client.post("/predict", content=IMAGE)
            assert answer.status_code == 200 and len(answer.json()["predictions"]) == 1
            too_large = client.post("/predict", content=b"x" * (2**24 + 2**20))
            assert too_large.status_code == 413 and "bytes" in too_large.json()["error"]
            metrics = client.get("/metrics").text
            assert 'cifarlab_requests_total{path="/predict",status="499"} 20.0' in metrics
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert server.stderr and "Traceback" not in server.stderr.read()


def test_large_forms_hold_no_more_memory_than_they_may(exported: Path) -> None:
    size, limits = 15 * 2**20, Limits()
    form = {"images": ("large.png", b"x" * size)}

    def most_mib() -> int:
        [most] = re.findall(r"VmHWM:\s*(\d+)", Path(f"/proc/{server.pid}/status").read_text())
        return int(most) // 2**10

    with process("-m", "cifarlab_serve", exported, "--port", "0") as (server, address):
        assert httpx.post(f"{address}/predict", content=IMAGE).status_code == 200
        before = most_mib()
        with ThreadPoolExecutor(8) as pool:
            urls = [f"{address}/predict"] * 16
            answers = list(pool.map(lambda url: httpx.post(url, files=form, timeout=60), urls))
        assert {answer.status_code for answer in answers} <= {422, 503}
        assert 422 in {answer.status_code for answer in answers}
        assert size // 2**20 < most_mib() - before < 1.5 * limits.held_bytes // 2**20


def test_sigterm_finishes_what_was_begun(exported: Path) -> None:
    with process("-c", SLOW, exported, "--port", "0") as (server, address):
        assert server.stdout
        answers: list[int] = []

        def send() -> None:
            answers.append(httpx.post(f"{address}/predict", content=IMAGE).status_code)

        thread = threading.Thread(target=send)
        thread.start()
        assert "begun" in server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")
        thread.join(20)
        assert answers == [200]
        assert server.wait(20) == 0


def test_sigterm_ends_a_server_whose_network_hangs(exported: Path) -> None:
    with process("-c", HANGING, exported, "--port", "0", "--timeout", "1") as (server, address):
        answer = httpx.post(f"{address}/predict", content=IMAGE, timeout=20)
        assert answer.status_code == 504
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


def refused(*command: str | Path, **variables: str) -> list[str]:
    """The two lines of a command that is refused."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    return done.stderr.splitlines()


@pytest.mark.parametrize("program", [("cifarlab", "serve"), ("cifarlab_serve",)])
def test_another_host_needs_a_token(program: tuple[str, ...], tmp_path: Path) -> None:
    what, hint = refused(*program, tmp_path, "--host", "0.0.0.0", CIFARLAB_SERVE_TOKEN="")
    assert "on 0.0.0.0 others can reach the server, so it needs a token" in what
    assert "CIFARLAB_SERVE_TOKEN" in hint


def test_a_token_that_clients_write_in_different_ways_is_refused(exported: Path) -> None:
    for token in ("t\u00e4ken", "two\nlines"):
        with pytest.raises(ServeError, match="the token has characters"):
            serve(exported, token=token)
    for token in (" token", "token ", " "):
        with pytest.raises(ServeError, match="begins or ends with white space"):
            serve(exported, token=token)


@pytest.mark.parametrize("program", [("cifarlab", "serve"), ("cifarlab_serve",)])
def test_an_empty_token_is_refused(program: tuple[str, ...], exported: Path) -> None:
    for variables in ({}, {"CIFARLAB_SERVE_TOKEN": "token"}):
        what, hint = refused(*program, exported, "--check", "--token", "", **variables)
        assert "the token is empty" in what and "leave --token out" in hint


@pytest.mark.parametrize("program", [("cifarlab", "serve"), ("cifarlab_serve",)])
def test_a_time_without_end_is_refused(program: tuple[str, ...], exported: Path) -> None:
    what, hint = refused(*program, exported, "--timeout", "inf")
    assert "--timeout" in what and "3600 at most" in hint


def test_numbers_that_cannot_be_are_refused(exported: Path) -> None:
    for timeout in (math.nan, math.inf, 0, -1, 1e9):
        with pytest.raises(ServeError, match="above 0"):
            serve(exported, limits=Limits(timeout=timeout))
    for limits in (Limits(batch=0), Limits(queue=0), Limits(pixels=0)):
        with pytest.raises(ServeError, match="above 0"):
            serve(exported, limits=limits)
    for threads in (-1, 0, 100_000):
        with pytest.raises(ServeError, match="take 1 to"):
            serve(exported, threads=threads)


def test_a_check_loads_the_network_and_ends(exported: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cifarlab_serve", "--check"]
    done = subprocess.run([*command, exported], capture_output=True, text=True, check=True)
    assert done.stdout == f"{exported} can be served; its certificate lies beside it\n"
    what, _ = refused("cifarlab_serve", "--check", tmp_path)
    assert "is no exported network" in what


def test_both_commands_have_the_same_options() -> None:
    theirs = {action.dest: action for action in parser()._actions if action.dest != "help"}
    ours = get_command(app).commands["serve"].params  # type: ignore[attr-defined]
    assert [option.name for option in ours if option.name != "help"] == list(theirs)
    for option in ours:
        if option.name != "help":
            action = theirs[option.name]
            assert option.help == action.help
            assert (option.default or None) == (action.default or None)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "150000 100000"}, 2),
    ],
)
def test_a_container_s_quota_bounds_the_cores(
    files: dict[str, str], cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert count_cores(tmp_path) == (cores or 64)
