"""Alignment: the policy is moved towards winners and away from losers, measured against a frozen reference.

The anchor (the winner's own denoising error) keeps DPO from winning by making both worse; the replay (labelled source
crops) keeps what the policy knew. The policy sees augmented crops; a frozen encoder, such as the reference's, sees them
as they are, mirrored where the policy's are.

The gradient that reaches the image encoder through the denoiser is mostly noise. With `estimate` the encoder learns of
the pairs through its own estimate instead: for a Gaussian policy around the estimate, anchored to the winners, DPO that
is not saturated has its optimum at winner + push * (winner - loser), and that is where the estimate is drawn. A single
such target is often worse than the estimate itself; what they have in common is what the scorer knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.condition import PoseEstimate
from models.hyponet import Context
from models.objectives import DenoisingError, denoising_error, dpo, edm_weight
from models.policy import Policy
from schemas.config.training import AlignConfig
from tasks.training.augment import Augmentation
from tasks.training.base import policy_groups
from tasks.training.data import (
    LabelledBatch,
    LabelledCrops,
    check_estimate,
    crop_tensor,
    encode_together,
    estimate_loss,
    supervised_loss_of,
    timesteps,
    unit_noise,
)


@dataclass(frozen=True)
class PreferencePairs:
    """P pairs over N crops."""

    crops: np.ndarray
    """(N, S, S, 3) uint8."""
    crop_row: np.ndarray
    """(P,) which crop a pair belongs to."""
    winner: np.ndarray
    """(P, 133): 87 normalised uvd, 46 twists."""
    loser: np.ndarray
    """(P, 133) likewise."""

    def __len__(self) -> int:
        return len(self.crop_row)


class AlignRecipe:
    """Anchored DPO, plain DPO, or supervised training on winners."""

    def __init__(
        self,
        config: AlignConfig,
        policy: Policy,
        reference: Policy,
        pairs: PreferencePairs,
        replay: LabelledCrops,
        device: torch.device,
    ) -> None:
        if config.estimate or (config.replay and config.replay_images):
            check_estimate(config.losses, policy.config.condition)
        self.config, self.pairs, self.replay, self.device, self.seed = config, pairs, replay, device, config.seed
        self.order = np.argsort(pairs.crop_row, kind="stable")
        self.paired, self.first_pair, self.pair_count = np.unique(
            pairs.crop_row[self.order], return_index=True, return_counts=True
        )
        self.preferred = self._preferred()
        self.model: Policy = policy.to(device).train()
        self.train_encoder = config.optimiser.encoder_learning_rate > 0
        fixed = config.fixed_statistics or not self.train_encoder
        for module in self.model.modules():
            if isinstance(module, nn.Dropout) or (fixed and isinstance(module, nn.BatchNorm2d)):
                module.eval()
        self.reference = reference.to(device).eval().requires_grad_(False)
        self.model.condition.requires_grad_(self.train_encoder)

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and denoiser."""
        return policy_groups(self.model)

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Preference, anchor and replay of one batch."""
        config = self.config
        chosen = draw.choice(len(self.paired), config.batch_crops, replace=len(self.paired) < config.batch_crops)
        change = Augmentation.draw(config.augment, draw, len(chosen), self.device)
        plain = crop_tensor(self.pairs.crops[self.paired[chosen]], self.device)
        crops = change.crops(plain) if self.train_encoder else change.mirror(plain)
        denoised = slice(config.denoised_crops)
        poses = self._poses(self._pairs_of(chosen[denoised], draw), change.of(denoised))
        time, noise = self._noise(draw, config.denoised_crops * config.pairs_per_crop, config.antithetic)
        replayed = self._replayed(draw) if config.replay and config.replay_images else None
        (context, estimate), known = self._encode(crops, replayed)
        context = Context(*(part[denoised] for part in context))
        if config.estimate:
            context = Context(*(part.detach() for part in context))
        winner, loser = self._errors(self.model, context, poses, time, noise)
        figures = {"winner": winner.total.mean().item(), "loser": loser.total.mean().item()}
        loss = torch.zeros((), device=self.device)
        if config.objective != "sft":
            with torch.no_grad():
                frozen, _ = self.reference.encode(change.of(denoised).mirror(plain[denoised]))
                reference_winner, reference_loser = self._errors(self.reference, frozen, poses, time, noise)
            preference = dpo(winner, loser, reference_winner, reference_loser, config.beta)
            loss = loss + preference.loss.mean()
            figures |= {
                "preference": preference.loss.mean().item(),
                "winner_change": preference.winner_change.mean().item(),
                "loser_change": preference.loser_change.mean().item(),
                "accuracy": (preference.winner_change < preference.loser_change).float().mean().item(),
            }
        if config.objective == "anchored_dpo":
            loss = loss + config.anchor * winner.total.mean()
        elif config.objective == "sft":
            loss = loss + winner.total.mean()
        if config.estimate and self.train_encoder:
            drawn = self._estimate_preference(crops, estimate, chosen, change)
            loss = loss + config.estimate * drawn
            figures["estimate"] = drawn.item()
        if replayed is not None and known is not None:
            time, noise = self._noise(draw, len(replayed.crops))
            supervised, parts = supervised_loss_of(self.model, *known, replayed, time, noise, config.losses)
            loss = loss + config.replay * supervised
            figures["replay"] = parts["joints"] + parts["twists"]
        return loss, figures

    def _estimate_preference(
        self, crops: Tensor, estimate: PoseEstimate, chosen: np.ndarray, change: Augmentation
    ) -> Tensor:
        """Loss that draws the encoder's own estimate to where anchored DPO has its optimum."""
        uvd = change.uvd(torch.from_numpy(self.preferred[chosen, :87]).to(self.device).unflatten(1, (29, 3)))
        twists = change.twists(torch.from_numpy(self.preferred[chosen, 87:]).to(self.device).unflatten(1, (23, 2)))
        # Winners share the betas of their losers: there is nothing to be learned from them.
        weights = self.config.losses.model_copy(update={"betas": 0.0})
        return estimate_loss(estimate, LabelledBatch(crops, uvd, twists, estimate.betas.detach()), weights)

    def _preferred(self) -> np.ndarray:
        """(C, 133) for each crop that has pairs: mean winner, and `estimate_push` times mean winner less mean loser."""
        count = self.pair_count[:, None].astype(np.float32)
        better, worse = (
            np.add.reduceat(side[self.order], self.first_pair, axis=0) / count
            for side in (self.pairs.winner, self.pairs.loser)
        )
        push = 0.0 if self.config.objective == "sft" else self.config.estimate_push
        return (better + push * (better - worse)).astype(np.float32)

    def _pairs_of(self, chosen: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """(C, K) rows of the pairs of the chosen crops: different ones where a crop has that many."""
        places = np.arange(self.config.pairs_per_crop)
        shift = draw.integers(0, self.pair_count[chosen])
        return self.order[self.first_pair[chosen, None] + (shift[:, None] + places) % self.pair_count[chosen, None]]

    def _poses(self, rows: np.ndarray, change: Augmentation) -> Tensor:
        """Winners and losers of pairs (C, K) in turn, crop by crop, changed with their crops: (C*K*2, 133)."""
        both = torch.from_numpy(np.stack([self.pairs.winner[rows], self.pairs.loser[rows]], axis=2)).to(self.device)
        uvd = change.uvd(both[..., :87].unflatten(-1, (29, 3)))
        twists = change.twists(both[..., 87:].unflatten(-1, (23, 2)))
        return torch.cat([uvd.flatten(3), twists.flatten(3)], dim=-1).flatten(0, 2)

    def _errors(
        self, policy: Policy, context: Context, poses: Tensor, time: Tensor, noise: Tensor
    ) -> tuple[DenoisingError, DenoisingError]:
        """Denoising errors of winners and losers under the same timestep and noise."""
        diffusion = policy.diffusion
        clean = diffusion.scale(poses[:, :87], poses[:, 87:])
        time, noise = time.repeat_interleave(2), noise.repeat_interleave(2, dim=0)
        denoised = diffusion.denoise(policy.hyponet, diffusion.add_noise(clean, time, noise), time, context)
        if diffusion.config.parameterisation == "edm":
            weight = edm_weight(diffusion.sigma(time), diffusion.config.sigma_data)
            error = denoising_error(denoised.pose, clean, weight)
        else:
            error = denoising_error(denoised.noise, noise)
        winner, loser = (DenoisingError(error.joints[side::2], error.twists[side::2]) for side in range(2))
        return winner, loser

    def _noise(self, draw: np.random.Generator, count: int, antithetic: bool = False) -> tuple[Tensor, Tensor]:
        time = timesteps(draw, count, self.model.config.diffusion.timesteps, antithetic).to(self.device)
        return time, unit_noise(draw, count).to(self.device)

    def _replayed(self, draw: np.random.Generator) -> LabelledBatch:
        config = self.config
        rows = draw.choice(len(self.replay), config.replay_images, replace=len(self.replay) < config.replay_images)
        change = Augmentation.draw(config.augment, draw, len(rows), self.device)
        return self.replay.batch(rows, self.device).augmented(change)

    def _encode(
        self, crops: Tensor, replayed: LabelledBatch | None
    ) -> tuple[tuple[Context, PoseEstimate], tuple[Context, PoseEstimate] | None]:
        """What the encoder makes of the crops of the pairs, and of the replayed ones."""
        if replayed is None:
            return self.model.encode(crops), None
        of_pairs, of_replay = encode_together(self.model, [crops, replayed.crops])
        return of_pairs, of_replay
