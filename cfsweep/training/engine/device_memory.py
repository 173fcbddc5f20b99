"""How much memory the process or the device has used at most, and what to do when there is no more."""

from __future__ import annotations

import gc
import resource
import sys

import torch


def peak_bytes(device: torch.device) -> int:
    """Peak bytes so far: allocated on a GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it was raised because there was no memory left, on a GPU or on a CPU.

    >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory")), is_out_of_memory(RuntimeError("no"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # cuBLAS and cuDNN take memory of their own, and torch's allocator on a CPU has no class for its error.
    said = str(error)
    return isinstance(error, RuntimeError) and ("ALLOC_FAILED" in said or "can't allocate memory" in said)


def release(device: torch.device) -> None:
    """Gives back the device memory of what nobody refers to any more. A pack and its hooks refer to each other, so it
    is there until the garbage is collected."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
