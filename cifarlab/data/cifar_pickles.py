"""The pickles in the official archives and of competitions, read without running what they ask for.

A pickle is a program for a stack machine. This one knows the instructions that such files need,
builds plain values and arrays itself, and calls nothing that a file names. What it builds is
never larger than the file: texts and numbers in lists, under texts as keys, beside arrays.
"""

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from cifarlab.system.errors import DataError

REPACKED_HINT = "get the official archive again; it is no longer as it was published"
_MOST_STEPS = 5_000_000  # CIFAR-100's training pickle has 500,000
_MOST_NUMBER = 2**63
_MOST_IN_TUPLE = 32  # values of a tuple: NumPy's states have 8, its shapes at most 64 sizes
_DTYPE = re.compile(r"[<>=|]?(?:b1|[iuf][1248]|[SU]\d{1,5})")


class _Known(Enum):
    """What a file may name."""

    RECONSTRUCT = "_reconstruct"
    FROM_BUFFER = "_frombuffer"
    NDARRAY = "ndarray"
    DTYPE = "dtype"
    ENCODE = "encode"
    BYTES = "bytes"


_NAMES = {
    "numpy.core.multiarray _reconstruct": _Known.RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _Known.RECONSTRUCT,
    "numpy.core.numeric _frombuffer": _Known.FROM_BUFFER,
    "numpy._core.numeric _frombuffer": _Known.FROM_BUFFER,
    "numpy ndarray": _Known.NDARRAY,
    "numpy dtype": _Known.DTYPE,
    "_codecs encode": _Known.ENCODE,
    "__builtin__ bytes": _Known.BYTES,
}
_PLAIN = (str, bytes, int, float, bool, type(None))


@dataclass(eq=False)
class _Type:
    """A dtype of numbers or texts, never of objects; its byte order may come after it."""

    name: str

    def array(self, raw: bytes, shape: tuple[int, ...], order: str) -> np.ndarray:
        """Return a copy of ``raw`` as an array, which it must fill. Raises ValueError."""
        dtype = np.dtype(self.name)
        if any(type(size) is not int or size < 0 for size in shape):
            raise ValueError("an array's shape is no shape")
        if dtype.itemsize * math.prod(shape) != len(raw):
            raise ValueError("an array's bytes do not fit its shape")
        if dtype.kind == "U" and (np.frombuffer(raw, dtype.byteorder + "u4") > 0x10FFFF).any():
            raise ValueError("an array of texts holds no characters")
        built = np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")
        return np.array(built, dtype.str[1:], order="C")  # Pillow knows no "<u1"


class _Array:
    """An array that is named before its content comes."""

    content: np.ndarray | None = None


def load(blob: bytes, where: str, hint: str = REPACKED_HINT) -> dict[str, Any]:
    """Read a pickled dictionary. Raises DataError naming ``where``, with the hint."""
    try:
        loaded = _Machine().run(blob)
        if not isinstance(loaded, dict):
            raise ValueError("it holds no dictionary")
        arrays = {k: v.content if isinstance(v, _Array) else v for k, v in loaded.items()}
        return {text(key): value for key, value in arrays.items()}
    # A forged pickle can make the reading of its instructions fail in any way.
    except Exception as error:
        what = "the official archive has there" if hint == REPACKED_HINT else "is expected there"
        raise DataError(f"{where} is not what {what}: {error!s:.120}", hint) from error


