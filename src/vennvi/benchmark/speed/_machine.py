"""The machine: what it is, and what it does in a second."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import torch
from threadpoolctl import threadpool_info
from torch.nn.functional import softplus

from vennvi.benchmark.speed._flops import Rates
from vennvi.fused import Multiply, NumpyMultiply, fastest_multiply

_MEGABYTE = 2**20


def describe_machine(accelerator: str = "cpu") -> str:
    """Processor, cores, memory and accelerator, for example ``AMD EPYC (family 25, model 17), 2 cores, 23 GB``; no names of hosts.

    A virtual machine may call processors of several generations the same, which their family and model tell apart. Where
    numpy makes the products, also which processor its OpenBLAS takes this one for: ``OPENBLAS_CORETYPE`` can make it another.
    """
    parts = [_processor(), f"{joblib.cpu_count()} cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB")
    if accelerator == "cpu" and isinstance(fastest_multiply(), NumpyMultiply):
        cores = {blas["architecture"] for blas in threadpool_info() if blas["internal_api"] == "openblas"}
        parts.append(f"OpenBLAS for {' and '.join(sorted(cores))}")
    if accelerator != "cpu" and torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    if not about.get("model name"):
        return platform.processor() or platform.machine()
    known = [f"{word} {about[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if about.get(key)]
    return f"{about['model name']} ({', '.join(known)})" if known else about["model name"]


def peak_rss() -> float:
    """Largest memory of this process so far, MB.

    On Linux the kernel's mark of the present program (``VmHWM``): ``ru_maxrss`` carries over from the parent process.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MEGABYTE if sys.platform == "darwin" else peak / 1024


class Gauge:
    """Measures matrix products, memory traffic and elementwise functions, as often as asked.

    Parameters
    ----------
    device
        ``"cpu"`` or ``"cuda"``.
    """

    def __init__(self, device: str = "cpu"):
        self._device = device
        self._square = [torch.rand(1024, 1024, device=device) for _ in range(3)]
        self._long = [torch.rand(16 * _MEGABYTE, device=device) for _ in range(3)]
        self._short = [torch.rand(32_768 * torch.get_num_threads(), device=device) for _ in range(2)]

    def read(self, seconds: float = 0.1) -> Rates:
        """Rates just now, from about ``seconds`` of each."""
        (a, b, c), (x, y, z), (u, v) = self._square, self._long, self._short
        multiply = fastest_multiply() if self._device == "cpu" else Multiply()

        def elementwise() -> None:
            softplus(u)
            torch.sigmoid(u, out=v)

        def rate(call: Callable[[], object]) -> float:
            return _per_second(call, seconds, self._device)

        return Rates(
            flops=rate(lambda: multiply(a, b, out=c)) * 2 * len(a) ** 3,
            bytes=rate(lambda: torch.add(x, y, out=z)) * 3 * x.element_size() * len(x),
            logistic=rate(elementwise) * len(u),
        )


def _per_second(call: Callable[[], object], seconds: float, device: str) -> float:
    """Calls a second, after one to warm up."""

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    call()
    wait()
    n, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or n < 2:
        call()
        wait()
        n += 1
    return n / (elapsed if elapsed > 0 else 1e-9)
