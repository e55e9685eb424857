"""The paper's pipeline end to end at its own sizes, on a CPU: `make paper-smoke`, minutes.

Checkpoints in the published layout with made-up weights, and samples of 3DPW, Human3.6M and InstaVariety in their
published forms, go in; a policy that took two DPO steps comes out, in the published layout again. What it learns is
nothing, since the weights are made up: that every part takes what the one before gives is what this shows.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.store import Store
from infra.tables import read
from models.checkpoints.export import published_content
from models.checkpoints.loading import load_policy
from models.checkpoints.published import read_published
from models.policy import Policy
from schemas.config.engine import EngineConfig
from schemas.ids import Target
from schemas.profiles import paper
from schemas.progress import SilentProgress
from tasks.engine.context import Context
from tasks.evaluation.measure_published import MeasurePublished
from tasks.evaluation.published import EvaluatePublished
from tasks.export.model import export_checkpoint, export_hub
from tasks.generate import Generate
from tasks.import_model import import_model
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.pair import Pair
from tasks.report.model_card import model_card
from tasks.rows.mix import Mix
from tasks.rows.models import load_policy as store_policy
from tasks.rows.models import model_of
from tasks.score import Score
from tasks.train.align import Align
from tests.parity.rules import HRNET_GAINS, manifest, published_order, state
from tests.samples.humandata import write_humandata
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import true_people

pytestmark = [pytest.mark.paper, pytest.mark.timeout(1800)]
PEOPLE, HYPOTHESES = 4, 4


class Said(SilentProgress):
    """Shows stages and how long each took (pytest -s)."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        self.began = time.monotonic()
        print(f"{stage}: {total} {unit}", flush=True)

    def end(self, stage: str, note: str = "") -> None:
        print(f"{stage}: {note} in {time.monotonic() - self.began:.0f} s", flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)


def configuration() -> EngineConfig:
    """The profile paper, with few people and hypotheses, on a CPU, and with this project's own body."""
    published = paper()
    optimiser = published.align.optimiser.model_copy(
        update={"steps": 2, "checkpoint_every": 1, "report_every": 1, "warmup_steps": 0}
    )
    few = {"optimiser": optimiser, "batch_crops": 2, "denoised_crops": 2}
    return published.model_copy(
        update={
            "body": "tiny",
            "generate": published.generate.model_copy(update={"hypotheses": HYPOTHESES}),
            "align": published.align.model_copy(update=few),
            "ray": published.ray.model_copy(
                update={
                    "gpus_per_actor": 0.0,
                    "gpus_per_trainer": 0.0,
                    "threads_per_actor": 2,
                    "threads_per_trainer": 2,
                }
            ),
        }
    )


