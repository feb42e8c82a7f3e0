"""What is too large, too much, too slow or not allowed is answered in plain JSON."""

import asyncio
import struct
import threading
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from made_images import as_file, image_files
from PIL import Image
from starlette.testclient import TestClient

from cifarlab_serve import decoding
from cifarlab_serve.app import build_app
from cifarlab_serve.batching import Batcher, QueueFullError
from cifarlab_serve.exported import ExportedNetwork, InputPolicy
from cifarlab_serve.settings import Limits

IMAGE = image_files()["fits.png"]


@contextmanager
def serving(
    network: ExportedNetwork, token: str | None = None, **limits: float
) -> Iterator[TestClient]:
    """A server with other bounds."""
    app = build_app(network, Limits(**limits), token)  # type: ignore[arg-type]
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and error of an answer that has just what a refusal has."""
    assert set(answer.json()) == {"error", "hint"} and all(answer.json().values())
    return answer.status_code, answer.json()["error"]


def bomb(side: int) -> bytes:
    """A PNG of 59 bytes that declares many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\x0cIDAT" + b"\0" * 14


def test_what_is_no_image_is_refused(client: TestClient) -> None:
    for content, error in (
        (b"", "image is empty"),
        (b"no image", "image can't be decoded: it is no image of a known format"),
        (IMAGE[:60], "image can't be decoded: "),
        (bomb(2049), "image declares 2049x2049 pixels, more than 4,194,304"),
        (bomb(100_000), "image declares too many pixels: "),
    ):
        status, message = refusal(client.post("/predict", content=content))
        assert status == 422 and message.startswith(error)
    good, bad = ("images", ("a.png", IMAGE)), ("images", ("b.png", b"no image"))
    assert refusal(client.post("/predict", files=[good, bad]))[1].startswith("b.png can't")


def test_a_form_that_is_none_is_refused(client: TestClient) -> None:
    kind = {"content-type": "multipart/form-data"}
    ours = {"content-type": "multipart/form-data; boundary=x"}
    for headers, content in ((kind, b"x"), (ours, b""), (ours, b"--y\r\n\r\n"), (ours, b"--x--")):
        assert refusal(client.post("/predict", content=content, headers=headers))[0] == 422
    files = [("images", ("a.png", IMAGE))]
    assert refusal(client.post("/predict", files=files, data={"a": "b"}))[0] == 422


def test_other_paths_and_methods_are_answered_in_json(client: TestClient) -> None:
    assert refusal(client.get("/nothing")) == (404, "Not Found")
    assert refusal(client.get("/predict")) == (405, "Method Not Allowed")


def test_sizes_are_bounded(network: ExportedNetwork) -> None:
    with serving(network, body_bytes=1000, images=2, pixels=63) as client:
        assert refusal(client.post("/predict", content=b"x" * 1001))[0] == 413
        assert refusal(client.post("/predict", content=iter([b"x" * 600] * 2)))[0] == 413
        three = [("images", (f"{n}.png", IMAGE)) for n in range(3)]
        assert refusal(client.post("/predict", files=three))[0] == 413
        assert "more than 63" in refusal(client.post("/predict", content=IMAGE))[1]
        many = [("images", (f"{n}.png", b"")) for n in range(4)]
        assert refusal(client.post("/predict", files=many))[0] == 413
    with serving(network, queue=2) as client:  # more than that could never be queued
        assert refusal(client.post("/predict", files=three))[0] == 413


def test_all_but_health_needs_the_token(network: ExportedNetwork) -> None:
    with serving(network, token="taken") as client:
        assert client.get("/health").status_code == 200
        for header in (None, "Bearer token", b"taken", b"Bearer t\xe4ken", b"Bearer take"):
            headers = {} if header is None else {"authorization": header}
            for path in ("/model", "/metrics", "/openapi.json"):
                assert client.get(path, headers=headers).status_code == 401
            answer = client.post("/predict", content=IMAGE, headers=headers)
            assert refusal(answer)[0] == 401 and answer.headers["www-authenticate"] == "Bearer"
    with serving(network, token="taken") as client:
        headers = {"authorization": "Bearer taken", "host": "example.org"}
        assert client.post("/predict", content=IMAGE, headers=headers).status_code == 200


def test_without_a_token_no_foreign_name_is_answered(client: TestClient) -> None:
    for host in ("example.org", "[", "127.0.0.1.example.org", ""):
        for path in ("/model", "/metrics", "/openapi.json"):
            assert refusal(client.get(path, headers={"host": host}))[0] == 403
    for host in ("localhost:1", "[::1]:80", "127.0.0.1"):
        assert client.get("/model", headers={"host": host}).status_code == 200


class Gate:
    """A network that answers once the gate is open, and keeps the sizes of its batches."""

    def __init__(self, network: ExportedNetwork) -> None:
        self.run, self.sizes = network.run, list[int]()
        self.begun, self.open = threading.Event(), threading.Event()
        network.run = self  # type: ignore[method-assign, assignment]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.begun.set()
        assert self.open.wait(20)
        self.sizes.append(len(images))
        return self.run(images)


