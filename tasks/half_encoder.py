"""Whether a policy's image encoder may compute in bfloat16: only where that leaves its zero-noise hypotheses in place.

The encoder's own estimate says where the denoiser looks, and what is lost there is not drawn anew: a compact encoder
was seen to cost 2.9 mm where its heads had 16 bits, too. So each policy is measured, on people whom the stage is about
to draw; the finding is kept in the store.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from infra import sealed
from infra.store import Store
from models.bodies import Body
from models.kinematics import Root
from schemas.digests import digest
from schemas.errors import ConfigError, DamagedError, StoreError
from schemas.ids import ModelDigest, StageKey
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import Instances, load_instances

LIMIT_MM = 0.1
"""Largest mean distance between the vertices that both precisions of the encoder give, each body about its pelvis."""
PEOPLE = 500


class ZeroNoise(Protocol):
    """Draws each instance's zero-noise hypothesis, by an encoder of either precision."""

    def zero_noise(self, people: Instances, *, half_encoder: bool) -> Hypotheses:
        """One hypothesis each."""

    def computed(self) -> Mapping[str, str]:
        """What, beside policy, crops and the encoder's precision, its last bits depend on."""


def check_half_encoder(
    draw: ZeroNoise,
    store: Store,
    ingests: Sequence[StageKey],
    ids: Sequence[str] | pa.StringArray,
    policy: ModelDigest,
    body: Body,
    root: Root,
) -> None:
    """ConfigError if bfloat16 in the encoder of `policy` moves up to 500 of the instances `ids` by more than 0.1 mm."""
    asked = some_of(ids)
    about = {
        "policy": policy,
        "body": body.digest,
        "root_solver": root,
        "people": asked,
        "ingests": list(ingests),
        **draw.computed(),
    }
    moved_mm = finding(
        store, about, "moved_mm", lambda: movement_mm(draw, load_instances(store, ingests, asked), body, root)
    )
    if not moved_mm <= LIMIT_MM:
        raise ConfigError(
            f"encoder_precision=bfloat16 would move the zero-noise hypotheses of policy {policy[:12]} by "
            f"{moved_mm:.2f} mm, the mean of {len(asked)} people, and {LIMIT_MM:g} mm are allowed. "
            "Set encoder_precision=float32; precision=bfloat16, of the denoiser, may stay."
        )


def movement_mm(draw: ZeroNoise, people: Instances, body: Body, root: Root) -> float:
    """Mean distance in mm between the vertices, about the pelvis, that the encoder's two precisions give."""
    rows = np.arange(len(people))
    full, half = (
        draw.zero_noise(people, half_encoder=half_encoder).bodies(body, people, rows, root)
        for half_encoder in (False, True)
    )
    placed = (bodies.vertices - bodies.joints[:, :1] for bodies in (full, half))
    first, second = placed
    return 1000 * float((first - second).norm(dim=-1).mean())


def some_of(ids: Sequence[str] | pa.StringArray) -> list[str]:
    """Up to 500 of the people, spread evenly over the sorted ids."""
    everybody = pa.array(ids, pa.string()).sort()
    rows = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), PEOPLE)).astype(int))
    asked: list[str] = everybody.take(rows).to_pylist()
    return asked


def finding(store: Store, about: Mapping[str, Any], name: str, measure: Callable[[], float]) -> float:
    """What an earlier check `about` the same has found, or, if there was none or its file is damaged, what this one
    does; kept under `name`."""
    file = f"precision/{digest(about)}.json"
    try:
        return float(sealed.read_json(store.read_bytes(file), store.uri(file))[name])
    except (StoreError, DamagedError):
        value = measure()
    store.atomic_write(file, sealed.sealed_json({name: value}))
    return value
