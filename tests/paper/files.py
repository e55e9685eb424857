"""What docs/paper.md says that somebody brings, made up: checkpoints, body files, and samples of every data set.

Weights follow the rule of the parity tests. Bodies are the free one, in the place and the form of SMPL's.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.bodies import load_body
from models.body_arrays import BUILT_IN
from models.joint_sets import HUMAN36M_OF_29
from tests.models.smplx_file import smplx_arrays
from tests.parity.rules import HRNET_GAINS, published_order, state
from tests.samples.humandata import write_humandata
from tests.samples.osx_h36m import write_osx_h36m
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people

PEOPLE = 4
"""Of each split."""


def write_files(folder: Path) -> None:
    """All of it, below `folder`."""
    write_checkpoints(folder / "checkpoints")
    write_bodies(folder / "human_model_files")
    write_data(folder / "data")


def write_checkpoints(folder: Path) -> None:
    """ScoreHypo's policy and ScoreNet, a snapshot of HMR-Scorer, and SMPLer-X, in the published layout."""
    hyponet, condition = state("hyponet"), state("hrnet_cond", HRNET_GAINS)
    scorenet, scoring = state("scorehypo_scorenet"), state("hrnet_cond_score", HRNET_GAINS)
    encoder = {f"module.encoder.{name}": value for name, value in state("vit_b_backbone").items()}
    network = encoder | {f"module.score_net.{name}": value for name, value in state("hmr_scorenet").items()}
    contents = {
        "scorehypo_diffnet.pth": {
            "model": hyponet,
            "model_cond": condition,
            "ema": _average(published_order("hyponet"), hyponet),
            "ema_cond": _average(published_order("hrnet_cond"), condition),
            "epoch": 50,
            "step": 3150,
        },
        "scorenet.pth": {
            "model_score": scorenet,
            "model_score_cond": scoring,
            "ema_score": _average(published_order("scorehypo_scorenet"), scorenet),
            "ema_score_cond": _average(published_order("hrnet_cond_score"), scoring),
            "epoch": 1,
            "step": 1,
        },
        "hmr_scorer.pth.tar": {"network": network, "optimizer": {}, "epoch": 3},
        "smpler_x_b32.pth.tar": {"network": encoder, "optimizer": {}, "epoch": 3},
    }
    folder.mkdir(parents=True)
    for name, content in contents.items():
        torch.save(content, folder / name)


def write_bodies(folder: Path) -> None:
    """The free body as SMPL's, with a regressor that reads each joint of Human3.6M off one vertex; one as SMPL-X's."""
    smpl, smplx = folder / "smpl", folder / "smplx"
    for place in (smpl, smplx):
        place.mkdir(parents=True)
    for gender in ("NEUTRAL", "MALE", "FEMALE"):
        shutil.copy(BUILT_IN["tiny"], smpl / f"SMPL_{gender}.npz")
    np.savez(smplx / "SMPLX_NEUTRAL.npz", **smplx_arrays())
    body = load_body("tiny")
    rest = body(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    joints = rest.joints[0, list(HUMAN36M_OF_29)]
    nearest = torch.cdist(joints, rest.vertices[0]).argmin(1)
    regressor = np.zeros((len(joints), body.vertex_count), np.float32)
    regressor[np.arange(len(joints)), nearest.numpy()] = 1
    np.save(smpl / "J_regressor_h36m.npy", regressor)


def write_data(folder: Path) -> None:
    """Samples in the published forms, and in the folders that docs/paper.md and campaigns/paper-3dpw.yaml name."""
    people = iter(_groups())
    for split in ("train", "validation", "test"):
        _settled(write_scorehypo(next(people), folder / "3dpw", "3dpw", split).url, folder / f"3dpw/3DPW_{split}.json")
    insta = folder / "instavariety"
    write_humandata(next(people), insta, body="smpl", name="insta.npz")
    _settled(insta / "insta.npz", folder / "insta_variety_neural_annot_train.npz")
    h36m = write_scorehypo(next(people), folder / "h36m", "human36m", "test")
    _settled(h36m.url, folder / "h36m/Human36M_test.json")
    write_osx_h36m(next(people), folder / "h36m")
    for name in ("gta_human2", "hi4d"):
        write_humandata(next(people), folder / name, body="smpl", name="labels.npz")
        _settled(folder / name / "labels.npz", folder / f"{name}.npz")


def _groups() -> list[list[TruePerson]]:
    people = true_people(8 * PEOPLE)
    return [people[start : start + PEOPLE] for start in range(0, len(people), PEOPLE)]


def _settled(written: str | Path, place: Path) -> None:
    Path(written).rename(place)


def _average(names: Sequence[str], weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Near the weights, and another model than they are: which of the two somebody took can be told."""
    weights = {name: weights[name] * (1 - 2**-10) for name in names}
    return {"decay": 0.9999, "num_updates": 3150, "shadow_params": [weights[name] for name in names]}
