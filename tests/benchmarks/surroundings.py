"""Where figures were measured: the machine, the versions, and the commit.

Imports torch and the standard library alone, as it also runs where little else is installed.
"""

import os
import platform
import subprocess
from pathlib import Path

import torch

Surroundings = dict[str, str | int | float]


def surroundings(device: str = "cpu") -> Surroundings:
    """The machine, how busy it was before, versions, and the commit that is checked out."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found: Surroundings = {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(),
    }
    if device == "cuda":
        known = torch.cuda.get_device_properties(0)
        found |= {"device": known.name, "device_memory_gib": round(known.total_memory / 2**30, 1)}
    return found


def processor() -> str:
    """What the machine calls its processor."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text("utf-8").splitlines() if known.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    """The commit that is checked out here, with a mark if files differ from it; "unknown" outside of a repository."""
    here = Path(__file__).resolve().parent

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return ask("rev-parse", "--short=12", "HEAD") + (
            " with local changes" if ask("status", "--porcelain", "-uno") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
