"""What a stage is called decides its key: every field of every stage counts, or there is a reason why not."""

import importlib
import inspect
import pkgutil
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import tasks
from schemas.config.stages import EvaluateConfig, GenerateConfig, PairConfig
from schemas.config.study import RuleConfig
from schemas.config.training import AlignConfig
from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_VALIDATION
from tasks.clean.given import GivenLabels
from tasks.clean.ingested import IngestedLabels
from tasks.clean.swapped import SwapLabels
from tasks.diagnostics.offset import EvaluateOffset
from tasks.diagnostics.targets import Targets
from tasks.engine.stage import Stage
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.hypotheses.bodies import IngestBodies
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.pairs.stage import IngestPairs
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.stage import Ingest
from tasks.measures.stage import Measures
from tasks.report.facts import RoundFacts
from tasks.report.stage import Report
from tasks.rows.mix import Mix
from tasks.rows.part import Part
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.compare import Compare
from tasks.stages.draw import Draw, PairDrawn
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.import_model import ImportModel
from tasks.stages.judge import Judge
from tasks.stages.pair import Pair
from tasks.stages.published import ComparePublished, EvaluatePublished, MeasurePublished
from tasks.stages.published_scorer import CalibrateScorer, EvaluateScorer, ScoreNoised
from tasks.stages.review import ApplyReviews
from tasks.stages.score import Score
from tasks.stages.study import Study
from tasks.stages.synthesize import Synthesize
from tasks.stages.training import Align, TrainBase, TrainClean, TrainScorer
from tasks.stages.watch import Watch
from tests.samples.bodies import write_bodies
from tests.samples.coco import write_coco
from tests.samples.preferences import write_hypothesis_cache
from tests.samples.truth import true_people
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

