"""What a frozen encoder makes of crops, kept from step to step: it never changes, and costs most of a step.

It is kept in memory, and in a file of the machine's cache, which holds what memory does not, and from which the other
workers of this training have it, the control beside it, and the trainings of later rounds.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from infra.node_cache import NodeCache
from infra.record_file import RecordFile
from models.hyponet import Context
from models.policy import Policy
from models.precision import in_32_bits
from schemas.config.base import Precision
from schemas.config.networks import ConditionConfig
from schemas.digests import digest, state_digest
from tasks.engine.worker import microbatches
from tasks.rows.crops import Crops, crop_tensor

Place = tuple[int, bool]
"""Row of a crop, and whether it is mirrored."""
_AT_ONCE: Final = 8
"""Crops of one pass: always as many, so that a crop's features don't depend on the step that asked for them first."""


@dataclass(frozen=True)
class Encoding:
    """What makes features of crops, and does not change."""

    encode: Callable[[Tensor], Context]
    """Crops (B, 3, S, S) in [-1, 1] -> what is kept of them, in the form of a context."""
    frozen: nn.Module
    """Whose weights decide what that is."""
    config: ConditionConfig
    what: str = "context"
    """What is made of it, if there are several things."""

    @staticmethod
    def of(policy: Policy) -> "Encoding":
        """The whole context that a policy makes."""
        return Encoding(lambda crops: policy.encode(crops)[0], policy.condition, policy.config.condition)


class FeatureFile:
    """Contexts of one encoder, of whatever crops: by the encoder's weights, and what else decides the last bits."""

    def __init__(self, cache: NodeCache, encoding: Encoding, device: torch.device, precision: Precision) -> None:
        weights = {name: value.cpu().numpy() for name, value in encoding.frozen.state_dict().items()}
        on_gpu = device.type == "cuda"
        about = {
            "what": encoding.what,
            "encoder": encoding.config,
            "weights": state_digest(weights),
            "products": precision if on_gpu and precision == "tfloat32" else "float32",
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "at_once": _AT_ONCE,
        }
        self._records = RecordFile(cache, f"features-{digest(about)[:32]}.records")

    def find(self, crop: bytes) -> Context | None:
        """What the encoder made of the crop with this digest."""
        data = self._records.get(crop)
        if data is None:
            return None
        parts = load(data)
        return Context(*(parts[name] for name in Context._fields))

    def keep(self, crop: bytes, context: Context) -> None:
        """Keep a context (of one crop, without the batch's dimension), if there is room."""
        self._records.put(crop, save({name: part.contiguous() for name, part in context._asdict().items()}))


class KeptFeatures:
    """The contexts that a policy, whose encoder is frozen, makes of crops: once each, as far as `budget_bytes` go.

    `crops` are (N, S, S, 3) uint8. What comes out does not depend on budget and `cache`, nor on what was asked before.
    """

    def __init__(
        self,
        encoding: Encoding,
        crops: Crops,
        device: torch.device,
        budget_bytes: int,
        cache: NodeCache | None = None,
        precision: Precision = "float32",
    ) -> None:
        """`budget_bytes` are of memory, `cache` is for the file, and `precision` is that of the training."""
        self.encoding, self.crops, self.device = encoding, crops, device
        self.kept: dict[Place, Context] = {}
        self.left = budget_bytes
        self.file = FeatureFile(cache, encoding, device, precision) if cache else None
        self._digests: dict[Place, bytes] = {}

    def of(self, rows: np.ndarray, mirrored: np.ndarray) -> Context:
        """The context of the crops `rows` (B,), some of them `mirrored` (B,)."""
        places: list[Place] = list(zip(rows.tolist(), mirrored.tolist(), strict=True))
        missing = [place for place in dict.fromkeys(places) if place not in self.kept]
        new = self._filed(missing)
        new |= self._made([place for place in missing if place not in new])
        self._hold(new)
        found = [new[place] if place in new else self.kept[place] for place in places]
        return Context(*(torch.stack(part).to(self.device) for part in zip(*found, strict=True)))

    @torch.no_grad()
    def _made(self, places: list[Place]) -> dict[Place, Context]:
        """Contexts of single crops, in memory of the CPU."""
        made: dict[Place, Context] = {}
        for chosen, used in microbatches(len(places), _AT_ONCE):
            crops = self._crops([places[place] for place in chosen])
            with in_32_bits(self.device):
                context = self.encoding.encode(crop_tensor(crops, self.device))
            context = Context(*(part.cpu() for part in context))
            for place, index in enumerate(chosen[:used].tolist()):
                made[places[index]] = Context(*(part[place].clone() for part in context))
        if self.file:
            for named, context in made.items():
                self.file.keep(self._digest(named), context)
        return made

    def _filed(self, places: list[Place]) -> dict[Place, Context]:
        """Those of the contexts that the file has."""
        found = {place: self.file.find(self._digest(place)) for place in places} if self.file else {}
        return {place: context for place, context in found.items() if context is not None}

    def _hold(self, contexts: dict[Place, Context]) -> None:
        """Keep them in memory while there is room."""
        for place, context in contexts.items():
            size = sum(part.numel() * part.element_size() for part in context)
            if size <= self.left:
                self.kept[place], self.left = context, self.left - size

    def _crops(self, places: list[Place]) -> np.ndarray:
        """(P, S, S, 3) uint8 as they are seen."""
        rows, mirrored = (np.array(column) for column in zip(*places, strict=True))
        crops = self.crops[rows]
        return np.where(mirrored[:, None, None, None], crops[:, :, ::-1], crops)

    def _digest(self, place: Place) -> bytes:
        """SHA-256 of a crop as it is seen; it is decoded for that, once."""
        if place not in self._digests:
            (crop,) = self._crops([place])
            self._digests[place] = hashlib.sha256(crop.tobytes()).digest()
        return self._digests[place]
