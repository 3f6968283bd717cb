"""Pickles that hold dicts, lists, text, numbers, bytes and NumPy arrays. Nothing else is loaded.

A pickle is a program. Here its names lead to functions of this file only, which check what they
are given; nothing of NumPy is called on the pickle's word, for a crafted ``dtype`` alone can make
NumPy read foreign memory.
"""

import math
import pickle
import pickletools
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

LIMIT = 256 * 2**20
"""Bytes of a file: SAMRS's largest have a few megabytes."""
TUPLES = 100_000
"""Tuples nested 200,000 deep overflow the stack as soon as they are hashed."""
PLAIN = re.compile(r"[biufc]\d{1,2}")
"""Numbers and truth values: no objects, no records, no text."""
REFUSED = re.compile("EXT[124]|(BIN)?PERSID|INST|OBJ|NEWOBJ(_EX)?")
"""Opcodes that data need not: instances of classes, and what the program knows by a number."""


class PickleRefused(Exception):
    """The file is no such pickle, or holds what is not allowed; the message says which."""


class _Dtype:
    """Stands for a ``numpy.dtype`` until it is known to be a plain one."""

    __slots__ = ("order", "text")

    def __init__(self, text: str) -> None:
        self.text, self.order = text, "="

    def __setstate__(self, state: Any) -> None:
        version, order, *records = state
        if version not in (3, 4) or order not in ("<", ">", "=", "|") or any(records[:3]):
            raise PickleRefused("an array of records")
        self.order = order

    def of(self, shape: Any, data: Any) -> "np.dtype[Any]":
        """The real one, where ``data`` is an array of it in this shape."""
        dtype: np.dtype[Any] = np.dtype(self.order + self.text)
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise PickleRefused("an array without a shape")
        if not isinstance(data, (bytes, bytearray)):
            raise PickleRefused("an array of objects")
        if math.prod(shape) * dtype.itemsize != len(data):
            raise PickleRefused(f"an array that is not as long as its {len(shape)} sides say")
        return dtype


class _Array(np.ndarray[Any, Any]):
    """An array whose state is checked before it is set."""

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran, data = state
        if version != 1 or not isinstance(dtype, _Dtype):
            raise PickleRefused("an array of another kind")
        real = dtype.of(shape, data)
        order: Any = bool(fortran)  # numpy's own types ask for a bool that it then deprecates
        super().__setstate__((version, shape, real, order, bytes(data)))


def _reconstruct(kind: Any, shape: Any, code: Any) -> Any:
    if kind is not ALLOWED["numpy", "ndarray"] or shape != (0,) or code not in (b"b", "b"):
        raise PickleRefused("an array of another kind")
    return _Array((0,), dtype=np.int8)


def _dtype(text: Any, align: Any = False, copy: Any = False) -> _Dtype:
    if not isinstance(text, str) or not PLAIN.fullmatch(text):
        raise PickleRefused("an array of something else than numbers")
    return _Dtype(text)


def _scalar(dtype: Any, data: Any) -> Any:
    return _frombuffer(data, dtype, (), "C")[()]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """How protocol 5 writes arrays."""
    if not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise PickleRefused("an array or a scalar of another kind")
    return np.frombuffer(data, dtype.of(shape, data)).reshape(shape, order=order)


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleRefused("text in another encoding than latin1")
    return text.encode("latin1")


def _uncalled(*given: Any) -> NoReturn:
    raise PickleRefused("numpy.ndarray called")


class _Allowed(NamedTuple):
    """A name that may be called. As a tuple it has no attributes that a pickle could set."""

    function: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:
        return self.function(*given)


CORES = ("numpy.core", "numpy._core")  # numpy 1 and 2
ALLOWED = {
    **{(f"{core}.multiarray", "_reconstruct"): _Allowed(_reconstruct) for core in CORES},
    **{(f"{core}.multiarray", "scalar"): _Allowed(_scalar) for core in CORES},
    **{(f"{core}.numeric", "_frombuffer"): _Allowed(_frombuffer) for core in CORES},
    ("numpy", "ndarray"): _Allowed(_uncalled),
    ("numpy", "dtype"): _Allowed(_dtype),
    ("_codecs", "encode"): _Allowed(_encode),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise PickleRefused(f"names {module}.{name}, which data need not")
        return ALLOWED[module, name]


def _scan(data: bytes) -> None:
    """Refuse opcodes, and what would exhaust memory or stack, before anything is loaded."""
    tuples = 0
    for opcode, argument, _ in pickletools.genops(data):
        if REFUSED.fullmatch(opcode.name):
            raise PickleRefused(f"has the opcode {opcode.name}, which data need not")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise PickleRefused("numbers more things than it holds")
        tuples += opcode.name.startswith("TUPLE")
    if tuples > TUPLES:
        raise PickleRefused(f"has more than {TUPLES:,} tuples")


def load(path: Path) -> Any:
    """What a pickle file holds. ``PickleRefused`` for anything but plain data and arrays."""
    if path.stat().st_size > LIMIT:
        raise PickleRefused(f"larger than {LIMIT // 2**20} MiB")
    data = path.read_bytes()
    try:
        _scan(data)
        return _Unpickler(BytesIO(data)).load()
    except PickleRefused:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise PickleRefused(f"no pickle of plain data ({type(error).__name__}: {error})") from None