A, B, P, Q = ("a" * 64,), "b" * 64, "e" * 64, "f" * 64
T = SOURCE_TEST
MIX = Mix(A, (T,))
PART = Part(0.2, 1.0)
FOLDER = AnnotationSource("folder", "pictures", "mine", "test", options={"boxes": "boxes.csv"})
COCO = AnnotationSource("coco", "one/coco/annotations/person_keypoints_train2017.json", "coco", "train")
CACHE = AnnotationSource("multihypo-npz", "one/cache/multihypo.npz", "sample", "train")
BODIES = AnnotationSource("bodies", "one/bodies/bodies.parquet", "sample", "train")
PAIRS = AnnotationSource("dpo-json", "one.bin", "mine", "test")
FACTS = RoundFacts("dpo", "c", 1, P, Q, P, Q, ())
STAGES: tuple[Stage, ...] = (
    Synthesize(),
    Ingest((FOLDER,), made_by=B),
    TrainBase(MIX),
    TrainScorer(MIX, P),
    TrainBase(Mix(A, (T, WILD_TEST), (1.0, 2.0))),
    TrainScorer(MIX._replace(part=PART), P),
    Generate(A, (T,), P, GenerateConfig(), 1, PART),
    Score(B, A, P),
    Pair(B, B, PairConfig(label_wins_share=0.5), A),
    Draw(A, (T,), P, Q, GenerateConfig(), PairConfig(), "none", 1, PART),
    PairDrawn(B, B, PairConfig(label_wins_share=0.5), A),
    ApplyReviews(B, {"wild/train/1#0 1>2": {"anna": "swap"}}, "keep", MIX),
    Align(MIX, B, P, Q, Mix(A, (T, WILD_TEST), (1.0, 2.0)), A, P, AlignConfig()),
    Evaluate(A, (T,), P, Q, EvaluateConfig()),
    EvaluateOffset(A, (T,), P, Q, EvaluateConfig(), pairs=B),
    Targets(A, T, P, Q, part=PART),
    Study(A, A, ("a", "b"), ("b",), {"a": 1}, RuleConfig(), T, (T,)),
    MeasurePublished(A, T, P, Q, 3, "3dpw", "tiny"),
    EvaluatePublished(MeasurePublished(A, T, P, Q, 3, "3dpw", "tiny")),
    ComparePublished(B, B, T),
    ScoreNoised(A, T, P, 3, "tiny"),
    EvaluateScorer(T, Score(B, A, P)),
    CalibrateScorer(B, B, P, T),
    Compare(B, B, {"less_noise": B}, B, (T,)),
    Measures(B, B, {"less_noise": B}),
    Judge(B, P, Q, B, A),
    Watch(B, P, Q, B, P, Q),
    PseudoLabel(A, (T,), P, 0.3, 1, PART, Q),
    SwapLabels(B, A, 0.3, 1),
    IngestedLabels(A, (T,), PART),
    ScoreLabels(B, A, P),
    Keep(B, B, 0.5, "quantile", B, B),
    TrainClean(MIX, A, P, Mix(A, (T, WILD_TEST), (1.0, 2.0))),
    Report(FACTS),
    # these count files by what they hold: see `files`
    GivenLabels(A, "one.bin", PART),
    ImportModel(Path("one.bin"), "raw"),
    IngestPairs(PAIRS, A, T),
    IngestAnnotations(COCO, "tiny"),
    IngestHypotheses(CACHE),
    IngestBodies(BODIES, "tiny"),
)
INTAKES = tuple(
    stage
    for stage in STAGES
    if isinstance(stage, Ingest | IngestPairs | IngestAnnotations | IngestHypotheses | IngestBodies)
)
NO_MATTER = {
    (IngestAnnotations, "replace_source"): "whether the ingest may be done, and not what it makes",
    (IngestAnnotations, "open_reader"): "the readers of the formats, but for tests",
    # fields of their sources
    (Ingest, "format"): "stages make folders of pictures alone",
    (Ingest, "url"): "the stage that made the folder decides what it holds",
    (Ingest, "images"): "url names the folder of pictures",
    (Ingest, "every"): "what a stage made is taken as a whole",
    (IngestPairs, "dataset"): "target names the people whose pairs they are",
    (IngestPairs, "split"): "target names the people whose pairs they are",
    (IngestPairs, "images"): "no picture is read",
    (IngestPairs, "options"): "the format has none",
    (IngestPairs, "follow_links"): "no picture is read",
    (IngestAnnotations, "format"): "a file is of one format: the others can't read it",
    (IngestHypotheses, "format"): "a file is of one format: the others can't read it",
    (IngestBodies, "format"): "a file is of one format: the others can't read it",
    (IngestBodies, "options"): "they are about labels, which another stage makes",
}
"""Fields that don't count, and why not."""
OTHER_VALUES: dict[str, Any] = {"dataset": "theirs", "split": "validation", "every": 2, "follow_links": "."}
"""Of the fields of a source."""
OF_STAGES: dict[tuple[type[Stage], str], Any] = {
    (IngestPairs, "format"): "another",
    (IngestAnnotations, "images"): "two/coco",
    (IngestHypotheses, "images"): "two/cache",
    (IngestBodies, "images"): "two/bodies",
    (Ingest, "options"): {**FOLDER.options, "labels": "labels.parquet"},
    (IngestAnnotations, "options"): {"category": "person"},
    (IngestHypotheses, "options"): {"pictures": "one/cache/images"},
}
"""The same, where each stage has its own."""
HELD = (
    (IngestAnnotations(COCO, "tiny"), COCO.url),
    (IngestAnnotations(COCO, "tiny"), "one/coco/train2017/000000000001.jpg"),
    (IngestHypotheses(CACHE), CACHE.url),
    (IngestHypotheses(CACHE), "one/cache/multihypo_id.npz"),
    (IngestHypotheses(CACHE), "one/cache/00000001.png"),
    (IngestHypotheses(replace(CACHE, options={"pictures": "one/cache/images"})), "one/cache/images/00001.jpg"),
    (IngestBodies(BODIES, "tiny"), BODIES.url),
    (IngestBodies(BODIES, "tiny"), "one/bodies/images/000001.jpg"),
    (IngestPairs(PAIRS, A, T), "one.bin"),
    (GivenLabels(A, "one.bin"), "one.bin"),
    (ImportModel(Path("one.bin"), "raw"), "one.bin"),
)
"""Stages that take files in, and one of those files."""

OTHERS = {"tiny": "full", "3dpw": "human36m", "source": "wild", "raw": "ema", "quantile": "mixture"}
OTHERS |= {url: url.replace("one", "two") for url in ("one.bin", COCO.url, CACHE.url, BODIES.url)}