def ask(
    network: ExportedNetwork,
    limits: Limits,
    play: Callable[[httpx.AsyncClient], Awaitable[list[httpx.Response]]],
) -> list[httpx.Response]:
    """What several clients at once are answered."""

    async def run() -> list[httpx.Response]:
        app = build_app(network, limits)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            return await play(client)

    return asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def overload(network: ExportedNetwork, limits: Limits, n: int) -> list[httpx.Response]:
    """Send requests while the network is held, open it when all but n are refused."""
    gate = Gate(network)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        tasks = [asyncio.create_task(client.post("/predict", content=IMAGE))]
        await until(gate.begun.is_set)
        tasks += [asyncio.create_task(client.post("/predict", content=IMAGE)) for _ in range(19)]
        await until(lambda: sum(task.done() for task in tasks) == 20 - n)
        gate.open.set()
        return list(await asyncio.gather(*tasks))

    answers = ask(network, limits, play)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 20 - n
    for answer in refused:
        assert refusal(answer)[0] == 503 and answer.headers["retry-after"] == "1"
    return refused


def test_a_full_queue_is_answered_at_once(network: ExportedNetwork) -> None:
    refused = overload(network, Limits(queue=5, batch=1), 6)  # one of them is being computed
    assert {answer.json()["error"] for answer in refused} == {"too many images wait"}


def test_too_many_requests_are_answered_at_once(network: ExportedNetwork) -> None:
    refused = overload(network, Limits(requests=3), 3)
    assert {answer.json()["error"] for answer in refused} == {"too many requests at once"}


