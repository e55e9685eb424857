"""What a stage is called decides its key: every field of every stage counts, or there is a reason why not."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import tasks
from schemas.config.stages import EvaluateConfig, GenerateConfig, PairConfig
from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_VALIDATION
from tasks.clean.filtering import Keep, ScoreLabels
from tasks.clean.given import GivenLabels
from tasks.clean.pseudo import PseudoLabel
from tasks.compare import Compare
from tasks.engine.stage import Stage
from tasks.evaluate import Evaluate
from tasks.evaluation.measure_published import MeasurePublished
from tasks.evaluation.published import EvaluatePublished
from tasks.evaluation.score_noised import ScoreNoised
from tasks.evaluation.scorer import EvaluateScorer
from tasks.generate import Generate
from tasks.import_model import ImportModel
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.pairs.stage import IngestPairs
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.stage import Ingest
from tasks.pair import Pair
from tasks.report.facts import RoundFacts
from tasks.report.stage import Report
from tasks.rows.mix import Mix
from tasks.score import Score
from tasks.synthesize.stage import Synthesize
from tasks.train.align import Align
from tasks.train.base import TrainBase
from tasks.train.clean import TrainClean
from tasks.train.scorer import TrainScorer
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

A, B, P, Q = ("a" * 64,), "b" * 64, "e" * 64, "f" * 64
T = SOURCE_TEST
MIX = Mix(A, (T,))
FOLDER = AnnotationSource("folder", "pictures", "mine", "test", options={"boxes": "boxes.csv"})
FACTS = RoundFacts("dpo", "c", 1, P, Q, P, Q, ())
STAGES: tuple[Stage, ...] = (
    Synthesize(),
    Ingest((FOLDER,), made_by=B),
    TrainBase(MIX),
    TrainScorer(MIX, P),
    TrainBase(Mix(A, (T, WILD_TEST), (1.0, 2.0))),
    Generate(A, (T,), P, GenerateConfig(), 1),
    Score(B, A, P),
    Pair(B, B, PairConfig(label_wins_share=0.5), A),
    Align(MIX, B, P, Q, Mix(A, (T, WILD_TEST), (1.0, 2.0))),
    Evaluate(A, (T,), P, Q, EvaluateConfig()),
    MeasurePublished(A, T, P, Q, 3, "3dpw", "tiny"),
    EvaluatePublished(MeasurePublished(A, T, P, Q, 3, "3dpw", "tiny")),
    ScoreNoised(A, T, P, 3, "tiny"),
    EvaluateScorer(T, Score(B, A, P)),
    Compare(B, B, {"less_noise": B}, B, (T,)),
    PseudoLabel(A, (T,), P, 0.3, 1),
    ScoreLabels(B, A, P),
    Keep(B, B, 0.5),
    TrainClean(MIX, A, P, Mix(A, (T, WILD_TEST), (1.0, 2.0))),
    Report(FACTS),
    # these count a file by its bytes: see `files`
    GivenLabels(A, "one.bin"),
    ImportModel(Path("one.bin"), "raw"),
    IngestPairs(AnnotationSource("dpo-json", "one.bin", "mine", "test"), A, T),
)
ELSEWHERE = {IngestAnnotations: "counts its source by what that holds: tests/tasks/ingest/test_ingest.py"}
OTHERS = {"tiny": "full", "3dpw": "human36m", "source": "wild", "raw": "ema", "one.bin": "two.bin"}


def with_people(stage: Stage, held: MicroStore) -> Stage:
    """A stage whose bodies depend on the people whom they are for, with people."""
    return replace(stage, ingests=(held.ingest_key,)) if isinstance(stage, ScoreNoised) else stage


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(f"{name}.bin").write_text(name, encoding="utf-8")


def as_they_are(labels: list[dict[str, Any]]) -> None:
    """No change."""


def every_class(of: type[Stage] = Stage) -> Iterator[type[Stage]]:
    for module in pkgutil.walk_packages(tasks.__path__, "tasks."):
        importlib.import_module(module.name)
    for one in of.__subclasses__():
        if one.__module__.startswith("tasks."):
            yield from () if inspect.isabstract(one) else (one,)
            yield from every_class(one)


def other(value: Any) -> Any:
    """A value of the same kind that says something else."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value / 2
        case Target():
            return WILD_VALIDATION
        case str():
            return OTHERS.get(value, "c" * 64)
        case Path():
            return Path(OTHERS[str(value)])
        case BaseModel():
            name = "generate" if isinstance(value, EvaluateConfig) else "seed"
            return value.model_copy(update={name: other(getattr(value, name))})
        case dict():
            return {name: other(one) for name, one in value.items()}
        case Mix():
            # of one split a weight says nothing
            return Mix(other(value.ingests), *((other(value.targets[:1]) + value.targets[1:],)), other(value.weights))
        case tuple():
            return tuple(other(one) for one in value)
        case AnnotationSource():
            return replace(value, split="train") if value.format == "folder" else replace(value, url="two.bin")
        case Stage():  # whose key counts, and so do all of its fields
            return replace(value, **{fields(value)[-1].name: other(getattr(value, fields(value)[-1].name))})
        case RoundFacts():
            return replace(value, why="another reason")
    raise AssertionError(f"another {value!r}?")


def test_every_stage_is_here() -> None:
    assert set(every_class()) == {type(stage) for stage in STAGES} | set(ELSEWHERE)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_field_counts(stage: Stage, micro_store: MicroStore) -> None:
    stage = with_people(stage, micro_store)
    key = stage.key(micro_store.context)
    assert key == replace(stage).key(micro_store.context)
    for field in fields(stage):
        value = getattr(stage, field.name)
        assert value is not None, f"{field.name} is left open: nothing would be changed"
        if field.name == "ingests" and isinstance(stage, ScoreNoised):
            another: Any = (micro.reingested(micro_store.store, T, as_they_are),)
        else:
            another = other(value)
        changed = replace(stage, **{field.name: another})
        assert changed.key(micro_store.context) != key, field.name


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_what_it_reads_and_uses_is_what_its_fields_name(stage: Stage, micro_store: MicroStore) -> None:
    spec = with_people(stage, micro_store).spec(micro_store.context)
    assert all(isinstance(key, str) and len(key) == 64 for key in (*spec.reads, *spec.models))
    assert set(stage.writes) <= {"hypotheses", "scores", "errors", "pairs", "labels", "metrics", "models", "curves",
                                 "images", "instances"}  # fmt: skip
