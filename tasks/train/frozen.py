"""Models whose image encoder is frozen: what stays as it is, what is trained all the same, and what they see."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from infra.node_cache import NodeCache
from models.condition import ConditionNetwork
from models.hyponet import Context
from models.policy import Policy
from schemas.config.optimiser import OptimiserConfig
from schemas.config.training import AlignConfig, TrainBaseConfig, TrainCleanConfig
from schemas.errors import ConfigError
from tasks.rows.crops import Crops, crop_tensor
from tasks.train.data import DrawnCrops
from tasks.train.features import Encoding, Fetched, KeptFeatures


def is_frozen(config: OptimiserConfig) -> bool:
    """Whether the image encoder stays as it is."""
    return config.encoder_learning_rate == 0


def freeze(policy: Policy, config: OptimiserConfig) -> None:
    """Fix a policy's encoder and its batch-norm statistics; the projections behind it, too, unless they are trained."""
    policy.condition.requires_grad_(False).eval()
    if config.projections:
        for parameter in projecting(policy).projections():
            parameter.requires_grad_(True)


def projecting(policy: Policy) -> ConditionNetwork:
    """The encoder of a policy that has projections of its own. ConfigError for another kind."""
    if not isinstance(policy.condition, ConditionNetwork):
        raise ConfigError(
            f"optimiser.projections is for condition.kind=compact; {policy.config.condition.kind} has none apart from "
            "its encoder: set it to False."
        )
    return policy.condition


def _backbone(policy: Policy) -> Encoding:
    """What comes before a policy's projections."""
    network = projecting(policy)
    return Encoding(network.look, network.backbone, policy.config.condition, "look")


class Keepers(NamedTuple):
    """What keeps the features that two encoders, which don't change, make of the crops of pairs."""

    policy: KeptFeatures | None = None
    reference: KeptFeatures | None = None

    @staticmethod
    def of(
        policy: Policy,
        reference: Policy,
        config: AlignConfig,
        crops: Crops,
        budget_bytes: int,
        cache: NodeCache | None = None,
    ) -> "Keepers":
        """For encoders that see a crop as it is or mirrored: the reference's, and the policy's if it is frozen; both
        are one where they are alike. Where projections are trained, what comes before them is kept. `budget_bytes` and
        `cache` as of `KeptFeatures`."""
        frozen, device = is_frozen(config.optimiser), next(policy.parameters()).device
        if not frozen and not (config.augment.only_mirrors and config.reference_decay == 1):
            return Keepers()
        projects = frozen and config.optimiser.projections
        of_policy, of_reference = (_backbone(one) if projects else Encoding.of(one) for one in (policy, reference))
        weights, referred = of_policy.frozen.state_dict(), of_reference.frozen.state_dict()
        alike = all(torch.equal(referred[name], weights[name]) for name in referred)
        count = 2 if frozen and not alike else 1

        def keeper(encoding: Encoding) -> KeptFeatures:
            return KeptFeatures(encoding, crops, device, budget_bytes // count, cache, config.optimiser.precision)

        kept = keeper(of_reference)
        if not frozen:
            return Keepers(None, kept)
        return Keepers(kept if alike else keeper(of_policy), kept)

    def fetch(self, rows: np.ndarray, mirrored: np.ndarray) -> tuple[Fetched | None, Fetched | None]:
        """What the one and the other keep of the crops `rows` (B,), some of them `mirrored` (B,); what both share is
        the reference's."""
        if self.reference is None:
            return None, None
        own = None
        if self.policy is not None and self.policy is not self.reference:
            own = self.policy.fetch(rows, mirrored)
        return own, self.reference.fetch(rows, mirrored)

    def seen(self, fetched: tuple[Fetched | None, Fetched | None]) -> tuple[Context | None, Context | None]:
        """What the policy makes of crops that were fetched, and what the reference does; what both share is one."""
        own, of_reference = fetched
        seen = self.reference.of(of_reference) if self.reference and of_reference else None
        if self.policy is self.reference:
            return seen, seen
        return self.policy.of(own) if self.policy and own else None, seen


class Sight:
    """What a policy sees of drawn crops, if of its encoder the projections alone are trained.

    What its backbone makes of them is kept where crops are mirrored at most, within `budget_bytes`, which changes no
    bit.
    """

    def __init__(
        self,
        policy: Policy,
        crops: Crops,
        config: TrainBaseConfig | AlignConfig | TrainCleanConfig,
        budget_bytes: int,
        cache: NodeCache | None = None,
    ) -> None:
        self.condition, self.kept = projecting(policy), None
        if config.augment.only_mirrors:
            device, precision = next(policy.parameters()).device, config.optimiser.precision
            self.kept = KeptFeatures(_backbone(policy), crops, device, budget_bytes, cache, precision)

    @property
    def needs_crops(self) -> bool:
        """Whether the crops themselves have to be drawn."""
        return self.kept is None

    def fetched(self, drawn: DrawnCrops) -> DrawnCrops:
        """Drawn crops with what is kept of them."""
        return drawn if self.kept is None else replace(drawn, fetched=self.kept.fetch(*drawn.kept))

    def of(self, drawn: DrawnCrops) -> Context:
        """Their context, to which gradients of the projections go; of crops that were fetched, if anything is kept."""
        if self.kept is not None:
            assert drawn.fetched is not None
            return self.condition.project(self.kept.of(drawn.fetched))
        return self.condition.project(self._looked(drawn))

    @torch.no_grad()
    def _looked(self, drawn: DrawnCrops) -> Context:
        assert drawn.crops is not None
        crops: Tensor = drawn.change.crops(crop_tensor(drawn.crops, drawn.crops.device))
        return self.condition.look(crops)
