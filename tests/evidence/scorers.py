"""What makes HMR-Scorer rank: the default's training with one thing changed, on samples that no training has seen.

    python -m tests.evidence.scorers [--folder adhmr-evidence-scorers] [--profile tiny] [--seeds 0,1,2]
        [--variants "the default,no strangers"] [--page docs/scorer.md]

Each seed has a store of its own, with one base policy; a store of `make evidence` will do. All scorers of a seed are
trained on the same people, and measured on the same samples of the base policy for wild/validation: Spearman of score
and error within a person. Beside it how well the score tells swapped labels: labels such as another label set could
hold (`tests.evidence.foreign`), of which 30 % are exchanged between people of wild/train. A run that was stopped goes
on where it was. With a page, the table goes there between its marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import pyarrow.parquet as pq
import typer
from prefect import flow

from flows.order.foundations import find_foundations
from flows.order.labels import guess, kept_of
from flows.order.study import under
from flows.process.errors import clear_errors
from flows.process.quiet import quiet_start
from flows.run.configuration import Choices
from flows.run.live import LiveRunner
from flows.run.session import single_step
from flows.serve.temporary_server import begin_server
from infra.store import Store
from infra.tables import read
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey
from schemas.layers import USUAL_PROFILE
from schemas.splits import WILD_VALIDATION
from tasks.compare import evaluation_table, ranking
from tasks.rows.hypotheses import BY_SAMPLE
from tasks.rows.metrics import Metric, read_metrics
from tasks.stages.evaluate import Evaluate
from tasks.stages.score import Score
from tasks.stages.training import TrainScorer
from tests.benchmarks.page import write_section
from tests.evidence.figures import cell, last_cells, line
from tests.evidence.foreign import foreign_labels

SECTION: Final = "scorers"
"""The marks in the page between which the table goes."""
COMMAND: Final = "python -m tests.evidence.scorers"
SWAP_SHARE: Final = 0.3
DEFAULT: Final = "the default"
_NO_STRANGERS = {"train_scorer.pool_strangers": 0, "train_scorer.strangers": 0}
VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    DEFAULT: {},
    "no strangers": _NO_STRANGERS,
    "a blend in the stranger's place": {**_NO_STRANGERS, "train_scorer.pool_blends": 2, "train_scorer.blends": 2},
    "no blends": {"train_scorer.pool_blends": 0, "train_scorer.blends": 0},
    "noised labels in the place of samples and blends": {
        "train_scorer.pool_samples": 0,
        "train_scorer.samples": 0,
        "train_scorer.pool_blends": 0,
        "train_scorer.blends": 0,
        "train_scorer.pool_noised": 6,
        "train_scorer.noised": 4,
    },
    "no rank loss": {"train_scorer.rank_weight": 0.0},
    "no MSE of the score": {"train_scorer.score_weight": 0.0},
    "all four errors": {"train_scorer.errors": ["mpvpe", "pa_mpvpe", "mpjpe", "pa_mpjpe"]},
    "sees the twists": {"scorer.twists": 23},
    "sees betas": {"scorer.sees_betas": True},
    "sees what is under the limbs": {"scorer.silhouette": "limbs"},
}
"""By their titles: fields that differ from the profile."""


class Ranked(NamedTuple):
    """What a scorer of a seed came to."""

    spearman: Metric
    area: Metric


def main(
    folder: Annotated[Path, typer.Option(help="Where the stores go, one a seed.")] = Path("adhmr-evidence-scorers"),
    seeds: Annotated[str, typer.Option(help="Whole numbers, separated by commas.")] = "0,1,2",
    profile: Annotated[str, typer.Option(help="Profile to run.")] = USUAL_PROFILE,
    variants: Annotated[str, typer.Option(help="Which of them, separated by commas.")] = ",".join(VARIANTS),
    page: Annotated[Path | None, typer.Option(help="A page with marks for the table.")] = None,
) -> None:
    """Train and measure what is missing, then print the table."""
    with clear_errors():
        chosen = variants.split(",")
        if unknown := [title for title in chosen if title not in VARIANTS]:
            raise ConfigError(f"--variants {unknown[0]}: there are {', '.join(VARIANTS)}.")
        quiet_start()
        server_is_ready = begin_server()
        server_is_ready()
        found = {
            seed: rank_scorers(str(folder / f"seed-{seed}"), profile, seed, chosen)
            for seed in map(int, seeds.split(","))
        }
        text = table(found)
        typer.echo(text)
        if page is not None:
            write_section(SECTION, text, page, COMMAND)


@flow(name="scorers", flow_run_name="scorers, {profile}", persist_result=False)
def rank_scorers(store: str, profile: str, seed: int, titles: Sequence[str]) -> dict[str, Ranked]:
    """Train and measure these variants on the store of a seed."""
    said = {title: Choices(profile, None, seed, dict(VARIANTS[title])).configured().config for title in titles}
    foreign = Choices(profile, None, seed, {"clean.swap_share": SWAP_SHARE})
    with single_step(store, foreign, create=True) as runner:
        ground = find_foundations(runner)
        people, config = ground.people.validation, runner.context.config.evaluate
        drawn = runner.run(Evaluate(people.ingests, (WILD_VALIDATION,), ground.base, None, config), role="samples")
        labels = Path(store).with_name(f"{Path(store).name}-labels.parquet")
        pq.write_table(foreign_labels(runner.context.store, runner.context.config), labels)
        found = {}
        for title, config_of_it in said.items():
            clean = runner.context.config.clean
            with under(runner, config_of_it.model_copy(update={"clean": clean})):
                scorer = runner.train({title: TrainScorer(ground.people.scorer, ground.base)})[0]
                scores = runner.run(Score(drawn, people.ingests, scorer), role=title)
                guessed = guess(runner, ground.people.wild, ground.base, scorer, brought=str(labels))
                kept = runner.run(kept_of(runner.context.config, guessed), role=title)
            found[title] = Ranked(_spearman(runner, drawn, scores, scorer), _area(runner.context.store, kept))
        return found


def _spearman(runner: LiveRunner, drawn: StageKey, scores: StageKey, scorer: ModelDigest) -> Metric:
    store, columns = runner.context.store, ["instance_id", "sample_index", "score"]
    drawn_table = evaluation_table(store, drawn)[WILD_VALIDATION]
    given = read(store, "scores", stage_keys=[scores], columns=columns).sort_by(BY_SAMPLE).column("score").to_numpy()
    scored = replace(drawn_table, scores=given.reshape(drawn_table.errors["mpvpe"].shape))
    within, people = ranking(scored, "mpvpe", **runner.context.config.evaluate.bootstrap)
    return Metric.of("spearman_within_mpvpe", "before", WILD_VALIDATION, "1", within, people, scorer)


def _area(store: Store, kept: StageKey) -> Metric:
    return next(metric for metric in read_metrics(store, kept) if metric.name == "auc")


def table(found: Mapping[int, Mapping[str, Ranked]]) -> str:
    """The table, with a row for each variant."""
    several = len(found) > 1
    heads = ["trained with one thing changed", *(f"Spearman, seed {seed}" for seed in found)]
    heads += ["mean"] * several + [*(f"AUC, seed {seed}" for seed in found)] + ["mean"] * several
    rows = [line(*heads), line(*["---"] * len(heads))]
    for title in next(iter(found.values())):
        cells = [title]
        for part in (0, 1):
            metrics = [of_seed[title][part] for of_seed in found.values()]
            cells += [*map(cell, metrics), *([last_cells(metrics)[0]] if several else [])]
        rows.append(line(*cells))
    return "\n".join(rows)


if __name__ == "__main__":
    typer.run(main)
