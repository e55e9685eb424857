"""The child that draws and samples: `python -m flows.browse.painter STORE BODY ROOT_SOLVER`. It alone loads torch.

A request names a person, and a generation (the key of a stage) with a sample, or a label: sample -1 of the stage that
wrote it, or of no stage for what the person was ingested with.
"""

import io
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.browse.child import Answer, serve
from infra.stages import StageRecord, find
from infra.standing import newest_of_each, seen_by
from infra.store import Store
from models.bodies import Body, load_body
from models.kinematics import Root
from schemas.errors import DataError
from schemas.ids import StageKey, split_of
from schemas.tables import LABEL_AS_SAMPLE
from tasks.regenerate import body_of, hypotheses_at, regenerate, sampled_in_steps
from tasks.report.pictures.overlays import LABEL_COLOUR, POLICY_COLOUR, label_meshes
from tasks.report.pictures.photographs import draw_over, photographs
from tasks.report.pictures.winners import LOSER_COLOUR, WINNER_COLOUR
from tasks.rows.drawn import DRAW, can_be_made_again, drawn_with
from tasks.rows.hypotheses import Hypotheses, StoredHypotheses, read_hypotheses
from tasks.rows.instances import Instances, load_instances

COLOURS: Final = {"policy": POLICY_COLOUR, "label": LABEL_COLOUR, "winner": WINNER_COLOUR, "loser": LOSER_COLOUR}
_QUALITY: Final = 88
_KEPT: Final = 64
Mesh = NDArray[np.float32]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Seen:
    """A person as pages show one: the arrays, and the photograph."""

    people: Instances
    photo: NDArray[np.uint8]


