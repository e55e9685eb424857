"""The whole of a pretraining: people, training, measurement, file. What was stopped goes on where it was."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.encoder_files import EncoderFile
from schemas.digests import digest
from tasks.engine.loop import Training
from tasks.engine.numerics import fixed_numerics
from tasks.pretrain.people import BROAD, LEVEL, TEST, TRAIN, PretrainPeople, make_people, whole_file
from tasks.pretrain.recipe import PretrainNetwork, PretrainRecipe
from tasks.pretrain.settings import PretrainConfig
from tasks.rows.crops import crop_tensor

LICENCE: Final = (
    "Apache-2.0, as the engine. Trained from nothing on pictures that the engine draws itself, of bodies made from "
    "MakeHuman characters (CC0); no photograph, no SMPL or SMPL-X file, no weights of others."
)
_CROPS_AT_ONCE: Final = 50


def pretrain(config: PretrainConfig, work: Path, threads: int, say: Callable[[str], None]) -> EncoderFile:
    """An encoder, trained and measured. `work` keeps people and checkpoints of this configuration for the next try."""
    folder = work / digest(config)[:16]

    def people(domain: str, split: str) -> PretrainPeople:
        return make_people(config, domain, split, folder / "people", say)

    with fixed_numerics(threads):
        recipe = PretrainRecipe(config, people(BROAD, TRAIN), people(LEVEL, TRAIN), torch.device("cpu"))
        held_out = {domain: people(domain, TEST) for domain in (BROAD, LEVEL)}
        training, checkpoint = Training(recipe, config.optimiser), folder / "checkpoint.pt"
        if checkpoint.exists():
            training.resume(torch.load(checkpoint, weights_only=True))
            say(f"resumed at step {training.step}")

        def report(step: int, figures: Mapping[str, float], state: Callable[[], dict[str, Any]] | None) -> None:
            losses = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            say(f"step {step} of {config.optimiser.steps}: {losses}")
            if state is not None:
                buffer = io.BytesIO()
                torch.save(state(), buffer)
                whole_file(checkpoint, buffer.getvalue())
                say(f"  held out: {_told(measured(training.averaged, config, held_out))}")

        training.run(report)
        figures = measured(training.averaged, config, held_out)
    backbone = {
        name.removeprefix("backbone."): value.detach().cpu().numpy()
        for name, value in training.averaged.items()
        if name.startswith("backbone.")
    }
    made_of = {
        "command": "make pretrain",
        "settings": config.model_dump(mode="json"),
        "threads": threads,
        "torch": torch.__version__,
        "measured": {name: round(value, 3) for name, value in figures.items()},
    }
    return EncoderFile(config.network, backbone, LICENCE, made_of)


@torch.no_grad()
def measured(
    state: Mapping[str, Tensor], config: PretrainConfig, people: Mapping[str, PretrainPeople]
) -> dict[str, float]:
    """What these weights make of people by domain: mean distance of joints within the crop (px), mean error of depth
    (mm), root mean square error of the pitch (degrees)."""
    network = PretrainNetwork(config)
    network.load_state_dict(state)
    network.eval()
    figures = {}
    for domain, some in people.items():
        parts = [
            network(crop_tensor(some.crops[start : start + _CROPS_AT_ONCE], torch.device("cpu")))
            for start in range(0, len(some), _CROPS_AT_ONCE)
        ]
        uvd = torch.cat([estimate.uvd for estimate, _ in parts]).numpy()
        pitch = torch.cat([told for _, told in parts]).numpy()
        inside = (np.abs(some.uvd[..., :2]) < 1).all(-1)
        away = np.linalg.norm((uvd - some.uvd)[..., :2], axis=-1) * config.network.image_size / 2
        kind = domain.removeprefix("pretrain-")
        figures[f"{kind}_joints_px"] = float(away[inside].mean())
        figures[f"{kind}_depth_mm"] = float(np.abs((uvd - some.uvd)[..., 2]).mean() * 1000)
        figures[f"{kind}_pitch_degrees"] = float(np.sqrt(np.square(pitch - some.pitch).mean()))
    return figures


def _told(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
