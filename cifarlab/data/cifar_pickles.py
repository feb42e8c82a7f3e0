"""A safe reader of the pickles in the official archives and of competitions.

A pickle is a program for a stack machine. This one is the standard library's, with just the
instructions that such files need. The functions that a file calls are replaced by ours, which make
nothing larger than the file: a dictionary of texts to lists of texts and numbers, or to arrays.
"""

import io
import pickle
import re
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import numpy as np

from cifarlab.system.errors import DataError

REPACKED_HINT = "get the official archive again; it is no longer as it was published"
_MOST_STEPS = 5_000_000  # CIFAR-100's training pickle has 500,000
_MOST_NUMBER = 2**63
_MOST_IN_TUPLE = 32  # values of a tuple: NumPy's states have 8, its shapes at most 64 sizes
_DTYPE = re.compile(r"[<>=|]?(?:b1|[iuf][1248]|[SU]\d{1,5})")
_SCALAR_TYPES = (str, bytes, int, float, bool, type(None))
_INSTRUCTIONS = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT "
    "BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 "
    "STRING BINSTRING SHORT_BINSTRING PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM "
    "SETITEMS GLOBAL STACK_GLOBAL REDUCE BUILD"
)


def load_pickle(blob: bytes, where: str, hint: str = REPACKED_HINT) -> dict[str, Any]:
    """Return a pickled dictionary.

    Args:
        blob: the pickle
        where: what the file is called in messages
        hint: what to do about a file that holds something else

    Raises:
        DataError: the file holds something else, or an instruction that such files don't need
    """
    try:
        return _unpickle(blob)
    # The instructions of a forged pickle can fail in any way.
    except Exception as error:
        what = "the official archive has there" if hint == REPACKED_HINT else "is expected there"
        raise DataError(f"{where} is not what {what}: {error!s:.120}", hint) from error


def _unpickle(blob: bytes) -> dict[str, Any]:
    content = _Unpickler(io.BytesIO(blob)).load()
    arrays = [value for value in content.values() if isinstance(value, _Array)]
    # a file may name one large text again and again
    if sum(len(array.state[-1]) for array in arrays) > len(blob):
        raise ValueError("it copies more than it holds")
    built = {key: array.build() for key, array in content.items() if isinstance(array, _Array)}
    return {decode_text(key): value for key, value in (content | built).items()}


def decode_text(value: bytes | str) -> str:
    """Return as text what Python 2 may have written as a byte string.

    Raises:
        ValueError: it is not UTF-8
    """
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _short_text(value: object) -> str:
    if not isinstance(value, bytes | str) or len(value) > 16:
        raise ValueError("a dtype's name is none")
    return decode_text(value)


class _DType:
    """A dtype by its name; its byte order may come after it."""

    def __init__(self, name: object, *_: object) -> None:
        self.name, self.order = _short_text(name), ""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _short_text(state[1])

    def build(self) -> np.dtype[Any]:
        """Return the NumPy dtype, of numbers or texts. Raises ValueError for others."""
        name = self.order + self.name.lstrip("<>=|") if self.order else self.name
        if not _DTYPE.fullmatch(name):
            raise ValueError("it has an array of neither numbers nor texts")
        return np.dtype(name)


class _Array:
    """An array as the file describes it; its state comes after its name."""

    state: tuple[Any, ...] = ()  # NumPy's: version, shape, dtype, whether by columns, bytes

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def build(self) -> np.ndarray:
        """Return a copy of the bytes as an array. Raises ValueError where they don't fill it."""
        _, shape, dtype, by_columns, raw = self.state
        if any(type(size) is not int or size < 0 for size in shape):
            raise ValueError("an array's shape is no shape")
        dtype = dtype.build()
        array = np.frombuffer(raw, dtype).reshape(shape, order="F" if by_columns else "C")
        if dtype.kind == "U" and (np.frombuffer(raw, f"{dtype.byteorder}u4") > 0x10FFFF).any():
            raise ValueError("an array of texts holds numbers that are no characters")
        return np.array(array, dtype.str[1:], order="C")  # Pillow knows no "<u1"


