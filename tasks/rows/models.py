"""Models in the store: `checkpoints/<digest>.safetensors`, and rows of `models` that say where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from infra.log_repair import put_aside
from infra.repair import Finding
from infra.stages import find, now
from infra.store import Store
from infra.tables import read
from schemas import digests
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.digests import canonical_json
from schemas.errors import DamagedError, DataError, EngineError, StoreError
from schemas.ids import ModelDigest, StageKey
from schemas.tables import build

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoints.ours import Checkpoint, Kind
    from models.hmr_scorer import HMRScorer
    from models.policy import Policy

_CURE = (
    "Put the file back from a copy of the store. Else `adhmr repair` puts it aside, and the next run trains the model "
    "again, or `adhmr import` imports it again."
)


@dataclass(frozen=True)
class SavedModel:
    """A model whose file is in the store, and whose row is not yet committed."""

    digest: ModelDigest
    kind: str
    uri: str
    parents: tuple[ModelDigest, ...]
    config_digest: str
    config_json: str


def save_model(
    store: Store,
    kind: Kind,
    state: Mapping[str, Tensor],
    config: BaseModel,
    parents: Sequence[ModelDigest] = (),
    metrics: Mapping[str, float] | None = None,
) -> SavedModel:
    """Write a model's file; `model_rows` makes the row that the stage commits. DataError for weights with NaN.

    `metrics` go into the file's manifest. Saving the same weights again changes nothing, unless the file that is there
    is damaged: then this one takes its place.
    """
    from models.checkpoints.ours import digest_of, to_bytes

    data = to_bytes(kind, state, config, parents, metrics)
    digest = digest_of(state, config)
    if not store.atomic_write(model_path(digest), data, replace=False) and damage_of_model(store, digest):
        store.atomic_write(model_path(digest), data)
    return SavedModel(
        digest, kind, store.uri(model_path(digest)), tuple(parents), digests.digest(config), canonical_json(config)
    )


def model_rows(saved: SavedModel, stage_key: StageKey) -> pa.Table:
    """The row of `models`."""
    row = {**asdict(saved), "parents": list(saved.parents), "stage_key": stage_key, "created_at": now()}
    return build("models", {name: [value] for name, value in row.items()})


def model_of(store: Store, stage_key: StageKey) -> ModelDigest:
    """The digest of the model that a finished training stage made. StoreError if it made none."""
    digests = read(store, "models", stage_keys=[stage_key], columns=["digest"]).column("digest").to_pylist()
    if len(digests) != 1:
        raise StoreError(f"Stage {stage_key[:12]} has {len(digests)} models in the table models; one was expected.")
    return ModelDigest(digests[0])


def policy_used(store: Store, stage_key: StageKey) -> ModelDigest | None:
    """The policy of a generation or an evaluation: the first model that it used; None where it used none."""
    record = find(store, stage_key)
    return record.models[0] if record and record.models else None


def has_model(store: Store, digest: ModelDigest) -> bool:
    """Whether the file of the model with this digest is in the store."""
    return store.exists(model_path(digest))


def find_model(store: Store, text: str, kind: Kind | None = None) -> ModelDigest:
    """The full digest that begins with `text`. DataError that lists what there is if none or several do."""
    where = None if kind is None else pc.field("kind") == kind
    rows = read(store, "models", where=where, columns=["digest", "kind"])
    kinds = dict(zip(rows.column("digest").to_pylist(), rows.column("kind").to_pylist(), strict=True))
    matches = [digest for digest in kinds if text and digest.startswith(text)]
    if len(matches) != 1:
        listed = ", ".join(f"{digest[:12]} ({kinds[digest]})" for digest in sorted(kinds)) or "none"
        problem = f"{len(matches)} models begin" if matches else "no model begins"
        raise DataError(f"In this store {problem} with {text!r}; there are: {listed}.")
    return ModelDigest(matches[0])


def network_of(store: Store, digest: ModelDigest) -> PolicyConfig | ScorerConfig:
    """The configuration of a model's network, by the table `models`: its file is not read.

    DataError for a model that the store doesn't have.
    """
    rows = read(store, "models", where=pc.field("digest") == digest, columns=["kind", "config_json"]).to_pylist()
    if not rows:
        raise DataError(f"There is no model {digest[:12]} in {store.url}.")
    network = PolicyConfig if rows[0]["kind"] == "policy" else ScorerConfig
    return network.model_validate_json(rows[0]["config_json"])


def load_policy(store: Store, digest: ModelDigest) -> Policy:
    """The policy with this digest, in eval mode on the CPU.

    StoreError if it isn't there, if its file is damaged or holds another model; DataError if it is a scorer.
    """
    from models.checkpoints.ours import policy_of

    return policy_of(read_model(store, digest), f"Model {digest[:12]}")


def load_scorer(store: Store, digest: ModelDigest) -> HMRScorer:
    """The scorer with this digest, in eval mode on the CPU. Raises as `load_policy`."""
    from models.checkpoints.ours import scorer_of

    return scorer_of(read_model(store, digest), f"Model {digest[:12]}")


def read_model(store: Store, digest: ModelDigest) -> Checkpoint:
    """The model with this digest. StoreError where it isn't there, DamagedError where its file is not as it was."""
    from models.checkpoints.ours import from_bytes

    path = model_path(digest)
    if not has_model(store, digest):
        raise StoreError(f"There is no model {digest[:12]} in {store.url}: {store.uri(path)} is not there. {_CURE}")
    try:
        checkpoint = from_bytes(store.read_bytes(path), store.uri(path))
    except DamagedError as error:
        raise DamagedError(f"{error} {_CURE}") from error
    if checkpoint.manifest.digest != digest:
        raise DamagedError(f"{store.uri(path)} holds another model, {checkpoint.manifest.digest[:12]}. {_CURE}")
    return checkpoint


def model_path(digest: ModelDigest) -> str:
    """The file of a model, below the store's root."""
    return f"checkpoints/{digest}.safetensors"


def damage_of_model(store: Store, digest: ModelDigest) -> str:
    """What is wrong with a model's file, in one line; empty if it holds the model whose digest it is called by."""
    try:
        read_model(store, digest)
    except EngineError as error:
        return str(error)
    return ""


def put_damaged_aside(store: Store, *, dry_run: bool = False) -> list[Finding]:
    """Move the files of damaged models away, so that the stages that made them see that they are gone."""
    findings = []
    for digest in sorted(set(read(store, "models", columns=["digest"]).column("digest").to_pylist())):
        problem = damage_of_model(store, digest) if has_model(store, digest) else ""
        if problem:
            if not dry_run:
                put_aside(store, model_path(digest))
            findings.append(Finding("left", problem))
    return findings
