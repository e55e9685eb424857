"""The bodies that a policy gives people: parameters, joints and vertices in the camera frame of their pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import roma
from numpy.typing import NDArray

from infra.standing import read_standing
from infra.tables import read, read_ids
from models.bodies import load_body
from schemas.ids import ModelDigest, StageKey, Target
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.rows.hypotheses import BY_SAMPLE, StoredHypotheses, generated_ids, read_hypotheses
from tasks.rows.instances import in_order, load_instances

Take = Literal["zero", "selected", "all"]
"""Which hypotheses of a person: the one from zero noise, the one with the highest score, or all of them."""
AT_ONCE = 256
"""Bodies in memory, about: their meshes are the most of it (an SMPL mesh has 80 KB)."""
_INSTANCE_COLUMNS = ("instance_id", "image_id", "person", "box_xywh", "image_intrinsics", "intrinsics_source")
_IMAGE_COLUMNS = ("image_id", "key", "width_px", "height_px", "content_sha256")


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Hypotheses of people, and what a scorer said of them: the stages whose rows say it."""

    ingests: tuple[StageKey, ...]
    generation: StageKey
    scores: StageKey | None = None
    take: Take = "zero"

    def ids(self, context: Context) -> list[str]:
        """Those who have a body: all of whom there are hypotheses, and, where scores select, scores; by name."""
        if self.take == "selected" and self.scores is not None:
            return read_ids(context.store, "scores", stage_keys=[self.scores]).to_pylist()
        return generated_ids(context.store, self.generation)


@dataclass(frozen=True, kw_only=True)
class Predicted(Drawn):
    """The same of the people of a folder, with the models."""

    target: Target
    policy: ModelDigest
    scorer: ModelDigest | None = None


@dataclass(frozen=True)
class Bodies:
    """B bodies of people of a few pictures, person by person and sample by sample."""

    ids: tuple[str, ...]
    """instance_ids; a person with several bodies is there several times."""
    samples: NDArray[np.int64]
    """(B,)"""
    scores: NDArray[np.float64]
    """(B,); NaN where no scorer was asked, or gave no number."""
    preferred: NDArray[np.bool_]
    """(B,): whether it has the highest score of all hypotheses of its person."""
    people: pa.Table
    """For each body columns of `instances` and of the picture in `images`."""
    global_orient: NDArray[np.float32]
    """(B, 3) axis-angle in the camera frame, radians."""
    body_pose: NDArray[np.float32]
    """(B, 69) axis-angle, radians."""
    betas: NDArray[np.float32]
    """(B, 10)"""
    transl: NDArray[np.float32]
    """(B, 3) metres: what smplx adds to vertices and joints."""
    joints: NDArray[np.float32]
    """(B, 29, 3) metres, of the body, in the camera frame."""
    vertices: NDArray[np.float32]
    """(B, V, 3) metres, in the camera frame."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def pictures(self) -> list[str]:
        """The picture's key of each body."""
        keys: list[str] = self.people.column("key").to_pylist()
        return keys

    @property
    def cameras(self) -> NDArray[np.float32]:
        """(B, 4) fx, fy, cx, cy of the upright pictures, pixels."""
        return matrix(self.people, "image_intrinsics")


def read_bodies(context: Context, drawn: Drawn) -> Iterator[Bodies]:
    """All bodies in the order of their names, those of a picture together; at most a picture more than AT_ONCE."""
    ids = drawn.ids(context)
    if not ids:
        return
    count = 1
    if drawn.take == "all":
        count = len(read_hypotheses(context.store, drawn.generation, ids[:1]).samples)
    batch: list[str] = []
    for place, name in enumerate(ids):
        picture_ends = place and name.rpartition("#")[0] != ids[place - 1].rpartition("#")[0]
        if picture_ends and len(batch) * count >= AT_ONCE:
            yield _bodies(context, drawn, batch)
            batch = []
        batch.append(name)
    yield _bodies(context, drawn, batch)


def _bodies(context: Context, drawn: Drawn, ids: Sequence[str]) -> Bodies:
    store = context.store
    stored = read_hypotheses(store, drawn.generation, ids)
    scores = _scores(context, drawn, stored)
    best = np.where(np.isfinite(scores).any(1), np.argmax(np.nan_to_num(scores, nan=-1.0), 1), -1)
    every = np.arange(len(stored.samples))
    chosen = {"zero": np.zeros((len(ids), 1), np.int64), "selected": best[:, None]}.get(
        drawn.take, np.tile(every, (len(ids), 1))
    )
    rows = np.arange(len(ids))[:, None]
    hypotheses = stored.hypotheses.pick(chosen)
    people = load_instances(store, drawn.ingests, stored.ids)
    recovered = hypotheses.bodies(load_body(context.config.body), people, rows[:, 0], context.config.root_solver)
    theta = roma.rotmat_to_rotvec(recovered.rotations).numpy()
    transl = (recovered.camera_joints - recovered.joints)[:, :1]
    taken = np.repeat(rows, chosen.shape[1])
    return Bodies(
        tuple(stored.ids[row] for row in taken),
        stored.samples[chosen].reshape(-1).astype(np.int64),
        scores[rows, chosen].reshape(-1),
        (chosen == best[:, None]).reshape(-1),
        _about(context, drawn, stored.ids).take(pa.array(taken)),
        theta[:, 0],
        theta[:, 1:].reshape(len(taken), -1),
        hypotheses.betas.reshape(len(taken), -1),
        transl[:, 0].numpy(),
        (recovered.joints + transl).numpy(),
        recovered.camera_vertices.numpy(),
    )


def _scores(context: Context, drawn: Drawn, stored: StoredHypotheses) -> NDArray[np.float64]:
    """(N, M), NaN where there are none."""
    scores = np.full((len(stored.ids), len(stored.samples)), np.nan)
    if drawn.scores is None:
        return scores
    columns = ["instance_id", "sample_index", "score"]
    rows = read(context.store, "scores", stage_keys=[drawn.scores], ids=stored.ids, columns=columns)
    rows = rows.sort_by(BY_SAMPLE)
    place = {name: row for row, name in enumerate(stored.ids)}
    people = np.array([place[name] for name in rows.column("instance_id").to_pylist()], np.int64)
    samples = np.searchsorted(stored.samples, rows.column("sample_index").to_numpy())
    scores[people, samples] = rows.column("score").to_numpy()
    return scores


def _about(context: Context, drawn: Drawn, ids: Sequence[str]) -> pa.Table:
    """What the tables say of people and of their pictures, in the order of `ids`."""
    store, keys = context.store, drawn.ingests
    people = in_order(read_standing(store, "instances", keys, ids=ids, columns=_INSTANCE_COLUMNS), ids)
    names = people.column("image_id").to_pylist()
    rows = read_standing(store, "images", keys, ids=set(names), columns=_IMAGE_COLUMNS)
    pictures = {row["image_id"]: row for row in rows.to_pylist()}
    for column in _IMAGE_COLUMNS[1:]:
        values: list[Any] = [pictures[name][column] for name in names]
        people = people.append_column(column, pa.array(values))
    return people
