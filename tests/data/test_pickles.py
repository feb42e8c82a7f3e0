"""Pickles of official archives and of competitions: read whole; no command, no bomb."""

import os
import pickle
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from made_sources import python2_pickle

from cifarlab.data.cifar_pickles import load_pickle
from cifarlab.system.errors import DataError

ARRAYS = {
    "data": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "again": np.ones(3, np.uint8),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "no images": np.zeros((0, 3072), np.uint8),
    "other order": np.arange(3, dtype=">i4"),
    "texts": np.array(["ä", "bcd"]),
    "bytes": np.array([b"a", b"bc"]),
}
PLAIN = {"ids": [1, -1, 300, 70_000, 2**40, "ä", b"\xff", None, True, 1.5], "name": "x", "k": 3}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("key", [str, str.encode])
def test_what_is_written_is_read(protocol: int, key: Any) -> None:
    content = {**ARRAYS, **PLAIN}
    loaded = load_pickle(pickle.dumps({key(k): v for k, v in content.items()}, protocol), "file")
    assert list(loaded) == list(content)
    assert {k: loaded[k] for k in PLAIN} == PLAIN
    for name, array in ARRAYS.items():
        assert np.array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert loaded[name].flags.writeable


def test_what_python_2_wrote_is_read() -> None:
    loaded = load_pickle(
        python2_pickle({"labels": [1, 2], "data": ARRAYS["data"], "names": ["a"]}), "file"
    )
    assert loaded["labels"] == [1, 2] and loaded["names"] == [b"a"]
    assert np.array_equal(loaded["data"], ARRAYS["data"])


def shared_tuples(depth: int) -> bytes:
    """A key that is a tuple of twice the tuple before: hashing it takes 2**depth steps."""
    steps = b"".join(b"h%c\x86q%c" % (n, n + 1) for n in range(depth))
    return b"\x80\x02}K\x01q\x00" + steps + b"K\x01s."


def copied_array(times: int) -> bytes:
    """One text of 1 MB that is the content of many arrays."""
    raw = b"\x80\x02B" + (10**6).to_bytes(4, "little") + bytes(10**6) + b"q\x00"
    make = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    fill = (
        b"(K\x01J" + (10**6).to_bytes(4, "little") + b"\x85cnumpy\ndtype\nU\x02u1\x85R\x89h\x00tb"
    )
    return raw + b"}" + b"".join(b"U\x03%03d" % n + make + fill + b"s" for n in range(times)) + b"."


LARGE = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"q\x00"  # a text, and its place


def encoded_again(times: int) -> bytes:
    """One text of 1 MB that is turned into bytes again and again, each time another way."""
    encode = b"".join(
        b"c_codecs\nencode\nh\x00M%c%c\x86R" % divmod(n, 256)[::-1] for n in range(times)
    )
    return b"\x80\x02}" + LARGE + encode + b"."


def named_again(times: int) -> bytes:
    """One text of 1 MB in bytes that is the name of many dtypes."""
    named = b"cnumpy\ndtype\nh\x00\x85R" * times
    return b"\x80\x02}" + LARGE.replace(b"X", b"B", 1) + named + b"."


def ordered_again(times: int) -> bytes:
    """One text of 1 MB in bytes that is the byte order of many dtypes."""
    filled = b"cnumpy\ndtype\nU\x02u1\x85RK\x00h\x00\x86b" * times
    return b"\x80\x02}" + LARGE.replace(b"X", b"B", 1) + filled + b"."


def doubled_lists(depth: int) -> bytes:
    """A list of twice the list before, and so on: printing it takes 2**depth steps."""
    return b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(depth))


