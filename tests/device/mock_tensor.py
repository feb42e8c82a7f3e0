"""The tensors of the mock device, and how an operation on them is done by the CPU."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

NAME = "mock"
aten = torch.ops.aten
INDEXING = {
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
}


class Memory:
    """The memory of the device, of which views have one piece; more than ``limit`` is an error.

    ``peak`` is of all time, ``counted_peak`` is what the device tells, and can be counted anew.

    In a backward pass, which an error of Python's would end together with the process, it is raised
    afterwards.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.peak, self.counted_peak, self.used = limit, 0, 0, 0
        self.is_exceeded = False
        self.owners: Counter[int] = Counter()

    def take(self, owner: Tensor, values: Tensor) -> None:
        storage = values.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        needed = self.used + (0 if self.owners[address] else size)
        self.is_exceeded |= needed > self.limit
        if self.is_exceeded and torch._C._current_graph_task_id() == -1:
            self.is_exceeded = False
            raise torch.OutOfMemoryError(f"mock out of memory. Tried to allocate {size} bytes")
        self.owners[address] += 1
        self.used, self.peak = needed, max(self.peak, needed)
        self.counted_peak = max(self.counted_peak, needed)
        weakref.finalize(owner, self.release, address, size)

    def release(self, address: int, size: int) -> None:
        self.owners[address] -= 1
        self.used -= 0 if self.owners[address] else size


class OnDevice(Tensor):
    """A tensor of the mock device; ``values`` is the CPU's tensor behind it."""

    values: Tensor
    memory: Memory | None = None  # None: not counted
    has_float64 = True  # Apple's GPUs have not
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> "OnDevice":
        if values.dtype == torch.float64 and not cls.has_float64:
            raise TypeError(f"Cannot convert a {NAME} Tensor to float64 dtype")
        wrapper: OnDevice = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
        )
        wrapper.values = values
        if cls.memory:
            cls.memory.take(wrapper, values)
        return wrapper

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({tuple(self.shape)}, {self.dtype})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.values.untyped_storage()  # safetensors looks for memory that two share

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy")

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        raise AssertionError(f"{func} outside of use_mock_device()")


def leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, tuple | list):
        for branch in tree:
            yield from leaves(branch)
    elif isinstance(tree, dict):
        yield from leaves(tuple(tree.values()))
    else:
        yield tree


def map_leaves(tree: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The tree with each leaf of that kind changed."""
    if isinstance(tree, tuple | list):
        return type(tree)([map_leaves(branch, kind, change) for branch in tree])
    if isinstance(tree, dict):
        return {key: map_leaves(branch, kind, change) for key, branch in tree.items()}
    return change(tree) if isinstance(tree, kind) else tree


def unwrap(tree: Any) -> Any:
    return map_leaves(tree, OnDevice, lambda x: x.values)


@cache
def is_composite(func: Any) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key))


def require_one_device(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """As CUDA: a single number may come from the CPU where values are combined one by one."""
    tree: Any = (args, kwargs)
    if func in INDEXING:
        tree = (args[0], args[2:])
    numbers = torch.Tag.pointwise in func.tags or func in INDEXING
    numbers |= str(func).startswith("aten._foreach_") and func._overloadname == "Tensor"
    for x in leaves(tree):
        if isinstance(x, OnDevice) or not isinstance(x, Tensor):
            continue
        if not (numbers and x.ndim == 0):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{NAME}:0 and cpu! ({func})"
            )


def wrap_result(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
    """The outcome on the device; what was changed in place is the argument itself."""
    arguments = dict(zip(_names(func), args, strict=False)) | kwargs
    outputs = _written_arguments(func)
    if func.is_view and torch.is_inference_mode_enabled() and not args[0].is_inference():
        with torch.inference_mode(mode=False):  # a view is what its base is
            return map_leaves(out, Tensor, OnDevice)
    if isinstance(out, tuple) and len(outputs) == len(out):
        return tuple(
            arguments[name] if name else map_leaves(value, Tensor, OnDevice)
            for name, value in zip(outputs, out, strict=True)
        )
    return arguments[outputs[0]] if outputs and outputs[0] else map_leaves(out, Tensor, OnDevice)


@cache
def _names(func: Any) -> list[str]:
    return [argument.name for argument in func._schema.arguments]


@cache
def _written_arguments(func: Any) -> list[str | None]:
    """For each outcome the argument that it is, where that is changed in place."""
    arguments = {
        name: argument.name
        for argument in func._schema.arguments
        if argument.alias_info and argument.alias_info.is_write
        for name in argument.alias_info.before_set
    }
    kinds = [kind.alias_info for kind in func._schema.returns]
    return [arguments[next(iter(k.before_set))] if k and k.is_write else None for k in kinds]
