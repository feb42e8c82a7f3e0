"""Freed memory is kept, where the C library can be told to; elsewhere nothing happens."""

import ctypes
import platform
import subprocess
import sys
from typing import Any

import pytest

from cifarlab.system.device import keep_freed_memory

ROUND = 56_000_000 // 4096  # pages of a round's two tensors
PROGRAM = """
import resource, sys, torch
from cifarlab.system.device import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()

def work(rounds):
    for _ in range(rounds):
        a = torch.ones(4_000_000)
        b = torch.ones(10_000_000)
        del a, b

work(5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work(20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way: str) -> int:
    command = [sys.executable, "-c", PROGRAM, way]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_no_fresh_pages_after_the_first_rounds() -> None:
    # in twenty rounds; a stray small allocation may make the heap grow once more
    assert faults("kept") < ROUND
    assert faults("usual") > 5 * ROUND  # or the number above says nothing


class Library:
    """A C library that takes a threshold up to a largest one."""

    def __init__(self, largest: int) -> None:
        self.largest, self.calls = largest, []

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return int(parameter == -1 or value <= self.largest)


@pytest.mark.parametrize(
    ("largest", "calls"),
    [
        (2**40, [(-3, 2**30), (-1, 2**31 - 1)]),
        (2**25, [(-3, 2**30), (-3, 2**25), (-1, 2**31 - 1)]),  # before glibc 2.35
        (0, [(-3, 2**30), (-3, 2**25)]),
    ],
)
def test_a_refused_threshold_is_lowered_or_all_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, largest: int, calls: list[tuple[int, int]]
) -> None:
    library = Library(largest)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    keep_freed_memory()
    assert library.calls == calls


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_harmless_where_there_is_no_such_setting(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    names: list[Any] = []

    def missing(name: Any) -> None:
        names.append(name)
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    keep_freed_memory()
    assert names == [None]  # it was tried, and the error went no further


def test_harmless_in_a_library_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[Any] = []
    monkeypatch.setattr(ctypes, "CDLL", names.append)  # None has no mallopt
    keep_freed_memory()
    assert names == [None]
