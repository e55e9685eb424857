"""The figures of docs/evidence.md and README: round 1 with the controls that could beat it, and a cleaning round with
swapped labels, for several seeds, unattended.

    python -m tests.evidence [--folder adhmr-evidence] [--profile tiny] [--seeds 10,11]

The seeds are those of the last draw (`tests.evidence.seal`), which is opened by this, once: a recipe or domains that
changed since are refused. With --seeds nothing is opened, and the page says that they were not sealed. Every seed has a
store of its own. A run that was stopped goes on where it was; what is finished is only read.
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psutil
import typer

from flows.process.errors import clear_errors
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
from infra import rounds
from infra.stages import versions
from infra.store import Store
from schemas.errors import ConfigError
from schemas.ids import StageKey
from schemas.layers import USUAL_PROFILE
from tests.evidence.repository import commit_here, is_changed
from tests.evidence.seal import FILE as SEALS
from tests.evidence.seal import history, opened, read_seals, sealed_seeds, write_seals

SWAP_SHARE = 0.3
ALIGNING, CLEANING = "evidence", "evidence-cleaning"
"""Two campaigns in each store, both on the same base policy and scorer."""


def main(
    folder: Annotated[Path, typer.Option(help="Where the stores go, one a seed.")] = Path("adhmr-evidence"),
    seeds: Annotated[
        str | None, typer.Option(help="Whole numbers, separated by commas; none: the sealed ones.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Profile to run; none: the sealed one.")] = None,
    page: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/evidence.md"),
    readme: Annotated[Path, typer.Option(help="The page with a table of it between marks.")] = Path("README.md"),
) -> None:
    """Run what is missing for every seed, then write the page."""
    with clear_errors():
        seals = read_seals()
        if profile is None:
            profile = seals[-1].profile if seals and seeds is None else USUAL_PROFILE
        if seeds is None:
            numbers = list(sealed_seeds(seals, profile).seeds)
            seals = opened(seals, _commit())
            write_seals(seals)
        else:
            numbers = _seeds(seeds)
        quiet_start()
        controls = {seed: _run_seed(folder, profile, seed) for seed in numbers}
        from tests.benchmarks.page import write_section
        from tests.evidence.page import SeedEvidence, evidence_page
        from tests.evidence.readme import SECTION, readme_table

        found = [
            SeedEvidence.read(_store(folder, seed), profile, seed, ALIGNING, CLEANING, controls[seed])
            for seed in numbers
        ]
        page.parent.mkdir(parents=True, exist_ok=True)
        sealed = seals[-1] if seeds is None else None
        text = evidence_page(found, machine(), _commit(), datetime.now(UTC), sealed, history(seals))
        page.write_text(text, encoding="utf-8")
        write_section(SECTION, readme_table(found, sealed), readme)
        typer.echo(f"wrote {page} and the table in {readme}")


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    known = versions()
    return {
        "processor": f"{_processor()}, {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 1024**3:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": known["python"],
        **{name: known[name] for name in ("torch", "ray", "numpy")},
    }


def _run_seed(folder: Path, profile: str, seed: int) -> list[StageKey]:
    """Do what is missing of a seed; the keys of the comparisons with the controls."""
    server_is_ready = begin_server()
    from flows.clean_round import clean_round
    from flows.dpo_round import dpo_round
    from tests.evidence.controls import train_controls

    server_is_ready()
    place = str(_place(folder, seed))
    store = Store.open(place)
    if not _is_done(store, ALIGNING):
        typer.echo(f"seed {seed}: round 1 of {ALIGNING}", err=True)
        dpo_round(place, profile, ALIGNING, seed)
    typer.echo(f"seed {seed}: controls of {ALIGNING}", err=True)
    controls = train_controls(place, profile, ALIGNING, seed)
    if not _is_done(store, CLEANING):
        typer.echo(f"seed {seed}: round 1 of {CLEANING}", err=True)
        clean_round(place, profile, CLEANING, seed, changes={"clean.swap_share": str(SWAP_SHARE)})
    return controls


def _is_done(store: Store, campaign: str) -> bool:
    seen = rounds.state(store, campaign)
    closed = any(event.round == 1 and event.event == "closed" for event in seen.events)
    return closed and seen.decision(1) is not None  # else it was abandoned


def _place(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}"


def _store(folder: Path, seed: int) -> Store:
    return Store.open(_place(folder, seed), create=False)


def _seeds(text: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ConfigError(f"--seeds {text}: whole numbers separated by commas, such as 10,11,12.") from None
    if any(seed < 0 for seed in found):
        raise ConfigError(f"--seeds {text}: seeds are 0 or more.")
    return found


def _commit() -> str:
    """The commit that is checked out here, with a mark if files other than the seals differ from it."""
    return commit_here() + (" with local changes" if is_changed(besides=SEALS) else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    typer.run(main)
