"""Where a record was made: the machine and the code, as far as numbers may depend on them. Needs nothing but torch."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent


def environment(device: torch.device) -> dict[str, Any]:
    """What every record says of it."""
    gpu = device.type == "cuda" and torch.cuda.is_available()   # not where a cluster's driver speaks of a trial elsewhere
    fused = device.type == "cuda" and _version("triton") is not None
    return {
        "device": device.type, "processor": torch.cuda.get_device_name(device) if gpu else _cpu(),
        "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load_before": load(), "load_after": None,
        "torch": torch.__version__, "triton": _version("triton"), "python": platform.python_version(),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no", ":!results")),     # where records are written
        "kernel_path": "triton" if fused else "reference",
    }


def load() -> float:
    """Load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says of this checkout; None outside one."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