class SlowDecoding:
    """Decoding that waits, of images that are not of the network's size."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decode, self.n_begun, self.open = decoding.decode_opened, 0, threading.Event()
        monkeypatch.setattr(decoding, "decode_opened", self)

    def __call__(self, file: Image.Image, policy: InputPolicy) -> np.ndarray:
        if file.size != (8, 8):
            self.n_begun += 1
            assert self.open.wait(20)
        return self.decode(file, policy)


def test_large_images_have_a_budget_and_small_ones_do_not_wait_for_them(
    network: ExportedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, slow = as_file(Image.new("L", (600, 600))), SlowDecoding(monkeypatch)
    monkeypatch.setattr(decoding, "count_cores", lambda: 2)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        tasks = [asyncio.create_task(client.post("/predict", content=large)) for _ in range(9)]
        await until(lambda: sum(task.done() for task in tasks) == 9 - 4 and slow.n_begun == 2)
        small = [await client.post("/predict", content=IMAGE) for _ in range(3)]
        slow.open.set()
        answers = await asyncio.gather(*tasks)
        return [*answers, *small, await client.post("/predict", content=large)]

    answers = ask(network, Limits(held_pixels=4 * 600 * 600), play)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert [refusal(answer) for answer in refused] == [(503, "too many pixels at once")] * 5
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert all(answer.status_code == 200 for answer in answers[9:])


def test_images_that_never_fit_the_budget_are_refused(network: ExportedNetwork) -> None:
    files = [("images", (name, as_file(Image.new("L", (600, 400))))) for name in "ab"]
    with serving(network, held_pixels=479_999) as client:
        for _ in range(2):
            status, error = refusal(client.post("/predict", files=files))
            assert status == 413 and "480,000 pixels together, more than 479,999" in error
        assert client.post("/predict", files=files[:1]).status_code == 200


def test_pixels_are_free_again_after_a_timeout(
    network: ExportedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, slow = as_file(Image.new("L", (600, 600))), SlowDecoding(monkeypatch)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        answers = [await client.post("/predict", content=large)]
        answers.append(await client.post("/predict", content=large))  # a thread still decodes
        slow.open.set()
        await asyncio.sleep(0.2)
        return [*answers, await client.post("/predict", content=large)]

    answers = ask(network, Limits(held_pixels=600 * 600, timeout=0.3), play)
    assert [answer.status_code for answer in answers] == [504, 503, 200]


def test_too_many_bytes_are_answered_at_once(
    network: ExportedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, slow = image_files()["grey.png"], SlowDecoding(monkeypatch)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        tasks = [asyncio.create_task(client.post("/predict", content=other)) for _ in range(9)]
        await until(lambda: sum(task.done() for task in tasks) == 9 - 4)
        slow.open.set()
        return list(await asyncio.gather(*tasks))

    answers = ask(network, Limits(held_bytes=2 * 4 * len(other) + 3), play)
    refused = [refusal(answer) for answer in answers if answer.status_code != 200]
    assert refused == [(503, "too many bytes at once")] * 5


def test_bytes_are_free_once_images_are_decoded(network: ExportedNetwork) -> None:
    gate = Gate(network)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = asyncio.create_task(client.post("/predict", content=IMAGE))
        await until(gate.begun.is_set)
        second = asyncio.create_task(client.post("/predict", content=IMAGE))
        await asyncio.sleep(0.1)
        gate.open.set()
        return list(await asyncio.gather(first, second))

    answers = ask(network, Limits(held_bytes=2 * len(IMAGE)), play)
    assert [answer.status_code for answer in answers] == [200, 200]


def test_there_is_room_again_after_any_end(network: ExportedNetwork) -> None:
    with serving(network, requests=1, held_bytes=2000, body_bytes=900) as client:
        for content in (b"", b"x" * 899, b"x" * 901, IMAGE) * 3:
            assert client.post("/predict", content=content).status_code != 503


def test_what_takes_too_long_is_answered(network: ExportedNetwork) -> None:
    gate = Gate(network)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        late = await client.post("/predict", content=IMAGE)
        gate.open.set()
        return [late, await client.post("/predict", content=IMAGE)]

    late, next_answer = ask(network, Limits(timeout=0.3), play)
    assert refusal(late) == (504, "there was no answer within 0.3 seconds")
    assert next_answer.status_code == 200


def test_a_body_that_trickles_is_answered(network: ExportedNetwork) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.05)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/predict", content=trickle())]

    [answer] = ask(network, Limits(timeout=0.2), play)
    assert refusal(answer) == (408, "the body did not arrive within 0.2 seconds")


def test_a_network_that_fails_is_a_fault_of_the_server(network: ExportedNetwork) -> None:
    def fail(images: np.ndarray) -> np.ndarray:
        raise ValueError("a secret")

    network.run = fail  # type: ignore[method-assign]
    app = build_app(network, Limits())
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        for _ in range(2):  # the worker goes on
            assert refusal(client.post("/predict", content=IMAGE)) == (500, "the server failed")


def test_health_is_that_of_the_network(network: ExportedNetwork) -> None:
    run, broken = network.run, threading.Event()

    def run_unless_broken(images: np.ndarray) -> np.ndarray:
        return np.zeros(0) if broken.is_set() else run(images)  # too few rows for the images

    network.run = run_unless_broken  # type: ignore[method-assign]
    app = build_app(network, Limits())
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        assert client.get("/health").json() == {"status": "ok"}
        broken.set()
        assert refusal(client.post("/predict", content=IMAGE))[0] == 500
        for _ in range(2):
            assert refusal(client.get("/health")) == (503, "the network does not answer")
        broken.clear()  # it heals without another request
        assert client.get("/health").json() == {"status": "ok"}
        assert client.post("/predict", content=IMAGE).status_code == 200


def test_a_network_that_hangs_is_not_well(network: ExportedNetwork) -> None:
    gate = Gate(network)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        late = await client.post("/predict", content=IMAGE)
        async with asyncio.timeout(20):  # the pass began after the request
            while (hung := await client.get("/health")).status_code == 200:
                await asyncio.sleep(0.05)
        gate.open.set()
        return [late, hung, await client.get("/health")]

    late, hung, well = ask(network, Limits(timeout=0.3), play)
    assert (late.status_code, well.status_code) == (504, 200)
    assert refusal(hung) == (503, "the network does not answer")


def test_requests_have_forward_passes_in_common(network: ExportedNetwork) -> None:
    gate = Gate(network)

    async def play(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = asyncio.create_task(client.post("/predict", content=IMAGE))
        await until(gate.begun.is_set)
        others = [asyncio.create_task(client.post("/predict", content=IMAGE)) for _ in range(20)]
        await asyncio.sleep(0.3)
        gate.open.set()
        return list(await asyncio.gather(first, *others))

    answers = ask(network, Limits(batch=16), play)
    assert {answer.status_code for answer in answers} == {200}
    assert gate.sizes == [1, 16, 4]


def test_each_request_gets_its_own_answer() -> None:
    """A network that says an image's own number, asked by many with several images each."""

    async def run() -> None:
        batcher = Batcher(lambda images: images[:, 0].astype(float), 8, 0.001, 1000)
        batcher.start()

        async def request(n: int) -> None:
            values = [np.array([[100 * n + i, 7]]) for i in range(n % 11 + 1)]
            with batcher.announce():
                await asyncio.sleep(0.001 * (n % 3))
            answer = await batcher.predict(values)
            assert answer[:, 0].tolist() == [100 * n + i for i in range(len(values))]

        await asyncio.gather(*map(request, range(40)))
        await batcher.stop()

    asyncio.run(run())


def test_a_lone_image_does_not_wait_and_a_queue_has_an_end() -> None:
    async def run() -> None:
        batcher = Batcher(lambda images: images, 8, 5.0, 2)
        batcher.start()
        start = time.perf_counter()
        await batcher.predict([np.zeros(1)])
        assert time.perf_counter() - start < 2
        with pytest.raises(QueueFullError):
            await batcher.predict([np.zeros(1)] * 3)
        await batcher.stop()

    asyncio.run(run())
