"""Alignment: the policy is moved towards winners and away from losers, measured against a frozen reference.

Policy and reference see the same crops, augmented alike, under the same batch-norm statistics, so that what sets their
errors apart is their weights. The anchor (the winner's own denoising error) keeps DPO from winning by making both
worse; the replay (labelled source crops) keeps what the policy knew.

Beside these is a term that is no preference objective: `encoder_distillation` is a regression. It draws the encoder's
own estimate of a crop's pose to winner + `distillation_push` * (winner - loser), a target that is made of the crop's
pairs, and with it the encoder learns of the pairs from this alone, since the gradient that reaches it through the
denoiser is mostly noise. The direction is DPO's: for a Gaussian policy around the estimate, DPO that is not saturated
has, anchored to the winners, its optimum at a push of beta / (4 * anchor). That is 8.3 at the default beta and anchor;
the default push of 1 is a choice of its own. A single such target is often worse than the estimate itself; what the
targets have in common is what the scorer knows.

An encoder that is frozen (`optimiser.encoder_learning_rate` 0) sees crops as they are or mirrored; what projects its
maps for the denoiser may be trained all the same (`optimiser.projections`).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from infra.node_cache import NodeCache
from models import hyponet
from models.condition import PoseEstimate
from models.diffusion import POSE_SIZE
from models.lora import add_low_rank
from models.objectives import DenoisingError
from models.policy import Policy
from models.preferences.comparison import Comparison
from models.preferences.table import PREFERENCES
from schemas.config.training import AlignConfig
from schemas.errors import ConfigError, named
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.engine.share import Share
from tasks.rows.crops import LabelledCrops, crop_tensor
from tasks.rows.mix import draw_rows
from tasks.rows.models import load_policy
from tasks.rows.streams import Space, training_crops
from tasks.train import moving_reference
from tasks.train.align_batch import AlignBatch, DrawnPairs
from tasks.train.augment import Augmentation
from tasks.train.checks import check_estimate
from tasks.train.data import (
    DrawnCrops,
    DrawnNoise,
    LabelledBatch,
    PolicyRecipe,
    denoising_loss,
    encode_together,
    estimate_loss,
    pose_error,
    supervised_loss,
)
from tasks.train.frozen import Keepers, Sight, freeze, projecting
from tasks.train.groups import Groups
from tasks.train.pairs import PreferencePairs, load_pairs

if TYPE_CHECKING:
    from tasks.stages.training import Align


class AlignRecipe(PolicyRecipe):
    """One of the objectives of `models.preferences.table`, beside estimate and replay. ConfigError for another."""

    config: AlignConfig

    def __init__(
        self,
        config: AlignConfig,
        policy: Policy,
        reference: Policy,
        pairs: PreferencePairs,
        replay: LabelledCrops | None,
        device: torch.device,
        features_bytes: int = 0,
        cache: NodeCache | None = None,
        average: Policy | None = None,
    ) -> None:
        """The moving average begins with `average`, if not with `policy`. `features_bytes` of memory are for what
        `keep_features` keeps, and a file of `cache` for what is more; they don't change the result."""
        if config.replays and replay is None:
            raise ConfigError(
                "Alignment replays labelled people, to keep what the policy knew: say which (--replay), or set "
                "align.replay=0."
            )
        if config.encoder_distillation or config.replays:
            check_estimate(config.losses, policy.config.condition)
        self.config, self.pairs, self.replay, self.seed = config, pairs, replay, config.seed
        self.objective = named(PREFERENCES, config.objective, "objective")
        self.groups = Groups.of(pairs) if self.objective.of_groups else None
        self.scores = pairs.known_scores()
        self.order = np.argsort(pairs.crop_row, kind="stable")
        self.paired, self.first_pair, self.pair_count = np.unique(
            pairs.crop_row[self.order], return_index=True, return_counts=True
        )
        self.chances = None if pairs.chances is None else pairs.chances.among(self.paired)
        if config.lora_rank:
            torch.manual_seed(config.seed)
            add_low_rank(policy.hyponet, config.lora_rank)
        self.model = policy.to(device).train()
        self.train_encoder = config.optimiser.encoder_learning_rate > 0
        self.projects = not self.train_encoder and config.optimiser.projections
        self.fixed = config.fixed_statistics or not self.train_encoder
        for module in self.model.modules():
            stills = isinstance(module, nn.Dropout) and not config.dropout
            if stills or (self.fixed and isinstance(module, nn.BatchNorm2d)):
                module.eval()
        self.reference = reference.to(device).eval().requires_grad_(False)
        for module in self.reference.modules():
            if not self.fixed and isinstance(module, nn.BatchNorm2d):
                module.train()
                module.momentum = 0.0  # it normalises by the batch, as the policy does, and stays as it is
        self.model.condition.requires_grad_(self.train_encoder)
        if not self.train_encoder:
            freeze(self.model, config.optimiser)
        shares = 3 if self.projects else 1
        self.kept = Keepers()
        if (config.keep_features or self.projects) and self.fixed:
            self.kept = Keepers.of(self.model, self.reference, config, pairs.crops, features_bytes // shares, cache)
        self.first_average = {} if average is None else average.state_dict()
        self.sight: Sight | None = None
        if self.projects and replay is not None:
            self.sight = Sight(self.model, replay.crops, config, features_bytes // shares, cache)

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> DrawnPairs:
        """Crops of a batch with their pairs, and those that are replayed beside them."""
        config = self.config
        chosen = draw_rows(draw, config.batch_crops, len(self.paired), self.chances)
        change = Augmentation.draw(config.augment, draw, len(chosen))
        denoised = share.places(config.denoised_crops)
        others = config.denoised_crops + share.places(config.batch_crops - config.denoised_crops)
        poses, scores, present, weight = self._compared(chosen[: config.denoised_crops], draw, denoised)
        noise = self.noise(draw, config.denoised_crops * config.pairs_per_crop, config.antithetic)
        replayed, replay_noise = None, None
        if config.replays and self.replay is not None:
            needed = self.sight is None or self.sight.needs_crops
            replayed = DrawnCrops.draw(self.replay, config.replay_images, config.augment, draw, share, crops=needed)
            replayed = replayed if self.sight is None else self.sight.fetched(replayed)
            replay_noise = self.noise(draw, config.replay_images).of(share.places(config.replay_images))
        places = np.concatenate([denoised, others])
        return DrawnPairs(
            crops=None if self.kept.policy else torch.from_numpy(self.pairs.crops[self.paired[chosen[places]]]),
            change=change.of(places),
            fetched=self.kept.fetch(self.paired[chosen[denoised]], change.of(denoised).mirrored.numpy()),
            poses=poses,
            scores=scores,
            present=present,
            weight=weight,
            noise=noise.of(share.places(len(noise.time))),
            preferred=torch.from_numpy(self.preferred(chosen[places])),
            replayed=replayed,
            replay_noise=replay_noise,
        )

    def loss(self, step: int, drawn: DrawnPairs) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Preference, anchor, estimate and replay of one batch."""
        return self.loss_of(self.batch(drawn))

    def batch(self, drawn: DrawnPairs) -> AlignBatch:
        """What was drawn, changed as it is to be."""
        change = drawn.change
        alike = change.of(slice(len(drawn.poses)))
        return AlignBatch(
            self._crops(drawn),
            alike.pose(drawn.poses).flatten(0, 2),
            alike.weight(drawn.weight).flatten(0, 1),
            drawn.noise.time,
            drawn.noise.noise,
            change.pose(drawn.preferred),
            drawn.replayed.batch() if drawn.replayed and self.sight is None else drawn.replayed,
            drawn.replay_noise.time if drawn.replay_noise else None,
            drawn.replay_noise.noise if drawn.replay_noise else None,
            *self.kept.seen(drawn.fetched),
            scores=drawn.scores.flatten(0, 1),
            present=None if drawn.present is None else drawn.present.flatten(0, 1),
        )

    def loss_of(self, batch: AlignBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of a batch, and its parts for the curves."""
        config = self.config
        context, estimate, of_replay = self._seen(batch)
        if config.encoder_distillation and self.train_encoder:
            context = hyponet.Context(*(part.detach() for part in context))
        compared = self._comparison(batch, self._errors(self.model, context, batch))
        sides = {"winner": compared.winner, "loser": compared.loser}
        figures = {name: of(compared.policy).total.mean() for name, of in sides.items()}
        loss, preference = self.objective.loss(compared, config)
        if preference is not None:
            figures |= {
                "preference": preference.loss.mean(),
                "winner_change": preference.winner_change.mean(),
                "loser_change": preference.loser_change.mean(),
                "accuracy": (preference.winner_change < preference.loser_change).float().mean(),
            }
        if config.encoder_distillation and self.train_encoder and estimate is not None:
            regression = self._estimate_preference(batch, estimate)
            loss = loss + config.encoder_distillation * regression
            figures["estimate"] = regression
        if batch.replayed is not None:
            supervised, parts = self._replay(batch, of_replay)
            loss = loss + config.replay * supervised
            figures["replay"] = parts["joints"].double() + parts["twists"]
        return loss, figures

    def _replay(
        self, batch: AlignBatch, seen: tuple[hyponet.Context, PoseEstimate] | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss on the replayed crops, of which the policy has `seen` this, unless it is kept."""
        assert batch.replay_time is not None
        assert batch.replay_noise is not None
        replayed, noise, weights = batch.replayed, (batch.replay_time, batch.replay_noise), self.config.losses
        if self.sight is not None:
            assert isinstance(replayed, DrawnCrops)
            context = self.sight.of(replayed)
            return denoising_loss(self.model, context, *replayed.poses(), DrawnNoise(*noise), weights)
        assert isinstance(replayed, LabelledBatch)
        assert seen is not None
        return supervised_loss(self.model, *seen, replayed, *noise, weights)

    def _comparison(self, batch: AlignBatch, policy: DenoisingError) -> Comparison:
        """The batch as an objective sees it."""
        config, scores, weight, sureness = self.config, batch.scores, None, None
        if scores is None:
            scores = torch.tensor([1.0, 0.0], device=batch.time.device).expand(len(batch.time), -1)
        compared = Comparison(policy, partial(self._reference_errors, batch), scores, batch.present)
        if config.timestep_power:
            share = (batch.time + 0.5) / self.model.config.diffusion.timesteps
            weight = (config.timestep_power + 1) * share**config.timestep_power
        if config.margin_sharpness:
            sureness = torch.tanh(0.5 * config.margin_sharpness * compared.margin().clamp_min(0))
        return replace(compared, weight=weight, sureness=sureness)

    @torch.no_grad()
    def _reference_errors(self, batch: AlignBatch) -> DenoisingError:
        return self._errors(self.reference, self._frozen(batch), batch)

    def _frozen(self, batch: AlignBatch) -> hyponet.Context:
        """What the reference makes of the crops whose pairs are denoised. Where the policy normalises by the batch, the
        reference does by the same batch."""
        if batch.seen_by_reference is not None:
            seen = batch.seen_by_reference
            return projecting(self.reference).project(seen) if self.projects else seen
        assert batch.crops is not None
        if self.fixed:
            return self.reference.encode(batch.crops[: self._denoised(batch)])[0]
        return _encode(self.reference, batch.crops, _changed(batch))[0][0].of(slice(self._denoised(batch)))

    def _denoised(self, batch: AlignBatch) -> int:
        """D."""
        return len(batch.time) // self.config.pairs_per_crop

    def _seen(
        self, batch: AlignBatch
    ) -> tuple[hyponet.Context, PoseEstimate | None, tuple[hyponet.Context, PoseEstimate] | None]:
        """What the policy sees of the crops whose pairs are denoised, its own estimate of all crops unless `batch.seen`
        takes their place, and both of the replayed crops."""
        if batch.seen is not None:
            if self.projects:
                return projecting(self.model).project(batch.seen), None, None
            changed = _changed(batch)
            return batch.seen, None, None if changed is None else self.model.encode(changed.crops)
        assert batch.crops is not None
        (context, estimate), of_replay = _encode(self.model, batch.crops, _changed(batch))
        return context.of(slice(self._denoised(batch))), estimate, of_replay

    def _crops(self, drawn: DrawnPairs) -> Tensor | None:
        """The crops as policy and reference see them."""
        if drawn.crops is None:
            return None
        plain = crop_tensor(drawn.crops, drawn.crops.device)
        return drawn.change.crops(plain) if self.train_encoder else drawn.change.mirror(plain)

    def _estimate_preference(self, batch: AlignBatch, estimate: PoseEstimate) -> Tensor:
        """Loss that draws the encoder's own estimate to the preferred poses."""
        uvd, twists = batch.preferred[:, :87].unflatten(1, (29, 3)), batch.preferred[:, 87:].unflatten(1, (23, 2))
        # Winners share the betas of their losers: there is nothing to be learned from them.
        weights = self.config.losses.model_copy(update={"betas": 0.0})
        assert batch.crops is not None
        return estimate_loss(estimate, LabelledBatch(batch.crops, uvd, twists, estimate.betas.detach()), weights)

    def preferred(self, crops: np.ndarray) -> np.ndarray:
        """(C, 133) for crops that have pairs: mean winner, and `distillation_push` times it less the mean loser."""
        counts = self.pair_count[crops]
        starts = np.cumsum(counts) - counts
        places = np.repeat(self.first_pair[crops] - starts, counts) + np.arange(counts.sum())
        better, worse = (
            np.add.reduceat(side[self.order[places]], starts, axis=0) / counts[:, None].astype(np.float32)
            for side in (self.pairs.winner, self.pairs.loser)
        )
        push = self.config.distillation_push if self.objective.from_losers else 0.0
        return (better + push * (better - worse)).astype(np.float32)

    def _compared(
        self, chosen: np.ndarray, draw: np.random.Generator, places: np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Of the D `places` among the chosen crops: poses (D, K, S, 133), scores (D, K, S), which hypotheses of groups
        are present, and weights (D, K, 133)."""
        pairs, each = self.pairs, self.config.pairs_per_crop
        if self.groups is None:
            rows = self._pairs_of(chosen, draw)[places]
            poses = np.stack([pairs.winner[rows], pairs.loser[rows]], axis=2)
            return torch.from_numpy(poses), torch.from_numpy(self.scores[rows]), None, self._weight(rows)
        drawn = self.groups.draw(np.repeat(chosen, each), self.config.group_size, draw)
        row, side, scores, present = (part.reshape(len(chosen), each, -1)[places] for part in drawn)
        poses = np.where(side[..., None] == 0, pairs.winner[row], pairs.loser[row])
        return torch.from_numpy(poses), torch.from_numpy(scores), torch.from_numpy(present), self._weight(row).mean(2)

    def _pairs_of(self, chosen: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """(C, K) rows of the pairs of the chosen crops: different ones where a crop has that many."""
        places = np.arange(self.config.pairs_per_crop)
        shift = draw.integers(0, self.pair_count[chosen])
        return self.order[self.first_pair[chosen, None] + (shift[:, None] + places) % self.pair_count[chosen, None]]

    def _weight(self, rows: np.ndarray) -> Tensor:
        """Weights (..., 133) of the squared errors of pairs (...)."""
        if self.pairs.weight is None:
            return torch.ones((*rows.shape, POSE_SIZE))
        return torch.from_numpy(self.pairs.weight[rows])

    def _errors(self, policy: Policy, context: hyponet.Context, batch: AlignBatch) -> DenoisingError:
        """Denoising errors (D*K, S) of the hypotheses that are compared, under the same timestep and noise."""
        count = len(batch.poses) // len(batch.time)
        clean = policy.diffusion.scale(batch.poses[:, :87], batch.poses[:, 87:])
        time, noise, weight = (part.repeat_interleave(count, dim=0) for part in (batch.time, batch.noise, batch.weight))
        dtype = torch.float64 if self.config.double_errors else None
        error = pose_error(policy, clean, time, noise, context, weight, dtype, self.objective.of_residuals)
        joints, twists = (part.unflatten(0, (-1, count)) for part in error.parts)
        return DenoisingError(joints, twists, None if error.missed is None else error.missed.unflatten(0, (-1, count)))

    def move(self) -> None:
        """A reference that follows the policy takes its step."""
        if self.config.reference_decay < 1:
            moving_reference.follow(
                self.reference, self.model, self.config.reference_decay, encoder_too=self.train_encoder
            )

    def beside(self) -> Mapping[str, Tensor]:
        """The reference, where it moves."""
        return moving_reference.kept(self.reference) if self.config.reference_decay < 1 else {}

    def put_back(self, beside: Mapping[str, Tensor]) -> None:
        """The reference as it was."""
        moving_reference.put_back(self.reference, beside)


def _changed(batch: AlignBatch) -> LabelledBatch | None:
    """The replayed crops, where an encoder has to see them in the step."""
    return batch.replayed if isinstance(batch.replayed, LabelledBatch) else None


def _encode(
    policy: Policy, crops: Tensor, replayed: LabelledBatch | None
) -> tuple[tuple[hyponet.Context, PoseEstimate], tuple[hyponet.Context, PoseEstimate] | None]:
    """What a policy's encoder makes of the crops of the pairs, and of the replayed ones."""
    if replayed is None:
        return policy.encode(crops), None
    of_pairs, of_replay = encode_together(policy, [crops, replayed.crops])
    return of_pairs, of_replay


def recipe(stage: "Align", context: Context, run: RunFolder, device: torch.device) -> AlignRecipe:
    store, space = run.store, Space.of(context.config.ray)
    run.say(0, "reading pairs")
    pairs = load_pairs(store, stage.pairs, stage.paired, space, stage.earlier)
    replay = training_crops(store, stage.labelled, space) if stage.labelled.targets else None
    policy, reference = load_policy(store, stage.policy), load_policy(store, stage.reference)
    room = context.config.ray.features_mib << 20
    average = None if stage.average is None else load_policy(store, stage.average).to(device)
    return AlignRecipe(stage.settings(context), policy, reference, pairs, replay, device, room, space.cache, average)
