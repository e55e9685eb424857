"""What a step of alignment draws, and what it learns from."""

from dataclasses import dataclass

from torch import Tensor

from models import hyponet
from tasks.train.augment import Augmentation
from tasks.train.data import DrawnCrops, DrawnNoise, LabelledBatch
from tasks.train.features import Fetched


@dataclass(frozen=True)
class DrawnPairs:
    """What was drawn for a step, as it is in the data: C crops, of whose first D the K pairs each are denoised.

    For objectives of groups, K groups of S hypotheses take the place of K pairs, of which S is 2.
    """

    crops: Tensor | None
    """(C, S, S, 3) uint8; None where all that is asked of them is kept."""
    change: Augmentation
    """Of the crops, and of what belongs to them."""
    fetched: tuple[Fetched | None, Fetched | None]
    """What is kept of the first D crops: of the policy, and of the reference."""
    poses: Tensor
    """(D, K, S, 133) winner and loser of each pair; the hypotheses of a group from the best to the worst."""
    scores: Tensor
    """(D, K, S)"""
    present: Tensor | None
    """(D, K, S) which hypotheses of groups there are."""
    weight: Tensor
    """(D, K, 133)"""
    noise: DrawnNoise
    """D*K, shared by winner and loser."""
    preferred: Tensor
    """(C, 133) where the encoder's own estimate is drawn."""
    replayed: DrawnCrops | None
    replay_noise: DrawnNoise | None


@dataclass(frozen=True)
class AlignBatch:
    """What a step learns from: C crops, of whose first D the K pairs each are denoised."""

    crops: Tensor | None
    """(C, 3, S, S) in [-1, 1], as policy and reference both see them; None where `seen` takes their place."""
    poses: Tensor
    """(D*K*S, 133) winner and loser of each pair in turn, or the hypotheses of each group, crop by crop."""
    weight: Tensor
    """(D*K, 133) of the pairs' squared errors."""
    time: Tensor
    """(D*K,) timesteps, shared by winner and loser."""
    noise: Tensor
    """(D*K, 133) unit noise, shared likewise."""
    preferred: Tensor
    """(C, 133) where the encoder's own estimate is drawn."""
    replayed: LabelledBatch | DrawnCrops | None = None
    """R labelled crops: changed, or as they were drawn, where the policy's encoder is frozen but for projections."""
    replay_time: Tensor | None = None
    """(R,)"""
    replay_noise: Tensor | None = None
    """(R, 133)"""
    seen: hyponet.Context | None = None
    """What the policy's encoder, which is frozen, makes of the first D crops, where that is kept; what comes before
    its projections, where those are trained."""
    seen_by_reference: hyponet.Context | None = None
    """What the reference's makes of them, likewise."""
    scores: Tensor | None = None
    """(D*K, S); None: 1 of winners, 0 of losers."""
    present: Tensor | None = None
    """(D*K, S) which hypotheses of groups there are; None: all."""
