"""The packages that `tests.benchmarks.gpu` needs beside torch and numpy, as wheels in a folder: `make gpu-pack`.

For a machine from which nothing can be downloaded. Versions are those of constraints.txt; compiled packages are for
Python 3.12 on Linux, x86-64. There: `make bench-gpu`, which installs them beside nothing else.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

NEEDED = ("pydantic", "pydantic_core", "annotated-types", "typing-inspection", "typing_extensions", "roma", "smplx")
"""By their names in constraints.txt: all that `models` and `schemas` import on the way to the figures."""
PYTHON, PLATFORMS = "3.12", ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
MOST_BYTES = 16 * 2**20
CONSTRAINTS = Path(__file__).resolve().parents[2] / "infra" / "deploy" / "constraints.txt"


def pins(constraints: Path = CONSTRAINTS) -> list[str]:
    """NAME==VERSION of all that is needed. KeyError for one that has no version."""
    lines = constraints.read_text("utf-8").splitlines()
    known = {_plain(line.partition("==")[0]): line for line in lines if "==" in line and not line.startswith("#")}
    return [known[_plain(name)] for name in NEEDED]


def download_command(folder: Path) -> list[str]:
    """What pip is asked."""
    where = [word for platform in PLATFORMS for word in ("--platform", platform)]
    for_python = ["--python-version", PYTHON, "--implementation", "cp", "--only-binary=:all:", "--no-deps"]
    return [sys.executable, "-m", "pip", "download", "-q", *for_python, *where, "-d", str(folder), *pins()]


def weigh(folder: Path) -> int:
    """Bytes of the wheels in `folder`. SystemExit where they are too many to be carried."""
    total = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    if total > MOST_BYTES:
        sys.exit(f"The wheels in {folder} have {total / 2**20:.1f} MiB, more than {MOST_BYTES / 2**20:.0f}.")
    return total


def main() -> None:
    """Download, weigh, and say what to do next."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pack", description="Wheels for make bench-gpu.")
    parser.add_argument("--folder", type=Path, default=Path("gpu-pack"), help="where they go; older ones there leave")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    subprocess.run(download_command(folder), check=True)
    count, size = len([*folder.glob("*.whl")]), weigh(folder) / 2**20
    print(
        f"{count} wheels in {folder}, {size:.1f} MiB. Take this folder and the repository to the machine with the GPU,"
    )
    print(f"whose Python {PYTHON} has torch and numpy, and type there: make bench-gpu")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