def with_people(stage: Stage, held: MicroStore) -> Stage:
    """A stage whose bodies depend on the people whom they are for, with people."""
    return replace(stage, ingests=(held.ingest_key,)) if isinstance(stage, ScoreNoised) else stage


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of each: files of a few bytes, and annotations and hypotheses of two people."""
    folder = tmp_path_factory.mktemp("samples")
    for name, domain, strategy in (("one", "source", "sample"), ("two", "scorer", None)):
        (folder / f"{name}.bin").write_text(name, encoding="utf-8")
        people = true_people(2, domain)
        write_coco(people, folder / name / "coco", "train")
        write_hypothesis_cache(people, folder / name / "cache", strategy=strategy)
        write_bodies(people, folder / name / "bodies", hypotheses=2)
    return folder


@pytest.fixture(autouse=True)
def files(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


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
            names = {EvaluateConfig: "generate", RuleConfig: "figure"}
            name = names.get(type(value), "seed")
            return value.model_copy(update={name: other(getattr(value, name))})
        case dict():
            return {name: other(one) for name, one in value.items()}
        case Mix():
            # of one split a weight says nothing
            return Mix(other(value.ingests), *((other(value.targets[:1]) + value.targets[1:],)), other(value.weights))
        case tuple():
            return tuple(other(one) for one in value)
        case AnnotationSource():
            return replace(value, split="other") if value.format == "folder" else replace(value, url=OTHERS[value.url])
        case Stage():  # whose key counts, and so do all of its fields
            return replace(value, **{fields(value)[-1].name: other(getattr(value, fields(value)[-1].name))})
        case RoundFacts():
            return replace(value, why="another reason")
    raise AssertionError(f"another {value!r}?")


def test_every_stage_is_here() -> None:
    assert set(every_class()) == {type(stage) for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_field_counts(stage: Stage, micro_store: MicroStore) -> None:
    stage = with_people(stage, micro_store)
    key = stage.key(micro_store.context)
    assert key == replace(stage).key(micro_store.context)
    for field in fields(stage):
        value = getattr(stage, field.name)
        if (type(stage), field.name) in NO_MATTER:
            continue
        assert value is not None, f"{field.name} is left open: nothing would be changed"
        if field.name == "ingests" and isinstance(stage, ScoreNoised):
            another: Any = (micro.reingested(micro_store.store, T, as_they_are),)
        else:
            another = other(value)
        changed = replace(stage, **{field.name: another})
        assert changed.key(micro_store.context) != key, field.name


@pytest.mark.parametrize("stage", [stage for stage in STAGES if getattr(stage, "part", None)], ids=lambda one: one.name)
def test_of_all_people_the_key_is_as_it_was_before_there_were_parts(stage: Any, micro_store: MicroStore) -> None:
    everybody = replace(stage, part=None)
    assert "part" not in everybody.key_config(micro_store.context)
    assert everybody.key(micro_store.context) != stage.key(micro_store.context)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_what_it_reads_and_uses_is_what_its_fields_name(stage: Stage, micro_store: MicroStore) -> None:
    spec = with_people(stage, micro_store).spec(micro_store.context)
    assert all(isinstance(key, str) and len(key) == 64 for key in (*spec.reads, *spec.models))
    assert set(stage.writes) <= {"hypotheses", "scores", "errors", "pairs", "labels", "metrics", "models", "curves",
                                 "images", "instances"}  # fmt: skip


@pytest.mark.parametrize("stage", INTAKES, ids=lambda stage: type(stage).__name__)
def test_every_field_of_a_source_counts(stage: Any, micro_store: MicroStore) -> None:
    (source,) = stage.sources if isinstance(stage, Ingest) else (stage.source,)
    key = stage.key(micro_store.context)
    for field in fields(source):
        if (type(stage), field.name) in NO_MATTER:
            continue
        if field.name == "url":
            another = other(source)
        else:
            value = OF_STAGES.get((type(stage), field.name), OTHER_VALUES.get(field.name))
            assert value is not None, field.name
            another = replace(source, **{field.name: value})
        changed = {"sources": (another,)} if isinstance(stage, Ingest) else {"source": another}
        assert replace(stage, **changed).key(micro_store.context) != key, field.name


@pytest.mark.parametrize(("stage", "file"), HELD, ids=lambda value: getattr(value, "name", value))
def test_what_files_hold_counts(stage: Stage, file: str, micro_store: MicroStore) -> None:
    key = stage.key(micro_store.context)
    assert replace(stage).key(micro_store.context) == key
    shutil.copy(file.replace("one", "two"), file)
    assert replace(stage).key(micro_store.context) != key


def test_pictures_of_another_split_count_where_they_are_refused(micro_store: MicroStore) -> None:
    context = micro_store.context
    stages: list[Any] = [IngestAnnotations(COCO, "tiny"), IngestHypotheses(replace(CACHE, dataset="coco"))]
    stages.append(IngestBodies(replace(BODIES, dataset="coco"), "tiny"))
    allowing = [replace(stage, allow_leakage=True) for stage in stages]
    before = [stage.key(context) for stage in (*stages, *allowing)]
    IngestAnnotations(replace(COCO, split="test", url=OTHERS[COCO.url]), "tiny").run(context)
    after = [stage.key(context) for stage in (*stages, *allowing)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False] * 3 + [True] * 3
