"""Every stage of the engine in one line, small and in one process: a DPO round, a cleaning round, and what is ingested.

The product's own flows, without Prefect and Ray. The line can be left after any stage, and entered before it on a copy
of the store that an undisturbed run left there: what came before is then taken as known.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from flows.order.clean import clean_and_measure
from flows.order.dpo import align_and_measure
from flows.order.foundations import lay_foundations
from flows.run.live import LiveRunner
from flows.run.round import work_through
from infra import rounds
from infra.store import Store
from infra.tables import read
from schemas.ids import ModelDigest, StageKey
from schemas.progress import SILENT, Progress, SilentProgress
from schemas.splits import SOURCE_TEST
from tasks.clean.given import GivenLabels
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.engine.stage import Stage, TrainingStage
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.people.annotations import AnnotationSource
from tasks.report.facts import StageRun
from tasks.rows.models import model_of
from tasks.stages.published_scorer import EvaluateScorer, ScoreNoised
from tests.profiles import load_profile
from tests.samples.coco import write_coco
from tests.samples.preferences import write_hypothesis_cache
from tests.samples.truth import true_people

CONFIG = load_profile(
    "micro",
    changes={
        "synthesize.source_train": 12,
        "synthesize.source_test": 3,
        "synthesize.scorer_train": 12,
        "synthesize.wild_train": 9,
        "synthesize.wild_validation": 3,
        "synthesize.wild_test": 3,
        "synthesize.shard_size": 15,
        "ingest.shard_size": 15,
        "generate.shard_size": 3,
        "generate.hypotheses": 3,
        "score.shard_size": 3,
        "evaluate.generate.shard_size": 5,
        "evaluate.generate.hypotheses": 3,
        "train_base.batch_images": 4,
        "train_scorer.batch_images": 4,
        "align.batch_crops": 4,
        "align.denoised_crops": 4,
        "align.replay_images": 4,
        "train_clean.labelled_images": 4,
        "train_clean.pseudo_images": 4,
        "clean.swap_share": 0.3,
    },
)
FIRST, SECOND = "1 ", "2 "
"""What titles of stages in the DPO round and in the cleaning round begin with."""


class ReachedError(Exception):
    """The stage that was asked for is done."""


@dataclass(frozen=True)
class Walk:
    """How far to go, what is known, and who is told of every stage that was done."""

    store: Store
    until: str | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    told: Callable[[str, str], None] = lambda title, key: None
    progress: Progress = SILENT

    @property
    def context(self) -> Context:
        return Context(self.store, CONFIG, self.progress, in_process=True)

    def step(self, title: str, work: Callable[[], StageResult]) -> str:
        """The key of the stage: known, or after its work; the end of the walk if that was asked for."""
        if title in self.known and title != self.until:
            return self.known[title]
        key = work().key
        self.told(title, key)
        if title == self.until:
            raise ReachedError(key)
        return key


class Walking(LiveRunner):
    """The runner of a flow, walked."""

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk.context, ExitStack())
        self.walk = walk

    def run(self, stage: Stage, role: str = "") -> StageKey:
        place = f"{self.context.round} " if self.context.round else ""
        title = f"{place}{stage.name} ({role})" if role else f"{place}{stage.name}"
        key = self.walk.step(title, lambda: stage.run(self.context))
        self.ran.append(StageRun(stage.name, role, key, "run"))
        return StageKey(key)

    def train(self, stages: Mapping[str, TrainingStage]) -> tuple[ModelDigest, ...]:
        return tuple(model_of(self.context.store, self.run(stage, role)) for role, stage in stages.items())


def walk_on(walk: Walk) -> None:
    """Both rounds, then the stages of what people bring."""
    runner = Walking(walk)
    foundations = lay_foundations(runner)
    rounds.begin(walk.store, CONFIG.campaign, foundations.base)
    seen = rounds.state(walk.store, CONFIG.campaign)
    if not seen.round or (seen.round == 1 and seen.is_open):
        work_through(runner, foundations, "dpo", align_and_measure)
    if rounds.state(walk.store, CONFIG.campaign).next_round == 2:
        runner = Walking(walk)
        work_through(runner, foundations, "clean", clean_and_measure)
    _brought(walk, foundations.people.wild.ingests[0], foundations.scorer)


def _brought(walk: Walk, people: str, scorer: str) -> None:
    context, sources = walk.context, sources_of(walk.store)
    walk.step("given_labels", lambda: GivenLabels((people,), str(sources / "labels.parquet")).run(context))
    coco = AnnotationSource("coco", str(sources / "coco/annotations/person_keypoints_train2017.json"), "coco", "train")
    walk.step("ingest_annotations", lambda: IngestAnnotations(coco).run(context))
    cache = AnnotationSource("multihypo-npz", str(sources / "cache/multihypo.npz"), "cached", "test")
    walk.step("ingest_hypotheses", lambda: IngestHypotheses(cache).run(context))
    noised = ScoreNoised((people,), SOURCE_TEST, scorer, 3, "tiny")
    walk.step("evaluate_scorer", lambda: EvaluateScorer(SOURCE_TEST, noised).run(context))


def sources_of(store: Store) -> Path:
    """Where files that people bring lie: beside the store."""
    return Path(store.root).parent / "sources"


def write_sources(store: Store) -> None:
    """Files to be brought; the labels are those of the cleaning round."""
    folder = sources_of(store)
    folder.mkdir(exist_ok=True)
    made = true_people(4)
    write_coco(made, folder / "coco", "train")
    write_hypothesis_cache(made, folder / "cache", hypotheses=3)
    labels = read(store, "labels")
    kept = labels.filter([name == "kept" for name in labels.column("label_set").to_pylist()])
    pq.write_table(kept, folder / "labels.parquet")


def prepare(url: str, snapshots: str) -> list[list[str]]:
    """Walk the whole line undisturbed; title and key of each stage.

    A copy of the store is left at the start (0) and after each stage (1, ...).
    """
    store = Store.open(url)
    copy(url, f"{snapshots}/0")
    stages: list[list[str]] = []

    def told(title: str, key: str) -> None:
        if title == f"{SECOND}report":
            write_sources(store)
        stages.append([title, key])
        copy(url, f"{snapshots}/{len(stages)}")

    walk_on(Walk(store, told=told))
    return stages


def go(url: str, until: str, known: dict[str, str]) -> str | None:
    """Walk until a stage is done; its key."""
    return hear(url, until, known)[0]


def hear(url: str, until: str, known: dict[str, str]) -> tuple[str | None, list[str]]:
    """The same, and what a person was told on the way."""
    heard = _Heard()
    try:
        walk_on(Walk(Store.open(url), until, known, progress=heard))
    except ReachedError as reached:
        return str(reached), heard.lines
    return None, heard.lines


class _Heard(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def copy(store: str, to: str) -> None:
    """A copy of a store, in place of what is there. The engine never changes a file, so links do."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(store, to, copy_function=os.link)
