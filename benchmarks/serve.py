"""The server under load: images/s and latency, nonsense, cut connections, a full queue.

    python benchmarks/serve.py EXPORTED... [--seconds 1.5] [--repeats 5]

1, 8 and 64 clients on loopback each send one PNG after the other for some seconds: to our server,
and to FastAPI with one forward pass for each request (``_serve_plain.py``). Both are started as
they are without options, take turns, and share the machine with the clients; the processor's time
for each image is what other processes hardly change. Then ours alone: 1,000 malformed requests, 200
clients that leave before they are answered, 64 clients for a queue of 8.
"""

import argparse
import asyncio
import io
import itertools
import re
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import numpy as np
import psutil
from _results import write_result
from PIL import Image

from cifarlab_serve.exported import ExportedNetwork

CLIENTS = (1, 8, 64)
OURS = ("-m", "cifarlab_serve")
PLAIN = (str(Path(__file__).with_name("_serve_plain.py")),)


class Load(NamedTuple):
    """Seconds of each answer, their statuses, and how long all took."""

    latencies: list[float]
    statuses: Counter[int]
    seconds: float
    cpu_seconds: float

    def figures(self) -> dict[str, Any]:
        """Images per second that were answered with 200; latencies; the server's own time."""
        p50, p99 = np.percentile(self.latencies, (50, 99)) * 1000
        return {
            "images_per_s": round(self.statuses[200] / self.seconds, 1),
            "p50_ms": round(float(p50), 2),
            "p99_ms": round(float(p99), 2),
            "cpu_ms_per_image": round(self.cpu_seconds / self.statuses[200] * 1000, 3),
        }


class Server(NamedTuple):
    """A server's port and process."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """The processor's time that it has taken."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory_mib(self) -> float:
        """What it holds in memory."""
        return round(self.process.memory_info().rss / 2**20, 1)


def post(body: bytes, more: str = "") -> bytes:
    """A whole request."""
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{more}"
    return head.encode() + b"\r\n" + body


def png(shape: tuple[int, ...]) -> bytes:
    """An image of the network's size."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


@contextmanager
def started(command: tuple[str, ...], port: int, *options: str) -> Iterator[Server]:
    """A server that answers."""
    with subprocess.Popen(
        [sys.executable, *command, *options], stdout=subprocess.DEVNULL
    ) as server:
        try:
            for _ in range(600):
                time.sleep(0.1)
                with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5):
                    break
            yield Server(port, psutil.Process(server.pid))
        finally:
            server.terminate()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Send a request and return the status of its answer, read to its end."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    await (reader.readexactly(int(length[1])) if length else reader.read())
    return int(head.split()[1])


async def load(server: Server, request: bytes, n_clients: int, seconds: float) -> Load:
    """Have so many clients ask one thing after the other."""
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    start, cpu = time.perf_counter(), server.cpu_seconds()

    async def client() -> None:
        streams = await asyncio.open_connection("127.0.0.1", server.port)
        while (begun := time.perf_counter()) < start + seconds:
            statuses[await ask(*streams, request)] += 1
            latencies.append(time.perf_counter() - begun)
        streams[1].close()

    await asyncio.gather(*(client() for _ in range(n_clients)))
    return Load(latencies, statuses, time.perf_counter() - start, server.cpu_seconds() - cpu)


def compare(file: Path, request: bytes, seconds: float, repeats: int) -> dict[str, Any]:
    """Both servers under load, in turns; medians of the repeats, and the range of images/s."""
    runs: dict[str, list[dict[str, Any]]] = {}
    ports = free_port(), free_port()
    options = (str(file), "--port", str(ports[0]), "--resize-mode", "crop")
    with (
        started(OURS, ports[0], *options) as ours,
        started(PLAIN, ports[1], str(file), str(ports[1])) as plain,
    ):
        for server in (ours, plain):
            asyncio.run(load(server, request, 8, 0.5))
        for _, n in itertools.product(range(repeats), CLIENTS):
            for name, server in (("ours", ours), ("plain", plain)):
                figures = asyncio.run(load(server, request, n, seconds)).figures()
                runs.setdefault(f"{name}, {n} clients", []).append(figures)
                print(f"{file.parent}: {name}, {n} clients: {figures}", flush=True)
    return {
        name: {key: statistics.median(run[key] for run in all_runs) for key in all_runs[0]}
        | {"range": [pick(run["images_per_s"] for run in all_runs) for pick in (min, max)]}
        for name, all_runs in runs.items()
    }


def malformed(image: bytes) -> Iterator[bytes]:
    """Requests that no server should take, without end."""
    kinds = (
        post(b""),
        post(b"no image" * 100),
        post(image[: len(image) // 2]),
        post(image[:20] + b"\xff" * 200),
        post(image[:16] + b"\0\0\x40\0\0\0\x40\0" + image[24:]),  # 16,384 pixels wide and high
        post(b"x", "Content-Type: multipart/form-data\r\n"),
        post(b"--a\r\n\r\nhalf", "Content-Type: multipart/form-data; boundary=a\r\n"),
        post(b"\x89PNG" + b"\0" * 2**20),
        post(b"x" * (2**24 + 1)),
        b"GET /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /%00%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: evil\r\nContent-Length: 0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\0\xff\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 2**18,
    )
    return itertools.cycle(kinds)


async def send_malformed(port: int, image: bytes, n: int) -> Counter[int]:
    """The statuses by which n malformed requests are answered; 0: not at all."""
    statuses: Counter[int] = Counter()
    for request in itertools.islice(malformed(image), n):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(20):
                statuses[await ask(reader, writer, request)] += 1
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            statuses[0] += 1
        writer.close()
    return statuses


def leave(port: int, request: bytes, n: int) -> None:
    """Be n clients of which half leave within their request, half before the answer."""
    for number in range(n):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request[: len(request) // (1 + number % 2)])


def mistreat(file: Path, image: bytes, seconds: float) -> dict[str, Any]:
    """Nonsense, cut connections, then more clients than a short queue has room for."""
    port, request = free_port(), post(image)
    options = (str(file), "--port", str(port), "--resize-mode", "crop")
    with started(OURS, port, *options) as server:
        asyncio.run(load(server, request, 64, 1))  # what is kept for good: memory of a whole batch
        asyncio.run(send_malformed(port, image, 100))
        before = server.memory_mib()
        statuses = asyncio.run(send_malformed(port, image, 1000))
        after = server.memory_mib()
        leave(port, request, 200)
        alone = asyncio.run(load(server, request, 1, 1)).statuses
        result = {
            "malformed": {str(status): n for status, n in sorted(statuses.items())},
            "memory_mib": {"before": before, "after": after, "after_200_left": server.memory_mib()},
            "answers_after_200_left": {str(status): n for status, n in alone.items()},
        }
    with started(OURS, port, *options, "--queue", "8", "--batch", "4") as server:
        full = asyncio.run(load(server, request, 64, seconds))
        result["full_queue"] = {
            "statuses": {str(status): n for status, n in sorted(full.statuses.items())},
            "memory_mib": server.memory_mib(),
            **full.figures(),
        }
    return result


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("exported", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    networks = {}
    for file in options.exported:
        network = ExportedNetwork(file, "crop", 1)
        request = post(png(network.shape))
        networks[network.identity["name"]] = compare(
            file, request, options.seconds, options.repeats
        )
    mistreated = mistreat(options.exported[-1], png(network.shape), options.seconds)
    payload = {"seconds": options.seconds, "repeats": options.repeats}
    print(write_result("serve", "cpu", payload | {"networks": networks, **mistreated}))


if __name__ == "__main__":
    main()
