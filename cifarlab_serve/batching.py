"""Images of several requests in one forward pass: one task gathers what waits and runs it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

LAST_PASS_SECONDS = 1.0  # that the end waits for a forward pass whose requests are over


class QueueFullError(Exception):
    """More images wait than may."""


class _ForwardThread(Executor):
    """One thread that ends with the process, even within a forward pass that hangs.

    The standard library's pools wait for their threads, and a process that has one for it, too.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="forward", daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function behind those that were submitted before."""
        future: Future[Any] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        self._jobs.put(job)
        return future

    def end(self, seconds: float) -> None:
        """Wait so long for what runs, and no longer."""
        self._jobs.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while job := self._jobs.get():
            job()


class Batcher:
    """Runs a network on images from many tasks, each of which awaits its own probabilities."""

    def __init__(
        self,
        run: Callable[[np.ndarray], np.ndarray],
        max_batch: int,
        wait_s: float,
        max_queue: int,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Prepare; ``start`` starts the task.

        Args:
            run: from images (N, H, W, C) to probabilities (N, K)
            max_batch: images of a forward pass at most
            wait_s: how long an image waits for others that are on their way
            max_queue: images that may wait
            observe: called with the size of each batch
        """
        self._run, self._max_batch, self._wait_s = run, max_batch, wait_s
        self._max_queue, self._observe = max_queue, observe
        self._queue: deque[tuple[np.ndarray, asyncio.Future[np.ndarray]]] = deque()
        self._arrival = asyncio.Event()
        self._executor = _ForwardThread()
        self._begun: float | None = None  # when the pass that runs did
        self._has_failed = False
        self._on_their_way = 0  # requests whose images are being decoded

    @property
    def n_waiting(self) -> int:
        """Return how many images wait."""
        return len(self._queue)

    def is_well(self, seconds: float) -> bool:
        """Return whether the last forward pass worked and none has run for so long."""
        is_late = self._begun is not None and time.monotonic() - self._begun > seconds
        return not (self._has_failed or is_late or self._task.done())

    def start(self) -> None:
        """Start the task that runs the batches."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End the task; a forward pass that hangs is left behind."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await asyncio.to_thread(self._executor.end, LAST_PASS_SECONDS)

    @contextmanager
    def announce(self) -> Iterator[None]:
        """Make a batch wait a little for images that come after this block."""
        self._on_their_way += 1
        try:
            yield
        finally:
            self._on_their_way -= 1
            self._arrival.set()

    async def predict(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return probabilities (N, K) of images (H, W, C). Raises QueueFullError."""
        if len(self._queue) + len(images) > self._max_queue:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in images]
        self._queue.extend(zip(images, futures, strict=True))
        self._arrival.set()
        return np.stack(await asyncio.gather(*futures))

    async def _work(self) -> None:
        while True:
            if batch := await self._gather():
                await self._run_batch(batch)

    async def _run_batch(self, batch: list[tuple[np.ndarray, asyncio.Future[np.ndarray]]]) -> None:
        """Give each image its probabilities, or the error that the forward pass had."""
        self._begun, loop = time.monotonic(), asyncio.get_running_loop()
        try:
            images = np.stack([image for image, _ in batch])
            rows = await loop.run_in_executor(self._executor, self._run, images)
            answers: list[Any] = list(zip(batch, rows, strict=True))
            self._observe(len(batch))
            self._has_failed = False
        except Exception as error:
            answers, self._has_failed = [(entry, error) for entry in batch], True
        self._begun = None
        for (_, future), row in answers:
            if future.done():  # its request is over: out of time
                continue
            if isinstance(row, Exception):
                future.set_exception(row)
            else:
                future.set_result(row)

    async def _gather(self) -> list[tuple[np.ndarray, asyncio.Future[np.ndarray]]]:
        """Wait for images, and a little for those that come with them; none of ended requests."""
        await self._wait_for_arrival()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s):
                while self.n_waiting < self._max_batch and self._on_their_way:
                    self._arrival.clear()
                    await self._arrival.wait()
        n = min(self._max_batch, self.n_waiting)
        entries = [self._queue.popleft() for _ in range(n)]
        return [entry for entry in entries if not entry[1].done()]

    async def _wait_for_arrival(self) -> None:
        while not self._queue:
            self._arrival.clear()
            await self._arrival.wait()