def average(names: list[str], weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {"decay": 0.9999, "num_updates": 3150, "shadow_params": [weights[name] for name in names]}


def checkpoints(folder: Path) -> dict[str, Path]:
    """ADHMR's, ScoreHypo's ScoreNet's and HMR-Scorer's, in the published layout."""
    hyponet, condition = state("hyponet"), state("hrnet_cond", HRNET_GAINS)
    scorenet, scoring = state("scorehypo_scorenet"), state("hrnet_cond_score", HRNET_GAINS)
    network = {f"module.encoder.{name}": value for name, value in state("vit_b_backbone").items()}
    network |= {f"module.score_net.{name}": value for name, value in state("hmr_scorenet").items()}
    contents = {
        "adhmr.pth": {
            "model": hyponet,
            "model_cond": condition,
            "ema": average(published_order("hyponet"), hyponet),
            "ema_cond": average(published_order("hrnet_cond"), condition),
            "epoch": 50,
            "step": 3150,
        },
        "scorenet.pth": {
            "model_score": scorenet,
            "model_score_cond": scoring,
            "ema_score": average(published_order("scorehypo_scorenet"), scorenet),
            "ema_score_cond": average(published_order("hrnet_cond_score"), scoring),
            "epoch": 1,
            "step": 1,
        },
        "hmr_scorer.pth.tar": {"network": network, "optimizer": {}, "epoch": 3},
    }
    for name, content in contents.items():
        torch.save(content, folder / name)
    return {name.partition(".")[0]: folder / name for name in contents}


def samples(folder: Path) -> dict[str, AnnotationSource]:
    people = true_people(5 * PEOPLE)
    cut = [people[start : start + PEOPLE] for start in range(0, len(people), PEOPLE)]
    insta = write_humandata(
        cut[2], folder / "insta", body="smpl", name="insta_variety_neural_annot_train.npz", dataset="insta"
    )
    return {
        "3dpw": write_scorehypo(cut[0], folder / "3dpw", "3dpw"),
        "human36m": write_scorehypo(cut[1], folder / "human36m", "human36m"),
        "insta": dataclasses.replace(insta, options={"variant": "InstaVariety", "label_kind": "gt"}),
        "3dpw test": write_scorehypo(cut[3], folder / "3dpw-test", "3dpw", "test"),
        "human36m test": write_scorehypo(cut[4], folder / "human36m-test", "human36m", "test"),
    }


def test_from_published_files_to_published_files(tmp_path: Path) -> None:
    config = configuration()
    here = Context(Store.open(str(tmp_path / "store")), config, Said(), in_process=True)
    files = checkpoints(tmp_path)
    models = {name: import_model(here, path) for name, path in files.items()}
    raw = import_model(here, files["adhmr"], "raw")

    keys = {name: IngestAnnotations(source, config.body).run(here).key for name, source in samples(tmp_path).items()}
    assert len(read(here.store, "failures")) == 0
    training = ("3dpw", "human36m", "insta")
    targets = tuple(Target(name, "train") for name in training)
    ingests = tuple(keys[name] for name in training)
    rules = Counter(read(here.store, "instances", stage_keys=ingests).column("crop_rule").to_pylist())
    print("crops by rule:", dict(rules))

    made = Generate(ingests, targets, models["adhmr"], config.generate).run(here).key
    scores = Score(made, ingests, models["hmr_scorer"]).run(here).key
    pairs = Pair(made, scores, config.pair, ingests).run(here).key
    strategies = Counter(read(here.store, "pairs", stage_keys=[pairs]).column("strategy").to_pylist())
    print("pairs:", dict(strategies))
    assert set(strategies) == {"label_wins", "top_bottom"}
    assert sum(strategies.values()) == 3 * PEOPLE

    replayed, paired = Mix((keys["3dpw"],), targets[:1]), Mix(ingests, targets, (0.5, 0.25, 0.25))
    aligned = model_of(here.store, Align(replayed, pairs, raw, raw, paired).run(here).key)
    assert aligned != raw

    for name, protocol in (("3dpw", "3dpw"), ("human36m", "human36m")):
        for scorer in (models["scorenet"], models["hmr_scorer"]):
            measurement = MeasurePublished(
                (keys[f"{name} test"],), Target(name, "test"), aligned, scorer, HYPOTHESES, protocol, "tiny"
            )
            result = EvaluatePublished(measurement).run(here)
            rows = read(here.store, "metrics", stage_keys=[result.key]).to_pylist()
            figures = {row["name"]: row["value"] for row in rows}
            assert figures["published_min_mpvpe"] <= figures["published_select_mpvpe"]
            print(name, {key: round(value, 1) for key, value in sorted(figures.items())})

    policy, path = store_policy(here.store, aligned), tmp_path / "aligned.pth"
    assert export_checkpoint(here.store, aligned, str(path)) == "in the published layout"
    written = torch.load(path, weights_only=True, mmap=True)
    assert sorted(written) == sorted(published_content(policy))
    assert written["step"] == 2
    for part, name in (("model", "hyponet"), ("model_cond", "hrnet_cond")):
        assert list(written[part]) == list(manifest(name))
    again = Policy(config.policy)
    load_policy(again, read_published(path))
    for name, value in again.eval().state_dict().items():
        assert torch.equal(value, policy.state_dict()[name]), name
    assert import_model(here, path) == aligned
    for name in ("scorenet", "hmr_scorer"):
        path = tmp_path / f"{name}-again.pth"
        assert export_checkpoint(here.store, models[name], str(path)) == "in the published layout"
        assert import_model(here, path) == models[name]
    export_hub(here.store, aligned, str(tmp_path / "hub"), model_card(here.store, aligned))
    assert import_model(here, tmp_path / "hub") == aligned
    print((tmp_path / "hub" / "README.md").read_text())