class Painter:
    """Draws what requests name, of one store."""

    def __init__(self, store: Store, body: str, root: Root) -> None:
        self.store, self.named, self.root = store, body, root
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._does: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "photo": self.photo,
            "overlay": self.overlay,
            "mesh": self.mesh,
            "again": self.again,
            "steps": self.steps,
        }

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        return self._does[request["do"]](request)

    def photo(self, request: Mapping[str, Any]) -> Answer:
        """The person's crop, as sharp as the picture has it."""
        return _jpeg(self._seen(request).photo)

    def overlay(self, request: Mapping[str, Any]) -> Answer:
        """A body over the photograph."""
        return self._drawn(request, self._mesh(request), COLOURS[request["colour"]])

    def mesh(self, request: Mapping[str, Any]) -> Answer:
        """Two counts V and F (uint32), then vertices (V, 3) float32 in metres of the camera frame, then faces (F, 3)
        uint32; little-endian. `about` has the camera of the crop."""
        vertices, people = self._mesh(request), self._seen(request).people
        faces = self._body(request).faces.numpy().astype("<u4")
        counts = np.array([len(vertices), len(faces)], "<u4")
        data = counts.tobytes() + vertices.astype("<f4").tobytes() + faces.tobytes()
        camera = [float(value) for value in people.crop_intrinsics[0]]
        return Answer("application/octet-stream", data, {"camera": camera, "size": people.crop_size})

    def again(self, request: Mapping[str, Any]) -> Answer:
        """The hypothesis made once more from its noise, over the photograph; `about` says what its row says to that."""
        record, sample = self._generation(request), int(request["sample"])
        made = regenerate(self.store, record, request["person"], sample, self.named)
        hypotheses = Hypotheses(made.uvd[None, None], made.twist[None, None], made.betas[None, None], _one(made))
        mesh = self._posed(request, hypotheses)
        answer = self._drawn(request, mesh, POLICY_COLOUR)
        about = {"row": made.row, "device": record.device, "root_depth_m": made.root_depth_m}
        return Answer(answer.kind, answer.data, about)

    def steps(self, request: Mapping[str, Any]) -> Answer:
        """What the sampler took the body for after the step `step`; `about` has the timesteps of all of them."""
        record = self._generation(request)
        named = (request["person"], record.stage_key, int(request["sample"]))
        make = partial(sampled_in_steps, self.store, record, named[0], named[2], self.named)
        steps = self._once(("steps", *named), make)
        chosen = min(max(int(request["step"]), 0), len(steps) - 1)
        answer = self._drawn(request, self._posed(request, steps[chosen][1]), POLICY_COLOUR)
        return Answer(answer.kind, answer.data, {"timesteps": [timestep for timestep, _ in steps]})

    def _drawn(self, request: Mapping[str, Any], mesh: Mesh, colour: tuple[float, float, float]) -> Answer:
        seen = self._seen(request)
        return _jpeg(draw_over(seen.photo, seen.people, 0, self._body(request), colour, mesh))

    def _mesh(self, request: Mapping[str, Any]) -> Mesh:
        """(V, 3) metres, camera frame."""
        sample = int(request["sample"])
        if sample == LABEL_AS_SAMPLE:
            of_ingests = request["person"], request.get("generation"), *self._ingests(request)
            return self._once(("label", *of_ingests), partial(self._label, request))
        make = partial(self._stored, request, sample)
        return self._once(("mesh", request["person"], request["generation"], sample), make)

    def _stored(self, request: Mapping[str, Any], sample: int) -> Mesh:
        record, person = self._record(request), request["person"]
        stored = self._once(("stored", person, record.stage_key), partial(self._hypotheses, record, person))
        place = np.flatnonzero(stored.samples == sample)
        if not place.size:
            listed = ", ".join(map(str, stored.samples.tolist()))
            raise DataError(f"Sample {sample} is not in the store; there are: {listed}. It may be made again.")
        return self._posed(request, stored.hypotheses.at(place))

    def _hypotheses(self, record: StageRecord, person: str) -> StoredHypotheses:
        """All that a stage has of a person; those that a draw has not kept are drawn again, together."""
        if record.stage != DRAW:
            return read_hypotheses(self.store, record.stage_key, [person])
        samples = np.arange(drawn_with(record).hypotheses)
        drawn = hypotheses_at(self.store, record.stage_key, [person], samples[None], self.named)
        return StoredHypotheses((person,), (str(split_of(person)),), samples, drawn)

    def _posed(self, request: Mapping[str, Any], hypotheses: Hypotheses) -> Mesh:
        people = self._seen(request).people
        posed = hypotheses.bodies(self._body(request), people, np.array([0]), self.root)
        mesh: Mesh = posed.camera_vertices[0].numpy()
        return mesh

    def _label(self, request: Mapping[str, Any]) -> Mesh:
        person, key = request["person"], request.get("generation")
        people = self._seen(request).people
        if key and (record := find(self.store, key)) is not None and record.rows.get("labels"):
            people = load_instances(self.store, record.reads, [person], [record.stage_key])
        meshes = label_meshes(people, self._body(request))
        if person not in meshes:
            raise DataError(f"No label of a body is known for {person}.")
        return meshes[person]

    def _seen(self, request: Mapping[str, Any]) -> Seen:
        named = request["person"], self._ingests(request)
        return self._once(("seen", *named), partial(self._look, *named))

    def _ingests(self, request: Mapping[str, Any]) -> tuple[StageKey, ...]:
        """Those that a generation has seen; without one, the newest of now."""
        person, generation = request["person"], request.get("generation")
        if generation:
            return tuple(seen_by(self._record(request)))
        return tuple(StageKey(key) for key in newest_of_each(self.store, split_of(person)))

    def _look(self, person: str, ingests: Sequence[StageKey]) -> Seen:
        if not ingests:
            raise DataError(f"Nobody of {split_of(person)} is in the store.")
        people = load_instances(self.store, ingests, [person])
        # whoever made the store would learn who looks at it, and when
        return Seen(people, photographs(self.store, ingests, people, other_hosts=False)[0])

    def _generation(self, request: Mapping[str, Any]) -> StageRecord:
        record = self._record(request)
        if not can_be_made_again(record):
            name = f"{record.stage} {record.stage_key[:12]}"
            raise DataError(f"{name} has hypotheses that no policy of this store drew as they are.")
        return record

    def _record(self, request: Mapping[str, Any]) -> StageRecord:
        record = find(self.store, str(request.get("generation")))
        if record is None:
            raise DataError(f"There is no finished stage {str(request.get('generation'))[:12]}.")
        return record

    def _body(self, request: Mapping[str, Any]) -> Body:
        record = find(self.store, str(request.get("generation")))
        if record is not None and isinstance(record.config.get("body"), str):
            return self._once(("body", record.config["body"]), partial(body_of, record, self.named))
        return _named_body(self.named)

    def _once(self, name: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What `make` gives; of the last _KEPT it is kept."""
        if name not in self._kept:
            self._kept[name] = make()
        self._kept.move_to_end(name)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        kept: Made = self._kept[name]
        return kept


@lru_cache(maxsize=1)
def _named_body(name: str) -> Body:
    return load_body(name)


def _one(made: Any) -> NDArray[np.float64]:
    return np.array([[made.root_depth_m]])


def _jpeg(picture: NDArray[np.uint8]) -> Answer:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY)
    return Answer("image/jpeg", buffer.getvalue())


def main(url: str, body: str, root: str) -> None:
    """Answer until nobody asks any more."""
    import torch

    torch.set_num_threads(1)
    solver: Root = "published" if root == "published" else "procrustes"
    serve(Painter(Store.open(url, create=False), body, solver))


if __name__ == "__main__":
    main(*sys.argv[1:])
