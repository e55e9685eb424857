"""Alignment in small, on a policy and pairs of a real round: true pairs make it better, swapped ones worse.

The round is one of the first default, whose image encoder was trained by alignment, too.

Neither term of the objective may live on the other: DPO through the denoiser alone, and the estimate term alone, each
have to lower the zero-noise error of people who gave no pair, and to raise it where winners and losers are exchanged.
`make_small_alignment` made the file.
"""

import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.cameras import camera_from_uvd
from models.policy import Policy
from models.statistics import Interval, paired_bootstrap_change
from schemas.config.networks import PolicyConfig
from schemas.config.training import AlignConfig
from tasks.engine.loop import Training
from tasks.rows.crops import LabelledCrops, crop_tensor
from tasks.train.align import AlignRecipe
from tasks.train.pairs import PreferencePairs

CPU = torch.device("cpu")
FILE = Path(__file__).parent / "small_alignment.npz"
STEPS = 120
FIRST_DEFAULT: Mapping[str, Any] = {
    "encoder_distillation": 3.0,
    "optimiser": {"learning_rate": 4e-5, "encoder_learning_rate": 100.0, "ema_decay": 0.99},
}
DPO_ALONE: Mapping[str, Any] = {
    "encoder_distillation": 0.0,
    "optimiser": {"learning_rate": 4e-4, "encoder_learning_rate": 2.0},
}
ESTIMATE_ALONE: Mapping[str, Any] = {"beta": 1e-9, "anchor": 0.0}


@cache
def arrays() -> dict[str, np.ndarray]:
    with np.load(FILE, allow_pickle=False) as opened:
        return {
            name: opened[name].astype(np.float32) if opened[name].dtype == np.float16 else opened[name]
            for name in opened.files
        }


def crops(name: str) -> np.ndarray:
    data, ends = arrays()[f"{name}_jpeg"].tobytes(), arrays()[f"{name}_end"]
    starts = [0, *ends[:-1].tolist()]
    pictures = [Image.open(io.BytesIO(data[start:end])) for start, end in zip(starts, ends.tolist(), strict=True)]
    return np.stack([np.asarray(picture) for picture in pictures])


def policy() -> Policy:
    made = Policy(PolicyConfig.model_validate(json.loads(str(arrays()["config"]))))
    made.load_state_dict(
        {
            name.removeprefix("weight:"): torch.from_numpy(value)
            for name, value in arrays().items()
            if name.startswith("weight:")
        }
    )
    return made.eval()


def zero_noise_mm(of: Policy) -> np.ndarray:
    """(N,) mean distance of the joints of the zero-noise hypotheses to the labels', relative to the pelvis."""
    held = arrays()
    shown = crop_tensor(crops("held"), CPU)
    with torch.no_grad():
        uvd, _ = of.sample(of.encode(shown)[0], torch.zeros(len(shown), 1, 133))
    camera, depth = torch.from_numpy(held["held_crop_intrinsics"]), torch.from_numpy(held["held_root_depth"])
    found, label = (
        camera_from_uvd(joints, camera, shown.shape[-1], depth)
        for joints in (uvd[:, 0], torch.from_numpy(held["held_uvd"]))
    )
    apart = (found - found[:, :1]) - (label - label[:, :1])
    distance: np.ndarray = 1000 * apart.norm(dim=-1).mean(1).numpy()
    return distance


def change_of(changes: Mapping[str, Any], *, swapped: bool, seed: int = 0) -> Interval:
    """Change in % of the held-out zero-noise error after training on the pairs, as they are or exchanged."""
    optimiser = {**FIRST_DEFAULT["optimiser"], "steps": STEPS, **changes.get("optimiser", {})}
    config = AlignConfig.model_validate({**FIRST_DEFAULT, **changes, "optimiser": optimiser, "seed": seed})
    held = arrays()
    better, worse = (held[f"train_{side}"] for side in (("loser", "winner") if swapped else ("winner", "loser")))
    pairs = PreferencePairs(crops("train"), held["train_row"], better, worse)
    replay = LabelledCrops(
        crops("replay"),
        *(held[f"replay_{part}"] for part in ("uvd", "twists", "betas")),
    )
    recipe = AlignRecipe(config, policy(), policy(), pairs, replay, CPU)
    training = Training(recipe, config.optimiser)
    training.run(lambda *heard: None)
    after = policy()
    after.load_state_dict(training.averaged)
    return paired_bootstrap_change(zero_noise_mm(policy()), zero_noise_mm(after), resamples=1000, seed=0)


@pytest.mark.nightly
@pytest.mark.parametrize("changes", [DPO_ALONE, ESTIMATE_ALONE], ids=["DPO alone", "the estimate alone"])
def test_true_pairs_help_and_swapped_ones_harm(changes: Mapping[str, Any]) -> None:
    true, swapped = (change_of(changes, swapped=exchanged) for exchanged in (False, True))
    assert true.high < 0, (true, swapped)
    assert swapped.low > 0, (true, swapped)
