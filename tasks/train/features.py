"""What a frozen encoder makes of crops, kept from step to step: it never changes, and costs most of a step.

It is kept in memory, and in a file of the machine's cache, which holds what memory does not, and from which the other
workers of this training have it, the control beside it, and the trainings of later rounds.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
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
_DIGEST_BYTES: Final = 32
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


class _Part:
    """Places of a batch of which some are kept: those, and the `missing` ones with their crops (P, S, S, 3).

    Neither a tuple nor a dataclass, whose tensors go to the device each by itself: they are stacked before.
    """

    def __init__(
        self, places: list[Place], found: dict[Place, Context], missing: list[Place], crops: np.ndarray
    ) -> None:
        self.places, self.found, self.missing, self.crops = places, found, missing, crops


@dataclass(frozen=True)
class Fetched:
    """What was kept of the crops of a batch: all of it, stacked, or a part."""

    whole: Context | None
    part: _Part | None


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
        self._digests = np.zeros((len(crops), 2, _DIGEST_BYTES), np.uint8) if cache else None
        self._lock = Lock()  # one thread fetches for the next step while another keeps what this one has made

    def fetch(self, rows: np.ndarray, mirrored: np.ndarray) -> Fetched:
        """What is kept of the crops `rows` (B,), some of them `mirrored` (B,), in the host's memory. For a thread that
        draws ahead: it computes nothing."""
        places: list[Place] = list(zip(rows.tolist(), mirrored.tolist(), strict=True))
        found = {place: self.kept[place] for place in places if place in self.kept}
        filed = self._filed([place for place in dict.fromkeys(places) if place not in found])
        self._hold(filed)
        found |= filed
        missing = [place for place in dict.fromkeys(places) if place not in found]
        if not missing:
            return Fetched(_stacked([found[place] for place in places]), None)
        return Fetched(None, _Part(places, found, missing, self._crops(missing)))

    def of(self, fetched: Fetched) -> Context:
        """The contexts of the crops that were fetched, on the device; those that weren't kept are made."""
        if fetched.part is None:
            assert fetched.whole is not None
            return _on(self.device, fetched.whole)
        part = fetched.part
        # a step since may have made some
        held = {place: self.kept[place] for place in part.missing if place in self.kept}
        left = [index for index, place in enumerate(part.missing) if place not in held]
        made = self._made([part.missing[index] for index in left], part.crops[left])
        self._hold(made)
        every = part.found | held | made
        return _on(self.device, _stacked([every[place] for place in part.places]))

    @torch.no_grad()
    def _made(self, places: list[Place], crops: np.ndarray) -> dict[Place, Context]:
        """Contexts of single crops (P, S, S, 3), in memory of the CPU."""
        made: dict[Place, Context] = {}
        for chosen, used in microbatches(len(places), _AT_ONCE):
            with in_32_bits(self.device):
                context = self.encoding.encode(crop_tensor(crops[chosen], self.device))
            context = Context(*(part.cpu() for part in context))
            for place, index in enumerate(chosen[:used].tolist()):
                made[places[index]] = Context(*(part[place].clone() for part in context))
        if self.file:
            for named, context in made.items():
                digest_of_crop = self._digest(named)
                with self._lock:
                    self.file.keep(digest_of_crop, context)
        return made

    def _filed(self, places: list[Place]) -> dict[Place, Context]:
        """Those of the contexts that the file has."""
        found: dict[Place, Context] = {}
        if self.file is None:
            return found
        for place in places:
            digest_of_crop = self._digest(place)
            with self._lock:
                context = self.file.find(digest_of_crop)
            if context is not None:
                found[place] = context
        return found

    def _hold(self, contexts: dict[Place, Context]) -> None:
        """Keep them in memory while there is room."""
        with self._lock:
            for place, context in contexts.items():
                size = sum(part.numel() * part.element_size() for part in context)
                if size <= self.left and place not in self.kept:
                    self.kept[place], self.left = context, self.left - size

    def _crops(self, places: list[Place]) -> np.ndarray:
        """(P, S, S, 3) uint8 as they are seen."""
        rows, mirrored = (np.array(column) for column in zip(*places, strict=True))
        crops = self.crops[rows]
        return np.where(mirrored[:, None, None, None], crops[:, :, ::-1], crops)

    def _digest(self, place: Place) -> bytes:
        """SHA-256 of a crop as it is seen; it is decoded for that, once."""
        assert self._digests is not None
        known = self._digests[place[0], int(place[1])]
        if not known.any():
            (crop,) = self._crops([place])
            known[:] = np.frombuffer(hashlib.sha256(crop.tobytes()).digest(), np.uint8)
        return known.tobytes()


def _stacked(contexts: list[Context]) -> Context:
    return Context(*(torch.stack(part) for part in zip(*contexts, strict=True)))


def _on(device: torch.device, context: tuple[Tensor, ...]) -> Context:
    return Context(*(part.to(device) for part in context))
