"""Alignment: the policy is moved towards winners and away from losers, measured against a frozen reference.

The anchor (the winner's own denoising error) keeps DPO from winning by making both worse; the replay (labelled source
crops) keeps what the policy knew. Batch-norm statistics are fixed, so that policy and reference see an image alike.
The policy sees augmented crops; the reference, whose features are computed once, sees them as they are, mirrored
where the policy's are.
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
    crop_tensor,
    estimate_loss,
    supervised_loss,
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
        self.config, self.pairs, self.replay, self.device, self.seed = config, pairs, replay, device, config.seed
        self.order = np.argsort(pairs.crop_row, kind="stable")
        self.paired, self.first_pair, self.pair_count = np.unique(
            pairs.crop_row[self.order], return_index=True, return_counts=True
        )
        self.model: Policy = policy.to(device).train()
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.Dropout):
                module.eval()
        self.reference = reference.to(device).eval().requires_grad_(False)
        self.reference_context = self._encode_all(self.reference)
        train_encoder = config.optimiser.encoder_learning_rate > 0
        self.model.condition.requires_grad_(train_encoder)
        self.fixed_context = None if train_encoder else self._encode_all(self.model)

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and denoiser."""
        return policy_groups(self.model)

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Preference, anchor and replay of one batch."""
        config = self.config
        chosen = draw.choice(len(self.paired), config.batch_crops, replace=len(self.paired) < config.batch_crops)
        crop_rows = torch.from_numpy(self.paired[chosen]).to(self.device)
        change = Augmentation.draw(config.augment, draw, len(chosen), self.device)
        crops = change.crops(crop_tensor(self.pairs.crops[self.paired[chosen]], self.device))
        poses = self._poses(self._pairs_of(chosen, draw), change)
        count = config.batch_crops * config.pairs_per_crop
        time = timesteps(draw, count, self.model.config.diffusion.timesteps, config.antithetic).to(self.device)
        noise = unit_noise(draw, count).to(self.device)
        context, estimate = self._context(crops, crop_rows, change)
        winner, loser = self._errors(self.model, context, poses, time, noise)
        figures = {"winner": winner.total.mean().item(), "loser": loser.total.mean().item()}
        loss = torch.zeros((), device=self.device)
        if config.objective != "sft":
            with torch.no_grad():
                known = self._known(self.reference_context, crop_rows, change)
                reference_winner, reference_loser = self._errors(self.reference, known, poses, time, noise)
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
        if config.winner_estimate and estimate is not None:
            # Winners share the betas of their losers: there is nothing to be learned from them.
            weights = config.losses.model_copy(update={"betas": 0.0})
            # The mean of a crop's winners is nearer to the truth than any one of them.
            mean = poses.view(len(chosen), config.pairs_per_crop, 2, -1)[:, :, 0].mean(1)
            uvd, twists = mean[:, :87].unflatten(1, (29, 3)), mean[:, 87:].unflatten(1, (23, 2))
            pulled = estimate_loss(estimate, LabelledBatch(crops, uvd, twists, estimate.betas.detach()), weights)
            loss = loss + config.winner_estimate * pulled
            figures["winner_estimate"] = pulled.item()
        if config.replay and config.replay_images:
            replayed, replay_figures = self._replay(draw)
            loss = loss + config.replay * replayed
            figures["replay"] = replay_figures["joints"] + replay_figures["twists"]
        return loss, figures

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

    def _replay(self, draw: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        rows = draw.choice(len(self.replay), config.replay_images, replace=len(self.replay) < config.replay_images)
        time = timesteps(draw, len(rows), self.model.config.diffusion.timesteps).to(self.device)
        noise = unit_noise(draw, len(rows)).to(self.device)
        change = Augmentation.draw(config.augment, draw, len(rows), self.device)
        batch = self.replay.batch(rows, self.device).augmented(change)
        return supervised_loss(self.model, batch, time, noise, config.losses)

    def _context(self, crops: Tensor, crop_rows: Tensor, change: Augmentation) -> tuple[Context, PoseEstimate | None]:
        if self.fixed_context is not None:
            return self._known(self.fixed_context, crop_rows, change), None
        return self.model.encode(crops)

    def _known(self, every: Context, crop_rows: Tensor, change: Augmentation) -> Context:
        """A frozen encoder's context of crops as they are, mirrored where the augmentation mirrors."""
        return every.take(crop_rows + len(self.pairs.crops) * change.mirrored)

    @torch.no_grad()
    def _encode_all(self, policy: Policy, batch: int = 64) -> Context:
        """The context of every crop, then of every mirrored crop: a frozen encoder need not run again at every step."""
        parts = []
        for mirrored in (False, True):
            for start in range(0, len(self.pairs.crops), batch):
                crops = crop_tensor(self.pairs.crops[start : start + batch], self.device)
                parts.append(policy.encode(crops.flip(3) if mirrored else crops)[0])
        return Context(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
