"""The work of an ingest of hypotheses that are bodies: each is posed, checked, and seen in the crop of its person.

Each body has a camera of its own, and its person another, perhaps (that of another model, say). Where joints lie in the
picture, and how far behind the root, is kept; the root's depth is the one at which the person's camera sees the body as
large as its own does.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from infra.shards import Shard
from infra.stages import Failure
from infra.standing import read_standing
from models.bodies import load_body
from models.cameras import affine_intrinsics, crop_affine, uvd_from_camera
from models.skeleton import BETAS
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.worker import ModelWorker
from tasks.ingest.hypotheses.bodies_plan import refusal_of
from tasks.ingest.image.leakage import Apart, Pictures
from tasks.ingest.people.annotations import ANNOTATIONS, AnnotationSource
from tasks.ingest.people.person_rows import Person, image_row, instance_rows, rows_of, see, uri_of
from tasks.ingest.people.posed import Bodies, Posed
from tasks.ingest.people.row_checks import check_label
from tasks.ingest.plan.rows import rows_matrix, units_of
from tasks.ingest.source.folder import Folder, RefusedError
from tasks.rows.hypotheses import Hypotheses, Sampled, hypotheses_table
from tasks.rows.instances import of_target

Unit = Mapping[str, Any]
GIVEN = "given"
"""Where cameras and root depths are from: the table."""
_COLUMNS = ("instance_id", "box_xywh", "crop_size_px", "crop_affine", "image_intrinsics")
_NOT_OF_BODIES = dict.fromkeys(ANNOTATIONS.names)
"""What rows of bodies leave out, for what looks at all columns."""


class _Seen(NamedTuple):
    """A person's box, their camera in the picture, and the map from there to their crop."""

    box: tuple[float, float, float, float]
    camera: NDArray[np.float64]
    """(4,) fx, fy, cx, cy."""
    middle: tuple[float, float]
    """The principal point of cameras that give none."""
    affine: NDArray[np.float64]
    """(2, 3)."""
    crop_px: int
    person: Person | None
    """The row of `instances`; None of people who are in the store."""