def _from_buffer(raw: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.state = (None, shape, dtype, order == "F", raw)
    return array


def _is_argument(value: object) -> bool:
    """Return whether a value is a scalar, a dtype, or a flat tuple: hashing others may not end."""
    is_flat = isinstance(value, tuple) and all(isinstance(item, _SCALAR_TYPES) for item in value)
    return is_flat or isinstance(value, (*_SCALAR_TYPES, _DType))


def _is_list(values: list[Any]) -> bool:
    return all(isinstance(value, _SCALAR_TYPES) for value in values)


def _is_dict(pairs: list[Any]) -> bool:
    is_text = (isinstance(key, str | bytes) for key in pairs[::2])
    return all(is_text) and not any(isinstance(value, dict) for value in pairs[1::2])


_TAKES: dict[str, Callable[[list[Any]], bool]] = {  # what must be true of the stack before
    "APPEND": lambda stack: _is_list(stack[-1:]),
    **dict.fromkeys(("APPENDS", "LIST"), _is_list),
    "SETITEM": lambda stack: _is_dict(stack[-2:]),
    **dict.fromkeys(("SETITEMS", "DICT"), _is_dict),
    "REDUCE": lambda stack: isinstance(stack[-1], tuple),
    "BUILD": lambda stack: isinstance(stack[-2], _Array | _DType),
}


def _refuse(_: Any) -> None:
    raise ValueError("it has an instruction that no such file needs")


def _checked(name: str) -> Callable[[Any], None]:
    """Return the instruction of that name, with checks: a count, its arguments, its outcome."""
    act, takes = _ACTS[getattr(pickle, name)[0]], _TAKES.get(name)

    def step(machine: "_Unpickler") -> None:
        machine.steps += 1
        if machine.steps > _MOST_STEPS:
            raise ValueError(f"it has more than {_MOST_STEPS:,} instructions")
        if takes and not takes(machine.stack):
            raise ValueError(f"its {name} takes what no such file needs")
        act(machine)
        top = machine.stack[-1] if machine.stack else None
        if isinstance(top, int) and not -_MOST_NUMBER <= top < _MOST_NUMBER:
            raise ValueError("it holds a number of over 64 bits")
        if isinstance(top, tuple) and not (
            len(top) <= _MOST_IN_TUPLE and all(map(_is_argument, top))
        ):
            raise ValueError("a tuple holds what is no plain value, or too many")

    return step


_ACTS: dict[int, Callable[[Any], None]] = pickle._Unpickler.dispatch


# the one in Python: that in C reserves what a file declares, and can't be stopped
class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict.fromkeys(range(256), _refuse)
    for _name in _INSTRUCTIONS.split():
        dispatch[getattr(pickle, _name)[0]] = _checked(_name)
    dispatch[pickle.BYTEARRAY8[0]] = dispatch[pickle.BINBYTES8[0]]  # its own reserves, too
    stack: list[Any]
    steps = 0

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")
        # a file may encode one text again and again
        encode = cache(lambda letters: letters.encode("latin-1"))
        self.stand_ins = {
            "multiarray._reconstruct": _Array,
            "numeric._frombuffer": _from_buffer,
            "numpy.ndarray": "ndarray",
            "numpy.dtype": _DType,
            "_codecs.encode": lambda letters, *_: encode(letters),
            "__builtin__.bytes": lambda: b"",
        }

    def find_class(self, module: str, name: str) -> Any:
        """Return our function in place of the one that the file names. Raises ValueError."""
        dotted = f"{module}.{name}"
        short_name = re.sub(r"^numpy\._?core\.", "", dotted)
        if short_name not in self.stand_ins:
            raise ValueError(f"it asks for {dotted}")
        return self.stand_ins[short_name]
