"""Each kind of commit by itself, in a store so small that hundreds of states of it can be looked at in seconds.

To be called in processes of their own (`nursery`). Each is harmless to repeat, as the engine's own steps are.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from infra import delta_log, rounds
from infra.merging import MERGED_FROM
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from models.policy import Policy
from schemas.config.networks import PolicyConfig
from schemas.tables import build
from tasks.engine.context import Context
from tasks.engine.loop import Figures, figure
from tasks.engine.training import train_stage
from tasks.engine.training_worker import RunFolder
from tests.infra import helpers
from tests.tasks.micro import CONFIG

CAMPAIGN, BASE = "c", "base"
_OPTIMISER = CONFIG.train_base.optimiser.model_copy(update={"steps": 6, "checkpoint_every": 2, "report_every": 2})


def prepare(url: str) -> None:
    """A campaign with a round that promoted a policy and one that is open, and rows of a stage."""
    store = Store.open(url)
    helpers.run(store, "earlier")
    rounds.begin(store, CAMPAIGN, BASE)
    rounds.open_round(store, CAMPAIGN, 1)
    rounds.promote(store, CAMPAIGN, 1, "policy-1", "its gates hold")
    rounds.close_round(store, CAMPAIGN, 1)
    rounds.open_round(store, CAMPAIGN, 2)


def prepare_long(url: str) -> None:
    """The same, with so many rows of `stages` that the next one has its files merged."""
    prepare(url)
    store = Store.open(url)
    for number in range(2, MERGED_FROM):
        _numbers(store, number)


def stage_rows(url: str) -> None:
    """Shards with receipts, rows of two fenced tables, and the row of `stages`."""
    helpers.run(Store.open(url), "toy")


def round_kept(url: str) -> None:
    """A round ends without a promotion."""
    rounds.keep(Store.open(url), CAMPAIGN, 2, "drift")


def round_promoted(url: str) -> None:
    """A round ends with a promotion."""
    rounds.promote(Store.open(url), CAMPAIGN, 2, "policy-2", "its gates hold")


def round_closed(url: str) -> None:
    """A round is closed."""
    rounds.close_round(Store.open(url), CAMPAIGN, 2, "kept")


def next_round(url: str) -> None:
    """A round is closed, and another opened."""
    store = Store.open(url)
    rounds.close_round(store, CAMPAIGN, 2, "kept")
    rounds.open_round(store, CAMPAIGN, 3)


def rolled_back(url: str) -> None:
    """A person takes a promotion back."""
    rounds.roll_back(Store.open(url), CAMPAIGN, BASE, "complaints")


def tidied(url: str) -> None:
    """Two rows of `stages`, and what keeps the table small: with the first its files are merged, with the second its
    log gets a checkpoint and loses its old entries."""
    delta_log._KEPT = 4
    store = Store.open(url)
    for number in (MERGED_FROM, delta_log.CHECKPOINT_EVERY):
        _numbers(store, number)


def trained(url: str) -> None:
    """A training: checkpoints, the model's file, rows of `models` and `curves`."""
    store = Store.open(url)
    spec = StageSpec("train_toy", 1, _OPTIMISER)
    train_stage(
        Context(store, CONFIG, in_process=True),
        spec,
        build_toy,
        kind="policy",
        network=CONFIG.policy,
        optimiser=_OPTIMISER,
        threads=1,
    )


def build_toy(run: RunFolder, device: torch.device) -> "Toy":
    """A recipe whose steps take no time."""
    return Toy(CONFIG.policy)


class Toy:
    """Shrinks one parameter of a policy."""

    seed = 0

    def __init__(self, network: PolicyConfig) -> None:
        torch.manual_seed(0)
        self.model = Policy(network)
        self.shrunk = next(iter(self.model.hyponet.parameters()))

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {"encoder": [], "rest": [self.shrunk]}

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Figures]:
        loss = self.shrunk.square().mean() * float(draw.uniform(0.5, 1.5))
        return loss, {"size": figure(loss)}


def _numbers(store: Store, number: int) -> None:
    """A small stage with a number."""
    spec = StageSpec("numbers", 1, {"number": number})
    rows = {"stage_key": [spec.key], "series": ["size"], "step": [0], "value": [float(number)]}
    commit_rows(store, spec, {"curves": build("curves", rows)})


COMMITS: dict[str, tuple[Callable[[str], None], Callable[[str], None]]] = {
    work.__name__: (ground, work)
    for ground, work in (
        (prepare, stage_rows),
        (prepare, round_kept),
        (prepare, round_promoted),
        (prepare, round_closed),
        (prepare, next_round),
        (prepare, rolled_back),
        (prepare, trained),
        (prepare_long, tidied),
    )
}
"""What each commit needs, and the commit."""