HOSTILE = {
    "a command": pickle.dumps({"data": os.system}),
    "a key of shared tuples": shared_tuples(60),
    "a key of nested tuples": b"\x80\x02}K\x01" + b"\x85" * 200_000 + b"K\x01s.",
    "a long tuple in many others": b"\x80\x02("
    + (b"K\x01" * 20_000 + b"tq\x00" + b"h\x00\x85" * 20_000 + b"."),
    "a shape without end": b"\x80\x02("
    + (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f" * 50_000 + b"t."),
    "nested lists": b"]" * 200_000 + b"a" * 199_999 + b".",
    "nested dictionaries": b"}" * 3 + b"U\x01aU\x01bss.",
    "a list in itself": b"]q\x00h\x00a.",
    "a number as a key": pickle.dumps({1: 2}),
    "a large place in the memo": b"K\x01r\xff\xff\xff\x0f.",
    "an array of objects": pickle.dumps({"data": np.array([None])}, 2),
    "a large array of objects": pickle.dumps({"data": np.array([None])}, 2).replace(
        b"K\x01\x85", b"J\xff\xff\xff\x7f\x85"
    ),
    "a large array of nothing": pickle.dumps({"data": np.zeros(3, np.uint8)}, 2).replace(
        b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"
    ),
    "an array of large records": pickle.dumps({"data": np.zeros(1, "S2")}, 2).replace(b"S2", b"S9"),
    "a negative shape": pickle.dumps({"data": np.zeros(3, np.uint8)}, 2).replace(
        b"K\x03\x85", b"J\xff\xff\xff\xff\x85"
    ),
    "one text in many arrays": copied_array(500),
    "one text made bytes many times": encoded_again(400),
    "one text as the name of many types": named_again(200),
    "one text as the byte order of many types": ordered_again(200),
    "a call with doubled lists": doubled_lists(23) + b"cnumpy\ndtype\n]h\x17aR.",
    "a state of doubled lists": doubled_lists(23) + b"cnumpy\ndtype\nU\x02u1\x85R](K\x00h\x17eb.",
    "a key of large texts": b"\x80\x02"
    + LARGE
    + b"}(("
    + b"h\x00" * 32
    + b"tq\x01h\x01h\x01h\x01tK\x01s.",
    "a list of lists": pickle.dumps({"ids": [[1]]}),
    "a dictionary in another": pickle.dumps({"ids": {"a": 1}}),
    "a function that is filled": b"}U\x01acnumpy\ndtype\n}U\x01bK\x01sbs.",
    "a large number": b"\x8b\xff\xff\xff\x7f.",
    "a number of 9 bytes": pickle.dumps({"data": 2**70}),
    "a text that is not there": b"B\xff\xff\xff\x7f.",
    "no end": pickle.dumps({"data": 1})[:-1],
    "no dictionary": pickle.dumps([1]),
    "nothing": b"",
    "only an end": b".",
    "copies": b"]" + b"2" * 100 + b".",
    "a mark that is not there": b"e.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_one_is_refused_fast_and_in_little_memory(name: str) -> None:
    blob = HOSTILE[name]
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(DataError, match="file is not what"):
        load_pickle(blob, "file")
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 10 and peak < 2**20 + 100 * len(blob)


def test_the_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifarlab.data.cifar_pickles._MOST_STEPS", 1000)
    assert load_pickle(b"}U\x01a](" + b"N" * 900 + b"es.", "file") == {"a": [None] * 900}
    with pytest.raises(DataError, match="1,000 instructions"):
        load_pickle(b"}U\x01a](" + b"N" * 1000 + b"es.", "file")


@pytest.mark.parametrize("order", "<>")
def test_texts_are_checked_in_little_memory(order: str) -> None:
    array = np.full(10**6, "\u4e00", f"{order}U1")
    blob = pickle.dumps({"data": array}, 4)
    tracemalloc.start()
    assert np.array_equal(load_pickle(blob, "file")["data"], array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(blob)
    wrong = blob.replace(array.tobytes()[:4], b"\xff" * 4)
    with pytest.raises(DataError, match="no characters"):
        load_pickle(wrong, "file")