class BodiesWorker(ModelWorker):
    """Makes the rows of a shard's people."""

    def __init__(
        self,
        context: Context,
        plan: str,
        source: AnnotationSource,
        people: tuple[StageKey, ...],
        elsewhere: pa.Table | None,
        bodies: Bodies,
        count: int,
        generation: StageKey,
    ) -> None:
        """`plan` is its folder, `people` the ingest of those whom the table names; without one, `source.images` has
        their pictures. `count` is M."""
        super().__init__(context)
        self.plan, self.source, self.config, self.people = plan, source, context.config.ingest, people
        self.bodies, self.count, self.generation = bodies, count, generation
        self.own_body = load_body(context.config.body).digest
        self.pictures = (
            None
            if source.images is None
            else Pictures(Folder(source.images, source.follow_links), self.config.max_pixels, Apart(elsewhere))
        )

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by person and sample."""
        units: Sequence[Unit] = units_of(self.store, self.plan, shard)
        stored = self._stored([unit["id"] for unit in units]) if self.people else {}
        posed = self._posed(units)
        images: list[dict[str, Any]] = []
        good: list[tuple[Unit, _Seen, Hypotheses]] = []
        failures: list[Failure] = []
        for unit in units:
            try:
                if unit["reason"] is not None:
                    raise RefusedError(unit["reason"], unit["detail"] or "")
                seen = stored[unit["id"]] if self.people else self._seen(unit, images)
                good.append((unit, seen, self._hypotheses(unit, seen, posed[unit["id"]])))
            except RefusedError as refusal:
                failures.append(Failure(unit["id"], refusal.reason, refusal.detail))
        tables = {"images": rows_of("images", images)}
        if not self.people:
            tables["instances"] = instance_rows(
                [seen.person for _, seen, _ in good if seen.person], self.config.crop_size_px
            )
        if good:
            tables["hypotheses"] = self._rows([unit for unit, _, _ in good], [samples for _, _, samples in good])
        return ShardOutput(tables, failures, ok=len(good))

    def _posed(self, units: Sequence[Unit]) -> dict[str, list[Posed | RefusedError]]:
        """The bodies of each person who has a plan."""
        usable = [unit for unit in units if unit["reason"] is None]
        rows = [{**_NOT_OF_BODIES, **body} for unit in usable for body in unit["bodies"]]
        posed = self.bodies.pose(rows)
        return {unit["id"]: posed[at * self.count : (at + 1) * self.count] for at, unit in enumerate(usable)}

    def _seen(self, unit: Unit, images: list[dict[str, Any]]) -> _Seen:
        """A person in their picture, which gets its row where they are its first."""
        assert self.pictures is not None
        photograph, code = self.pictures(unit["key"])
        if unit["first"]:
            uri = uri_of(self.store, self.pictures.folder, unit["key"])
            images.append(image_row(self.source, unit["key"], uri, photograph.size, photograph.sha256, code))
        first = {**_NOT_OF_BODIES, **unit["bodies"][0], **unit, "crop_rule": "box", "source_digest": None}
        person = see(first, self.source, photograph, None, self.config)
        width, height = photograph.size
        affine = crop_affine(torch.from_numpy(person.square), self.config.crop_size_px).numpy()
        camera = np.array(person.intrinsics)
        return _Seen(person.box, camera, (width / 2, height / 2), affine, self.config.crop_size_px, person)

    def _stored(self, ids: Sequence[str]) -> dict[str, _Seen]:
        """The people of an ingest, by their ids."""
        where = of_target(self.source.target)
        rows = read_standing(self.store, "instances", self.people, ids=ids, where=where, columns=_COLUMNS)
        boxes, cameras = (rows_matrix(rows, name, (4,)).astype(np.float64) for name in ("box_xywh", "image_intrinsics"))
        affine = rows_matrix(rows, "crop_affine", (2, 3)).astype(np.float64)
        return {
            name: _Seen(
                tuple(boxes[at].tolist()), cameras[at], (cameras[at][2], cameras[at][3]), affine[at], size, None
            )
            for at, (name, size) in enumerate(
                zip(*(rows.column(name).to_pylist() for name in ("instance_id", "crop_size_px")), strict=True)
            )
        }

    def _hypotheses(self, unit: Unit, seen: _Seen, posed: Sequence[Posed | RefusedError]) -> Hypotheses:
        """The hypotheses (1, M) of a person. RefusedError, which names the rows, where a body can't be right."""
        cameras = np.array([_camera(body, seen) for body in unit["bodies"]])
        bad: list[tuple[str, str, str]] = []
        whole: list[Posed] = []
        for row, body, camera in zip(unit["bodies"], posed, cameras, strict=True):
            try:
                if isinstance(body, RefusedError):
                    raise body
                where = (tuple(camera.tolist()), GIVEN)
                check_label({**_NOT_OF_BODIES, **row, "box": seen.box}, body.joints, True, None, where, self.config)
                whole.append(body)
            except RefusedError as refusal:
                bad.append((row["origin"], refusal.reason, refusal.detail))
        if bad:
            raise refusal_of(bad, self.count)
        joints = torch.from_numpy(np.stack([body.joints for body in whole]).astype(np.float64))
        affine = torch.from_numpy(np.repeat(seen.affine[None], self.count, 0))
        uvd, depth = uvd_from_camera(joints, affine_intrinsics(torch.from_numpy(cameras), affine), seen.crop_px)
        as_large = np.sqrt(seen.camera[:2].prod() / cameras[:, :2].prod(1))
        # of another body, betas mean another shape
        betas = [
            row["betas"] if body.digest == self.own_body else [0.0] * BETAS
            for row, body in zip(unit["bodies"], whole, strict=True)
        ]
        twists = np.stack([body.twist for body in whole])
        return Hypotheses(
            uvd.numpy().astype(np.float32)[None],
            twists[None],
            np.array(betas, np.float32)[None],
            (depth.numpy() * as_large)[None],
        )

    def _rows(self, units: Sequence[Unit], each: Sequence[Hypotheses]) -> pa.Table:
        parts = (
            np.concatenate([getattr(one, name) for one in each]) for name in ("uvd", "twists", "betas", "root_depth")
        )
        dataset, split = ([name] * len(units) for name in self.source.target)
        named = Sampled([unit["id"] for unit in units], dataset, split, np.full(len(units), np.nan))
        more = {
            "source": [body["source"] for unit in units for body in unit["bodies"]],
            "root_depth_source": GIVEN,
        }
        rows = np.arange(len(units))
        return hypotheses_table(
            self.generation, named, Hypotheses(*parts), range(self.count), self.partition, rows, more
        )


def _camera(body: Mapping[str, Any], seen: _Seen) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of a body; what it leaves out is the person's."""
    fx = seen.camera[0] if body["fx"] is None else body["fx"]
    fy = (seen.camera[1] if body["fx"] is None else fx) if body["fy"] is None else body["fy"]
    cx, cy = (seen.middle[at] if body[name] is None else body[name] for at, name in enumerate(("cx", "cy")))
    return float(fx), float(fy), float(cx), float(cy)
