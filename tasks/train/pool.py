"""The hypotheses that HMR-Scorer learns to order: drawn, blended and noised once before training, and measured.

On noised labels alone, the published way, a scorer learns to tell noise, not errors that a policy really makes: by
default the pool has samples of a policy, and blends of label and sample. All of these are near the person in the
picture: what is not, a scorer learns of labels of others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save

from infra.noise import generator, standard_normal_batch
from infra.store import Store
from models.diffusion import POSE_SIZE
from models.kinematics import Root
from models.policy import Policy
from models.precision import products_of
from schemas.config.training import TrainScorerConfig
from schemas.ids import StageKey
from tasks.engine.run_folder import RunFolder
from tasks.evaluation.bodies import body_of, gt_labels, kind_of
from tasks.evaluation.noised_labels import noised_label
from tasks.evaluation.scorer_errors import ScorerErrorMeter, stacked_errors
from tasks.rows.crops import crop_tensor
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import Instances, load_instances
from tasks.rows.streams import People, Space

_CROPS_AT_ONCE = 50
_PART = 40 * _CROPS_AT_ONCE
"""People of a part of a pool: as many as are decoded at once."""
_PURPOSE = "scorer noise"


@dataclass(frozen=True)
class HypothesisPool:
    """For each of N crops K hypotheses: samples of the policy, blends of label and sample, noised labels, labels of
    others, in this order."""

    uvd: np.ndarray
    """(N, K, 29, 3) normalised."""
    twists: np.ndarray
    """(N, K, 23, 2) unit (cos, sin)."""
    betas: np.ndarray
    """(N, K, 10)"""
    errors_mm: np.ndarray
    """(N, K, E) of each hypothesis the errors that the training goes by, mm."""


@dataclass(frozen=True)
class PoolMaker:
    """Makes the pool of a training. What a hypothesis is depends on seed, instance_id and its number alone; whose label
    a person gets, on who else is there."""

    store: Store
    ingests: Sequence[StageKey]
    config: TrainScorerConfig
    policy: Policy
    body: str
    """Name, file or folder of the bodies that are measured."""
    root: Root
    device: torch.device
    run: RunFolder
    by_names: bool = False
    """Of SMPL-X labels, show the joints with equal names, as the published scorer was trained."""

    def kept(self, people: Instances, file: str = "hypotheses.safetensors") -> HypothesisPool:
        """The pool of some people, made once in a run's life and kept with it in this file."""
        return HypothesisPool(**load(self.run.load_or_make(file, lambda: save(vars(self.draw(people))))))

    def in_parts(self, everybody: People, space: Space) -> HypothesisPool:
        """The pool of many people, likewise."""
        whole: dict[str, np.ndarray] = {}
        for start in range(0, len(everybody), _PART):
            ids = everybody.ids[start : start + _PART].to_pylist()
            people = load_instances(self.store, self.ingests, ids)
            for name, part in vars(self.kept(people, f"hypotheses-{start:09d}.safetensors")).items():
                if name not in whole:
                    whole[name] = space.cache.array((len(everybody), *part.shape[1:]), part.dtype)
                whole[name][start : start + len(ids)] = part
        return HypothesisPool(**whole)

    def draw(self, people: Instances) -> HypothesisPool:
        """The pool of some people."""
        parts = []
        if self.config.pool_samples:
            parts.append(self._of_policy(people))
        if self.config.pool_noised:
            parts.append(self._noised(people))
        if self.config.pool_strangers:
            parts.append(self._strangers(people))
        columns = ([getattr(part, field.name) for part in parts] for field in fields(HypothesisPool))
        return HypothesisPool(*(np.concatenate(column, axis=1) for column in columns))

    def _of_policy(self, people: Instances) -> HypothesisPool:
        """Samples and blends."""
        parts = []
        for start in range(0, len(people), _CROPS_AT_ONCE):
            rows = np.arange(start, min(start + _CROPS_AT_ONCE, len(people)))
            parts.append(with_blends(*self._samples(people, rows), people, rows, self.config))
            self.run.say(0, f"drawing hypotheses: {rows[-1] + 1} of {len(people)} people")
        names = [field.name for field in fields(Hypotheses)]
        drawn = Hypotheses(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        return self._measured(people, drawn)

    def _measured(self, people: Instances, drawn: Hypotheses) -> HypothesisPool:
        measure = ScorerErrorMeter(self.body, self.root, self.config.errors, _CROPS_AT_ONCE, self.device)
        errors = measure(people, drawn, np.arange(len(people)))
        return HypothesisPool(drawn.uvd, drawn.twists, drawn.betas, errors)

    def _strangers(self, people: Instances) -> HypothesisPool:
        """Labels of others, as they lie in those others' crops."""
        rows = strangers(people.ids, self.config.pool_strangers, self.config.seed)
        depth = np.repeat(people.root_depth[:, None], rows.shape[1], axis=1)
        return self._measured(people, Hypotheses(people.uvd[rows], people.twists[rows], people.betas[rows], depth))

    def _samples(self, people: Instances, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Uvd (B, S, 29, 3), twists (B, S, 23, 2) and betas (B, 10) of the policy's random samples."""
        ids, count = [people.ids[row] for row in rows], self.config.pool_samples
        names = [name for name in ids for _ in range(count)]
        indices = list(range(1, count + 1)) * len(ids)
        noise = standard_normal_batch(self.config.seed, names, indices, (POSE_SIZE,), purpose="scorer pool")
        with torch.no_grad(), products_of(self.config.optimiser.precision):
            context, estimate = self.policy.encode(crop_tensor(people.crops[rows], self.device))
            starts = torch.from_numpy(noise).view(len(ids), count, POSE_SIZE).to(self.device)
            uvd, twists = self.policy.sample(context, starts)
        return uvd.cpu().numpy(), twists.cpu().numpy(), estimate.betas.cpu().numpy()

    def _noised(self, people: Instances) -> HypothesisPool:
        """Noised labels, whose errors are exact; of SMPL-X labels those of SMPL-X meshes."""
        config, labels = self.config, gt_labels(self.store, self.ingests, people.ids)
        body: Callable[..., Any] = cache(partial(body_of, self.body))
        levels = [config.noise.levels[k % len(config.noise.levels)] for k in range(config.pool_noised)]
        made = []
        for row, name in enumerate(people.ids):
            hypotheses = noised_label(
                name,
                labels[name],
                body(kind_of(labels[name])),
                people.crop_intrinsics[row],
                people.crop_size,
                len(levels),
                config.seed,
                by_names=self.by_names,
                noise=config.noise,
                levels=levels,
                purpose=_PURPOSE,
            )
            made.append(hypotheses)
            if (row + 1) % _CROPS_AT_ONCE == 0 or row + 1 == len(people):
                self.run.say(0, f"noising labels: {row + 1} of {len(people)} people")
        uvd, twists, betas = (np.stack([getattr(one, part) for one in made]) for part in ("uvd", "twists", "betas"))
        return HypothesisPool(uvd, twists, betas, stacked_errors([one.errors for one in made], config.errors))


def strangers(ids: Sequence[str], count: int, seed: int) -> np.ndarray:
    """(N, count) rows of others, drawn among those who are decoded at once with a person, so that it doesn't matter how
    many there are room for. Who is alone among them gets the own label: there is no other."""
    rows = np.empty((len(ids), count), np.int64)
    for row, name in enumerate(ids):
        first = row - row % _PART
        others = min(_PART, len(ids) - first) - 1
        steps = generator(seed, name, 0, "scorer stranger").integers(1, others + 1, count) if others else 0
        rows[row] = first + (row - first + steps) % (others + 1)
    return rows


def with_blends(
    uvd: np.ndarray,
    twists: np.ndarray,
    betas: np.ndarray,
    people: Instances,
    rows: np.ndarray,
    config: TrainScorerConfig,
) -> Hypotheses:
    """The samples, and behind them `pool_blends` points on the way from a sample to the label."""
    shares = np.stack(
        [generator(config.seed, people.ids[row], 0, "scorer blend").random(config.pool_blends) for row in rows]
    ).astype(np.float32)[:, :, None, None]
    origin = np.arange(config.pool_blends) % config.pool_samples
    blended = uvd[:, origin] + shares * (people.uvd[rows, None] - uvd[:, origin])
    turned = twists[:, origin] + shares * (people.twists[rows, None] - twists[:, origin])
    turned /= np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), 1e-6)
    count = config.pool_samples + config.pool_blends
    return Hypotheses(
        np.concatenate([uvd, blended], axis=1),
        np.concatenate([twists, turned], axis=1),
        np.repeat(betas[:, None], count, axis=1),
        np.repeat(people.root_depth[rows, None], count, axis=1),
    )
