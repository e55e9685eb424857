"""Parity and figures on a GPU, in under six minutes: `make bench-gpu`, or `python3 -m tests.benchmarks.gpu`.

For a machine that has torch, numpy and little else: imports `models`, `schemas` and modules beside this one that need
nothing more than those; `make gpu-pack` lays the packages that they need into a folder. Networks have the published
sizes and random weights, crops are invented. Seconds are those of the clock, with all that the GPU was given to do.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from schemas.profiles import paper
from tests.benchmarks.figures import Measured
from tests.benchmarks.gpu_networks import OnDevice, device_figures
from tests.benchmarks.page import as_json, cells, markdown
from tests.benchmarks.paper_sizes import smaller
from tests.benchmarks.surroundings import surroundings
from tests.parity.on_device import CASES, Found, compare

SECONDS = 330.0
"""After these no further part begins."""
QUICK = ("denoiser", "bodies", "errors")
"""Cases of parity that need no large network."""


def parity(device: str, cases: tuple[str, ...], in_time: Callable[[str], bool]) -> Iterator[tuple[str, Found]]:
    """Every output of the cases in 32 bits, then in bfloat16."""
    for half in (False, True):
        for case in cases:
            if in_time(f"parity of {case}"):
                yield from (("bfloat16" if half else "float32", found) for found in compare(case, device, half))


def main() -> None:
    """Compare, measure, print, and write JSON; exit code 1 where an output isn't the published one."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmarks.gpu", description="Parity and figures on a GPU.")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="small networks, quick cases: to try the script on a CPU")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="turns that count, after one that does not")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it to FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table of figures to FILE")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "torch sees no GPU here: run this on a machine that has one, or try the script with --device cpu --small"
        )
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    began, skipped = time.monotonic(), list[str]()

    def in_time(part: str) -> bool:
        late = time.monotonic() - began > SECONDS
        if late:
            skipped.append(part)
        return not late

    where = surroundings(arguments.device)
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    found = list(parity(arguments.device, QUICK if arguments.small else tuple(CASES), in_time))
    for precision, one in found:
        verdict = "holds" if one.holds else "DOES NOT HOLD"
        print(f"{precision:9} {one.case:50} off by {one.absolute:.1e}, {one.relative:.1e} of it: {verdict}", flush=True)
    sizes = (2, 3, 4) if arguments.small else (16, 100, 40)
    networks = OnDevice(smaller(paper()) if arguments.small else paper(), arguments.device, *sizes)
    measured: list[Measured] = []
    for group in device_figures(networks, arguments.repeats, in_time):
        measured.append(group)
        for figure in group.figures:
            print(" | ".join((figure.group, figure.unit, *cells(figure))), flush=True)
    if skipped:
        print(f"Left out, as {SECONDS:.0f} s were over: {', '.join(skipped)}.")
    if arguments.json:
        told = [{"precision": precision, **one._asdict()} for precision, one in found]
        arguments.json.write_text(as_json(measured, where, parity=told, left_out=skipped), encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(measured, where) + "\n", encoding="utf-8")
    print(f"{time.monotonic() - began:.0f} s")
    if any(not one.holds for _, one in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
