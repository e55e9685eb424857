"""The figures of docs/evidence.md and README: round 1 with the controls that could beat it, and a cleaning round with
swapped labels, for several seeds, unattended.

    python -m tests.evidence [--folder adhmr-evidence] [--at-most N] [--profile tiny] [--seeds 10,11]

The seeds are those of the last draw (`tests.evidence.seal`), which is opened by this, once: a recipe or domains that
changed since are refused. With --seeds nothing is opened, and the page says that they were not sealed. Every seed has a
store of its own, and leaves its results as a file (`tests.evidence.results`), those of sealed seeds in the repository:
a seed that has one is not measured again, on whichever machine, and needs no store. The pages are written when all
seeds have theirs. A run that was stopped goes on where it was.
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
from infra.installed import versions
from infra.store import Store
from schemas.errors import ConfigError
from schemas.layers import USUAL_PROFILE
from tasks.report.stage import read_facts
from tests.benchmarks.page import write_section
from tests.evidence.draws import draw_lines
from tests.evidence.page import evidence_page
from tests.evidence.readme import SECTION, readme_table
from tests.evidence.repository import commit_here, is_changed
from tests.evidence.results import RESULTS, Sealing, SeedEvidence, read_result, write_result
from tests.evidence.seal import FILE as SEALS
from tests.evidence.seal import (
    domains_digest,
    history,
    opened,
    read_seals,
    recipe_digest,
    sealed_seeds,
    write_seals,
)
from tests.profiles import load_profile

CLEANED_BY = {"clean.swap_share": "0.3", "clean.controls": ["all_labels", "random_labels"]}
"""How its cleaning round differs from the profile's: labels wrong on purpose, and what the filter has to beat."""
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
    at_most: Annotated[int | None, typer.Option(help="Seeds to measure now; the others another time.", min=1)] = None,
) -> None:
    """Measure what is missing of every seed, then write the pages."""
    with clear_errors():
        seals = read_seals()
        if profile is None:
            profile = seals[-1].profile if seals and seeds is None else USUAL_PROFILE
        config = load_profile(profile)
        if seeds is None:
            seal = sealed_seeds(seals, profile)
            numbers, sealing, results = list(seal.seeds), Sealing(seal.recipe, seal.domains), RESULTS
            seals = opened(seals, _commit())
            write_seals(seals)
        else:
            numbers, results = _seeds(seeds), folder / "results"
            sealing = Sealing(recipe_digest(config), domains_digest(config))
        quiet_start()
        left = len(numbers) if at_most is None else at_most
        found: list[SeedEvidence] = []
        for seed in numbers:
            result = read_result(results, profile, seed, sealing)
            if result is None and left:
                left -= 1
                result = _measured(folder, profile, seed, sealing)
                typer.echo(f"seed {seed}: wrote {write_result(result, results)}", err=True)
            if result is not None:
                found.append(result)
        if len(found) < len(numbers):
            typer.echo(f"{len(found)} of {len(numbers)} seeds are measured; the pages are written when all are.")
            return
        sealed = seals[-1] if seeds is None else None
        page.parent.mkdir(parents=True, exist_ok=True)
        came_to = draw_lines(seals, RESULTS)
        page.write_text(evidence_page(found, config, sealed, history(seals), came_to), encoding="utf-8")
        write_section(SECTION, readme_table(found, config, sealed), readme)
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


def _measured(folder: Path, profile: str, seed: int, sealing: Sealing) -> SeedEvidence:
    """Do what is missing of a seed."""
    server_is_ready = begin_server()
    from flows.clean_round import clean_round
    from flows.dpo_round import dpo_round
    from tests.evidence.controls import train_controls

    server_is_ready()
    place = str(folder / f"seed-{seed}")
    store = Store.open(place)
    if not _is_done(store, ALIGNING):
        typer.echo(f"seed {seed}: round 1 of {ALIGNING}", err=True)
        dpo_round(place, profile, ALIGNING, seed)
    typer.echo(f"seed {seed}: controls of {ALIGNING}", err=True)
    controls = train_controls(place, profile, ALIGNING, seed)
    if not _is_done(store, CLEANING):
        typer.echo(f"seed {seed}: round 1 of {CLEANING}", err=True)
        clean_round(place, profile, CLEANING, seed, changes=CLEANED_BY)
    about = {
        "profile": profile,
        "seed": seed,
        "recipe": sealing.recipe,
        "domains": sealing.domains,
        "commit": _commit(),
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
    }
    rounds = read_facts(store, ALIGNING, 1), read_facts(store, CLEANING, 1)
    return SeedEvidence.read(store, rounds, controls, about)


def _is_done(store: Store, campaign: str) -> bool:
    seen = rounds.state(store, campaign)
    closed = any(event.round == 1 and event.event == "closed" for event in seen.events)
    return closed and seen.decision(1) is not None  # else it was abandoned


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
