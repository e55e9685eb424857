"""Room for a round: what it is known to write on the store's disk, and what its stages ask of this machine."""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from flows.run.campaign.start import Known
from infra import rounds
from schemas.errors import ConfigError, DataError, check_all
from schemas.ids import Target
from tasks.engine.context import Context
from tasks.stages.draw import kept_of_each

_HYPOTHESIS_BYTES: Final = 650
"""Of a row of `hypotheses`, which has 143 numbers that don't shrink, with its score."""
_TRAINING_BYTES: Final = 6
"""Times the bytes of a policy that a training leaves (weights, average and Adam's two in a checkpoint, the model), and
its control's model."""


class Split(NamedTuple):
    """The people of a split, as an ingest has them."""

    target: Target
    people: int
    crop_sizes: tuple[int, ...]
    embodied: int
    """Those who have a label of a body."""


def disk_has_room(context: Context, models: dict[str, Known], splits: list[Split]) -> None:
    """Whether a local store's disk has room for the least that a new round is known to write; more will come."""
    store, config = context.store, context.config
    if not store.is_local or rounds.state(store, config.campaign).is_open:
        return  # of an open round some is there
    drawn = dict.fromkeys(config.sources.targets("wild"), kept_of_each(config))
    drawn |= dict.fromkeys(config.sources.held_out, config.evaluate.generate.hypotheses)
    rows = sum(split.people * drawn.get(split.target, 0) for split in splits)
    policy = models.get("policy")
    needed = rows * _HYPOTHESIS_BYTES + (policy.bytes * _TRAINING_BYTES if policy is not None else 0)
    root = Path(store.root)
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DataError(
            f"The disk of {store.root} has {_gigabytes(free)} free, and this round writes {_gigabytes(needed)} at "
            f"least ({rows:,} hypotheses, checkpoints, models): make room, or name another store."
        )


def machine_has_resources(context: Context) -> None:
    """Whether this machine has what stages ask of Ray, where it is not on a cluster. What a cluster has it tells only
    when it is joined."""
    settings = context.config.ray
    if context.in_process or os.environ.get("RAY_ADDRESS", "local") != "local":
        return
    checks = [
        partial(_at_most, f"ray.{name}", getattr(settings, name), os.cpu_count() or 1, "CPUs")
        for name in ("cpus_per_actor", "cpus_per_trainer")
    ]
    if settings.gpus_per_actor or settings.gpus_per_trainer:
        import torch

        gpus = torch.cuda.device_count()
        checks += [
            partial(_at_most, f"ray.{name}", getattr(settings, name), gpus, "GPUs")
            for name in ("gpus_per_actor", "gpus_per_trainer")
        ]
    check_all(checks)


def _at_most(name: str, asked: float, there: int, unit: str) -> None:
    if asked > there:
        raise ConfigError(
            f"{name} is {asked:g}, and this machine has {there} {unit}: --set {name}={min(there, asked):g}, or name a "
            "cluster (RAY_ADDRESS)."
        )


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.3g} GB"