def text(value: bytes | str) -> str:
    """Decode what Python 2 wrote as a byte string."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


class _Machine:
    """The stack machine; each method is one kind of instruction."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.bytes_left = 0  # bytes that may still be copied

    def run(self, blob: bytes) -> Any:
        """Return what the program leaves. Raises any exception for one that is not allowed."""
        self.bytes_left = 2 * len(
            blob
        )  # Python 3 writes bytes for Python 2 as a text to be encoded
        for step, (code, argument, _) in enumerate(pickletools.genops(blob)):
            if step > _MOST_STEPS:
                raise ValueError(f"it has more than {_MOST_STEPS:,} instructions")
            if code.name == "STOP":
                return self.stack.pop()
            act = _ACTS.get(code.name)
            if act is None:
                raise ValueError(f"it has the instruction {code.name}")
            act(self, argument)
        raise ValueError("it has no end")

    def ignore(self, _: Any) -> None:
        pass

    def push(self, value: Any) -> None:
        if isinstance(value, int) and not -_MOST_NUMBER <= value < _MOST_NUMBER:
            raise ValueError("it holds a number of over 64 bits")
        self.stack.append(value)

    def push_bytes(self, value: str) -> None:  # pickletools reads Python 2's strings as Latin-1
        self.stack.append(value.encode("latin-1"))

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def pop_mark(self) -> list[Any]:
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def tuple_of(self, values: list[Any]) -> None:
        """Arguments: plain values, what is known, and flat tuples such as a shape."""
        if len(values) > _MOST_IN_TUPLE:
            raise ValueError(f"a tuple has more than {_MOST_IN_TUPLE} values")
        for value in values:
            flat = isinstance(value, tuple) and all(isinstance(item, _PLAIN) for item in value)
            if not (flat or isinstance(value, (*_PLAIN, _Known, _Type))):
                raise ValueError("a tuple holds what is no plain value")
        self.stack.append(tuple(values))

    def top_tuple(self, size: int) -> None:
        values = [self.stack.pop() for _ in range(size)]
        self.tuple_of(values[::-1])

    def list_of(self, values: list[Any]) -> None:
        self.stack.append([])
        self.extend(values)

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not (isinstance(target, list) and all(isinstance(item, _PLAIN) for item in values)):
            raise ValueError("a list holds what is no plain value")
        target.extend(values)

    def dict_of(self, values: list[Any]) -> None:
        self.stack.append({})
        self.update(values)

    def update(self, values: list[Any]) -> None:
        target, keys = self.stack[-1], values[::2]
        sound = isinstance(target, dict) and all(isinstance(key, str | bytes) for key in keys)
        if not sound or any(isinstance(value, dict) for value in values[1::2]):
            raise ValueError("a dictionary has a key that is no text, or holds another one")
        target.update(zip(keys, values[1::2], strict=True))

    def name(self, dotted: str) -> None:
        if dotted not in _NAMES:
            raise ValueError(f"it asks for {dotted.replace(' ', '.')}")
        self.stack.append(_NAMES[dotted])

    def stack_name(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name(f"{module} {name}")

    def count_copied(self, content: bytes | str) -> None:
        """Count what is copied: a file may name one large text again and again."""
        self.bytes_left -= len(content)
        if self.bytes_left < 0:
            raise ValueError("it copies more than it holds")

    def reduce(self, _: Any) -> None:
        arguments, known = self.stack.pop(), self.stack.pop()
        match known, arguments:
            case _Known.ENCODE, (str(letters), "latin1" | b"latin1"):
                self.count_copied(letters)
                self.stack.append(letters.encode("latin-1"))
            case _Known.BYTES, ():
                self.stack.append(b"")
            case _Known.DTYPE, (str() | bytes() as name, *_) if _DTYPE.fullmatch(text(name)):
                self.stack.append(_Type(text(name)))
            case _Known.RECONSTRUCT, (_Known.NDARRAY, *_):
                self.stack.append(_Array())
            case _Known.FROM_BUFFER, (bytes(raw), _Type() as kind, tuple(shape), str(order)):
                self.count_copied(raw)
                self.stack.append(_Array())
                self.stack[-1].content = kind.array(raw, shape, order)
            case _:
                raise ValueError("it asks for something that is no array of numbers or texts")

    def build(self, _: Any) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        match built, state:
            case _Type(), (_, "<" | ">" | "|" | "=" | b"<" | b">" | b"|" | b"=" as order, *_):
                built.name = text(order) + built.name.lstrip("<>|=")
            case _Array(), (_, tuple(shape), _Type() as kind, order, bytes(raw)):
                self.count_copied(raw)
                built.content = kind.array(raw, shape, "F" if order else "C")
            case _:
                raise ValueError("it fills something that is no array of numbers or texts")


_Act = Callable[[_Machine, Any], None]
_ACTS: dict[str, _Act] = {
    **dict.fromkeys(("PROTO", "FRAME"), _Machine.ignore),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"), _Machine.push),
    **dict.fromkeys(("FLOAT", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _Machine.push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _Machine.push),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _Machine.push_bytes),
    "BYTEARRAY8": lambda machine, value: machine.push(bytes(value)),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": _Machine.mark,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "EMPTY_TUPLE": lambda machine, _: machine.tuple_of([]),
    "TUPLE": lambda machine, _: machine.tuple_of(machine.pop_mark()),
    "TUPLE1": lambda machine, _: machine.top_tuple(1),
    "TUPLE2": lambda machine, _: machine.top_tuple(2),
    "TUPLE3": lambda machine, _: machine.top_tuple(3),
    "EMPTY_LIST": lambda machine, _: machine.list_of([]),
    "LIST": lambda machine, _: machine.list_of(machine.pop_mark()),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_mark()),
    "EMPTY_DICT": lambda machine, _: machine.dict_of([]),
    "DICT": lambda machine, _: machine.dict_of(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.update([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.update(machine.pop_mark()),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
