"""Sealed draws: seeds and test people that are drawn after recipe and domains were committed, and looked at once.

    python -m tests.evidence.seal [--profile tiny] [--seeds 5]

`seals.json` has the history of draws; its last is the one that `make evidence` opens. A draw says by digests which
recipe and domains it was made for: whoever changes either needs a new one. Seeds come from the machine's own source of
randomness, so that nobody can have chosen them; what they draw is pinned by a digest over the people's random numbers.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import BaseModel, ConfigDict

from flows.process.errors import clear_errors
from models.body_arrays import body_digest
from models.encoder_files import encoder_digest
from schemas.config.engine import EngineConfig
from schemas.digests import digest
from schemas.errors import ConfigError
from schemas.splits import HELD_OUT, SYNTHETIC, WILD_TEST
from tasks.engine.stage import Stage
from tasks.ingest.stage import Ingest
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.synthesize import Synthesize
from tasks.stages.training import Align, TrainBase, TrainClean, TrainScorer
from tasks.synthesize import poses
from tasks.synthesize.domains import configured_domain
from tasks.synthesize.people import PERSON, stream
from tests.evidence.repository import commit_here, is_changed
from tests.profiles import load_profile

FILE: Final = Path(__file__).with_name("seals.json")
_STAGES: Final[tuple[type[Stage], ...]] = (
    *(Synthesize, Ingest, TrainBase, TrainScorer, Generate, Score, Pair, Align, Evaluate, Compare),
    *(PseudoLabel, ScoreLabels, Keep, TrainClean),
)
_USED: Final = frozenset(range(100))
"""Seeds that recipes were chosen on, or that evidence was published of before there were seals."""


class Seal(BaseModel):
    """One draw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str
    seeds: tuple[int, ...]
    recipe: str
    """Digest of the profile, its encoder, and the versions of all stages."""
    domains: str
    """Digest of what the synthetic pictures are drawn from."""
    people: str
    """Digest of the held-out people's random numbers, of all seeds."""
    drawn: str
    """Day."""
    commit: str
    """What was checked out."""
    opened: str | None = None
    """Day and commit of the first look at what was measured; None before."""


def read_seals(file: Path = FILE) -> list[Seal]:
    """All draws, the oldest first."""
    if not file.exists():
        return []
    return [Seal.model_validate(seal) for seal in json.loads(file.read_text(encoding="utf-8"))]


def write_seals(seals: Sequence[Seal], file: Path = FILE) -> None:
    """Keep them."""
    text = json.dumps([seal.model_dump(mode="json") for seal in seals], indent=1)
    file.write_text(text + "\n", encoding="utf-8")


def new_seal(profile: str, count: int, earlier: Sequence[Seal], commit: str) -> Seal:
    """A draw of `count` seeds that no earlier one has."""
    used = _USED.union(*(seal.seeds for seal in earlier))
    seeds: list[int] = []
    while len(seeds) < count:
        seed = secrets.randbelow(10**9)
        if seed not in used and seed not in seeds:
            seeds.append(seed)
    config = load_profile(profile)
    return Seal(
        profile=profile,
        seeds=tuple(sorted(seeds)),
        recipe=recipe_digest(config),
        domains=domains_digest(config),
        people=people_digest(config, sorted(seeds)),
        drawn=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=commit,
    )


def sealed_seeds(seals: Sequence[Seal], profile: str) -> Seal:
    """The draw that holds now. ConfigError where there is none for what is checked out."""
    if not seals:
        raise ConfigError(
            "Nothing is sealed yet. When recipe and domains are committed, `make seal` draws test people and seeds; "
            "commit what it writes, then run again. Or give --seeds: the page then says that they were not sealed."
        )
    seal, config = seals[-1], load_profile(profile)
    if seal.profile != profile:
        raise ConfigError(f"The seal is of profile {seal.profile}, not {profile}: `make seal` makes a new draw.")
    for what, found, sealed in (
        ("recipe (profile, encoder or a stage's version)", recipe_digest(config), seal.recipe),
        ("synthetic domains", domains_digest(config), seal.domains),
        ("drawing of people", people_digest(config, seal.seeds), seal.people),
    ):
        if found != sealed:
            state = f"opened {seal.opened}" if seal.opened else "never opened"
            raise ConfigError(
                f"The {what} changed since the draw of {seal.drawn} ({state}): {found[:12]}, sealed was {sealed[:12]}. "
                "What was measured by then says nothing of it. Commit, then draw anew with `make seal`."
            )
    return seal


def opened(seals: Sequence[Seal], commit: str) -> list[Seal]:
    """The same, and the last is open."""
    last = seals[-1]
    note = last.opened or f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}"
    return [*seals[:-1], last.model_copy(update={"opened": note})]


def recipe_digest(config: EngineConfig) -> str:
    """Of all that a round of this configuration does, whatever its seed."""
    versions = {stage.name: stage.version for stage in _STAGES}
    return digest({"config": config, "encoder": encoder_digest(config.start.encoder), "stages": versions})


def domains_digest(config: EngineConfig) -> str:
    """Of what the pictures are drawn from."""
    domains = {target.dataset: configured_domain(config.synthesize, target.dataset) for target in SYNTHETIC}
    return digest(
        {
            "domains": {
                name: {**domain.model_dump(mode="json"), "unlabelled_splits": sorted(domain.unlabelled_splits)}
                for name, domain in domains.items()
            },
            "counts": config.synthesize,
            "poses": {name: angles.tolist() for name, angles in poses.BASE_POSES.items()},
            "spread": [part.tolist() for part in (poses.FACTORS, poses.DEVIATION, poses.LOWEST, poses.HIGHEST)],
            "body": body_digest(config.body),
            "version": Synthesize.version,
        }
    )


def people_digest(config: EngineConfig, seeds: Sequence[int]) -> str:
    """Of the random numbers of the held-out people."""
    total = hashlib.sha256()
    for seed in seeds:
        for target in HELD_OUT:
            for index in range(getattr(config.synthesize, f"{target.dataset}_{target.split}")):
                total.update(stream(seed, target.dataset, target.split, index, PERSON).bytes(16))
    return total.hexdigest()


def history(seals: Sequence[Seal]) -> list[str]:
    """The draws in words, for docs/evidence.md."""
    return [
        f"- {seal.drawn}, commit {seal.commit}: profile {seal.profile}, seeds {', '.join(map(str, seal.seeds))}; "
        f"recipe {seal.recipe[:12]}, domains {seal.domains[:12]}, people {seal.people[:12]}; "
        + (f"opened {seal.opened}" if seal.opened else "not opened")
        for seal in seals
    ]


def main(
    profile: Annotated[str, typer.Option(help="Profile that is sealed.")] = "tiny",
    seeds: Annotated[int, typer.Option(help="How many.", min=1)] = 5,
) -> None:
    """Draw seeds and held-out people for what is committed."""
    with clear_errors():
        if is_changed():
            raise ConfigError("Files differ from the commit that is checked out: commit recipe and domains first.")
        earlier = read_seals()
        seal = new_seal(profile, seeds, earlier, commit_here())
        write_seals([*earlier, seal])
        typer.echo(f"sealed {WILD_TEST} and its like of seeds {', '.join(map(str, seal.seeds))}: people {seal.people}")
        typer.echo(f"wrote {FILE.name}: commit it, then `make evidence`")


if __name__ == "__main__":
    typer.run(main)
