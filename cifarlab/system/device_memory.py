"""How much memory a device has, has free and has used."""

import gc
import platform

import psutil
import torch


def free_memory(device: torch.device) -> tuple[int, int]:
    """Return the bytes that are free, and those that there are in all.

    On a CPU: of the machine; on Apple's GPUs, which share it: of what Metal recommends to use.
    """
    if device.type == "cpu":
        memory = psutil.virtual_memory()
        return int(memory.available), int(memory.total)
    if device.type == "mps":
        total = int(torch.mps.recommended_max_memory())
        return max(0, total - int(torch.mps.driver_allocated_memory())), total
    free_bytes, total = torch.get_device_module(device).mem_get_info(device)
    return int(free_bytes), int(total)


def release_memory() -> None:
    """Give back what this process keeps of its GPU's memory and does not use."""
    gc.collect()
    torch.cuda.empty_cache()  # nothing where CUDA has not started
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def forget_peak_memory(device: torch.device) -> None:
    """Start counting a GPU's peak anew; that of a CPU's process can't be reset."""
    if device.type == "mps":  # its peak is what the allocator has got
        torch.mps.empty_cache()
    elif device.type != "cpu":
        torch.get_device_module(device).reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Return the most memory used, in bytes: of the GPU's allocator, on a CPU of this process."""
    if device.type == "mps":  # counts no peak; what was freed stays with the allocator
        return int(torch.mps.driver_allocated_memory())
    if device.type != "cpu":
        return int(torch.get_device_module(device).max_memory_allocated(device))
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
