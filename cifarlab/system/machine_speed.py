"""What this machine gives: products, convolutions and its disk, each measured for a moment."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from cifarlab.system.device import Compute
from cifarlab.system.files import disk_errors, write_bytes

PRECISIONS = ("float32", "bfloat16")
# channels and pixels of the 3x3 convolutions that most networks for such images consist of
_CONVOLUTIONS = ((64, 32), (128, 16), (256, 8), (512, 4))
_SIZES = {"cpu": (1024, 32), "gpu": (8192, 256)}  # of matrices, and images at a time
_OPERATION_TIME = 0.08  # seconds for which each is repeated
_FILE_SIZE, _SMALL_FILES = 2**27, 20
Speeds = dict[str, float | None]  # GFLOP/s by precision; None: not on this device


def measure_seconds(work: Callable[[], Any], compute: Compute, least: float) -> float:
    """Return the seconds of one call, the mean of as many as take ``least`` seconds.

    One call, before, sets things up; on a CPU it alone is measured where it takes ten times as
    long. On a GPU that may be the set-up alone: cuDNN tries its algorithms for seconds.

    Args:
        work: what is called
        compute: the device that it works on
        least: seconds
    """
    count, seconds = 1, time_calls(work, compute, 1)
    if compute.device.type == "cpu" and seconds >= 10 * least:
        return seconds
    while (seconds := time_calls(work, compute, count)) < least:
        count *= 2
    return seconds / count


def time_calls(work: Callable[[], Any], compute: Compute, count: int) -> float:
    """Return the seconds of calls in a row.

    Args:
        work: what is called
        compute: the device that it works on
        count: how often
    """
    compute.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        work()
    compute.synchronize()
    return time.perf_counter() - start


def measure_operations(compute: Compute) -> Iterator[tuple[str, Speeds]]:
    """Yield a matrix product, and each convolution in both directions: what it is, its speeds."""
    sizes = _SIZES["cpu" if compute.device.type == "cpu" else "gpu"]
    for name, flop, build in _operations(*sizes):
        yield name, {p: _gflops(flop, build, p, compute) for p in PRECISIONS}


Build = Callable[[dict[str, Any]], Callable[[], Any]]


def _operations(size: int, images: int) -> Iterator[tuple[str, float, Build]]:
    """Yield what it is, its FLOP, and what builds it with the options of a tensor."""

    def product(options: dict[str, Any]) -> Callable[[], Any]:
        first, second = (torch.randn(size, size, **options) for _ in range(2))
        return lambda: first @ second

    yield f"product of {size} x {size} matrices", 2.0 * size**3, product
    for channels, pixels in _CONVOLUTIONS:
        flop = 2.0 * images * pixels**2 * channels**2 * 9
        name = f"3x3 convolution, {channels} channels, {pixels} x {pixels} pixels"
        for part, mask in (("", None), ("image gradient", (1, 0)), ("weight gradient", (0, 1))):
            what = f"  its {part}" if part else name
            yield what, flop, _convolution((images, channels, pixels, pixels), mask)


def _convolution(shape: tuple[int, int, int, int], mask: tuple[int, int] | None) -> Build:
    """Return what builds a forward pass; with ``mask`` the gradients of images or weights."""

    def build(options: dict[str, Any]) -> Callable[[], Any]:
        layout = torch.channels_last
        images, gradient = (torch.randn(shape, **options).to(memory_format=layout) for _ in "ab")
        weight = torch.randn(shape[1], shape[1], 3, 3, **options).to(memory_format=layout)
        if mask is None:
            return lambda: functional.conv2d(images, weight, padding=1)
        settings = None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, (*map(bool, mask), False)
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(gradient, images, weight, *settings)

    return build


@torch.inference_mode()
def _gflops(flop: float, build: Build, precision: str, compute: Compute) -> float | None:
    """Return GFLOP/s; None where the device has no such operation or type."""
    with suppress(RuntimeError, TypeError):
        work = build({"device": compute.device, "dtype": getattr(torch, precision)})
        return flop / measure_seconds(work, compute, _OPERATION_TIME) / 1e9
    return None


def measure_disk(folder: Path) -> dict[str, float]:
    """Return MB/s written and read, and the milliseconds of a small file that is flushed.

    Reading is measured where the system can be asked to forget what it has just written.

    Raises:
        StorageError: the disk refused
    """
    with disk_errors(folder), tempfile.TemporaryDirectory(dir=folder) as name:
        file, content = Path(name) / "file", os.urandom(2**20) * (_FILE_SIZE >> 20)
        start = time.perf_counter()
        write_bytes(file, content)
        result = {"write": _FILE_SIZE / (time.perf_counter() - start) / 1e6}
        if hasattr(os, "posix_fadvise"):
            with file.open("rb", buffering=0) as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                start = time.perf_counter()
                stream.read()
                result["read"] = _FILE_SIZE / (time.perf_counter() - start) / 1e6
        start = time.perf_counter()
        for number in range(_SMALL_FILES):
            write_bytes(Path(name) / str(number), b"small")
        result["flush"] = (time.perf_counter() - start) / _SMALL_FILES * 1e3
    return result
