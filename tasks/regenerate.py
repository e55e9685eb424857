"""Hypotheses of a finished generation or evaluation once more, from their noise, whether their rows are there or not.

Every sample of every person has noise of its own (`infra.noise`): nothing else is needed but the policy and the crop.
To the last bit the numbers depend on the microbatch too: so all of that is drawn, of the shard as the stage cut it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from infra.shards import cut
from infra.stages import StageRecord, find, records
from infra.store import Store
from infra.tables import read
from models.bodies import Body, load_body
from models.body_arrays import BUILT_IN, body_digest
from models.diffusion import Diffusion
from schemas.config.networks import JOINTS, TWISTS
from schemas.config.stages import GenerateConfig
from schemas.errors import DataError
from schemas.ids import StageKey, split_of
from schemas.tables import matrix
from tasks.engine.numerics import fixed_numerics
from tasks.generate import HypothesisSampler, purpose_of
from tasks.rows.drawn import DRAW, can_be_made_again, drawn_for, drawn_with
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import load_instances
from tasks.rows.models import load_policy

_VECTORS = ("uvd", "twist", "betas")


@dataclass(frozen=True)
class MadeAgain:
    """A hypothesis, and what its generation says of it. Arrays as of the table `hypotheses`."""

    instance_id: str
    sample: int
    generation: StageRecord
    uvd: np.ndarray
    """(29, 3) normalised."""
    twist: np.ndarray
    """(23, 2) (cos, sin)."""
    betas: np.ndarray
    """(10,)"""
    root_depth_m: float
    row: Literal["equal", "differs", "not kept"]
    """The row of the table beside it, bit by bit."""


def generation_of(store: Store, instance_id: str, key: str = "") -> StageRecord:
    """The newest generation of this person's split, or the one whose key begins so. DataError lists those known."""
    target = str(split_of(instance_id))
    drawing = filter(can_be_made_again, records(store))
    known = [record for record in drawing if target in record.config["targets"]]
    fitting = [record for record in known if record.stage_key.startswith(key)]
    if key and len(fitting) == 1:
        return fitting[0]
    drawn = [record for record in fitting if record.stage != "evaluate"] or fitting
    if not key and drawn:
        return drawn[-1]
    listed = ", ".join(f"{record.stage_key[:12]} ({record.stage})" for record in known) or "none"
    what = f"{len(fitting)} generations of {target} begin with {key!r}" if key else f"nothing was drawn for {target}"
    raise DataError(f"In this store {what}; there are: {listed}.")


def regenerate(store: Store, record: StageRecord, instance_id: str, sample: int, body: str) -> MadeAgain:
    """The hypothesis `sample` of a person, bit by bit as the generation `record` drew it, where that was on a CPU.

    `body` is tried before the bodies that ship with the engine: root depths were fitted with one. DataError for a
    person or sample that the generation did not draw, and where no body at hand is the one that it used.
    """
    config = drawn_with(record)
    if not 0 <= sample < config.hypotheses:
        raise DataError(f"{record.stage} {record.stage_key[:12]} drew the samples 0 to {config.hypotheses - 1}.")
    people, place = _microbatch(store, record, config, instance_id)
    with fixed_numerics(int(record.config["threads"])):
        draw = sampler_of(store, record, body)
        instances = load_instances(store, record.reads, people)
        hypotheses = draw(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
    one = hypotheses.take(np.array([place])).at([sample])
    return MadeAgain(
        instance_id,
        sample,
        record,
        one.uvd[0, 0],
        one.twists[0, 0],
        one.betas[0, 0],
        float(one.root_depth[0, 0]),
        _beside(store, record.stage_key, instance_id, sample, one),
    )


def sampled_in_steps(
    store: Store, record: StageRecord, instance_id: str, sample: int, body: str
) -> list[tuple[int, Hypotheses]]:
    """What the sampler takes the person's hypothesis for after each of its steps: the timestep and the denoised pose,
    from the first step to the last, whose is the hypothesis itself but for its last digits. Arguments and errors as of
    `regenerate`.
    """
    config = drawn_with(record)
    if not 0 <= sample < config.hypotheses:
        raise DataError(f"{record.stage} {record.stage_key[:12]} drew the samples 0 to {config.hypotheses - 1}.")
    instances = load_instances(store, record.reads, [instance_id])
    draw = sampler_of(store, record, body, samples=[sample], microbatch=1)
    diffusion = draw.policy.diffusion.config
    steps = []
    for place, timestep in enumerate(diffusion.sampler_steps):
        # what a step is denoised to depends on no later one: a sampler that ends there gives just that
        first = diffusion.model_copy(update={"sampler_steps": diffusion.sampler_steps[: place + 1]})
        draw.policy.diffusion = Diffusion(first)
        made = draw(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
        steps.append((int(timestep), made))
    return steps


def body_of(record: StageRecord, named: str) -> Body:
    """The body that a generation's hypotheses were drawn with: `named`, or one that ships with the engine. DataError
    where it is neither."""
    for name in (named, *BUILT_IN):
        if body_digest(name) == record.config["body"]:
            return load_body(name)
    raise DataError(f"The hypotheses were drawn with another body than {named}: name it with --set body=PATH.")


def hypotheses_at(store: Store, generation: StageKey, ids: Sequence[str], samples: np.ndarray, body: str) -> Hypotheses:
    """Those at the `samples` (N, K) of N instances, some of which may be one: rows of the table, and what was not kept
    drawn again, to within the last digits. DataError as `regenerate`, and for rows that should be there and are not."""
    wanted = [(name, int(sample)) for name, row in zip(ids, samples, strict=True) for sample in row]
    where = pc.field("sample_index").isin(sorted({sample for _, sample in wanted}))
    columns = ["instance_id", "sample_index", *_VECTORS, "root_depth_m"]
    rows = read(store, "hypotheses", stage_keys=[generation], ids=set(ids), where=where, columns=columns)
    names = zip(rows.column("instance_id").to_pylist(), rows.column("sample_index").to_pylist(), strict=True)
    numbers = zip(*(matrix(rows, name) for name in _VECTORS), rows.column("root_depth_m").to_numpy(), strict=True)
    known = dict(zip(names, numbers, strict=True))
    absent = sorted(set(wanted) - known.keys())
    if absent:
        record = find(store, generation)
        if record is None or record.stage != DRAW:
            name, sample = absent[0]
            raise DataError(
                f"The stage {generation[:12]} holds no hypothesis {sample} of {name}: was it lost? See `adhmr repair`."
            )
        people, few = sorted({name for name, _ in absent}), sorted({sample for _, sample in absent})
        known = _drawn(store, record, people, few, body) | known
    uvd, twists, betas, depth = (np.stack(column) for column in zip(*map(known.__getitem__, wanted), strict=True))
    return Hypotheses(
        uvd.reshape(*samples.shape, JOINTS, 3),
        twists.reshape(*samples.shape, TWISTS, 2),
        betas.reshape(*samples.shape, -1),
        depth.reshape(samples.shape),
    )


def _drawn(
    store: Store, record: StageRecord, ids: Sequence[str], samples: Sequence[int], body: str
) -> dict[tuple[str, int], tuple[np.ndarray, ...]]:
    """The numbers of these samples of a draw, by instance and sample."""
    people = load_instances(store, record.reads, ids)
    draw = sampler_of(store, record, body, samples=samples)
    made = draw(people.ids, people.crops, people.crop_intrinsics, people.root_depth)
    return {
        (name, sample): (
            *(part[row, place].ravel() for part in (made.uvd, made.twists, made.betas)),
            made.root_depth[row, place],
        )
        for row, name in enumerate(people.ids)
        for place, sample in enumerate(samples)
    }


def sampler_of(
    store: Store,
    record: StageRecord,
    body: str,
    *,
    samples: Sequence[int] | None = None,
    device: str = "cpu",
    microbatch: int | None = None,
) -> HypothesisSampler:
    """What draws as the generation `record` drew, all samples or some of them; `body` as of `regenerate`."""
    config = drawn_with(record)
    return HypothesisSampler(
        load_policy(store, record.models[0]),
        config if microbatch is None else config.model_copy(update={"microbatch": microbatch}),
        body_of(record, body),
        samples=samples,
        purpose=purpose_of(record.config.get("round_seed")),
        device=device,
    )


def _microbatch(store: Store, record: StageRecord, config: GenerateConfig, instance_id: str) -> tuple[list[str], int]:
    """The people who went through the policy with this one, and its place among them."""
    shards = cut(drawn_for(store, record), config.shard_size)
    row = pc.index(shards.ids, instance_id).as_py()
    if row < 0:
        drew = f"{len(shards.ids)} people of {record.stage} {record.stage_key[:12]}"
        raise DataError(f"{instance_id} is not among the {drew}.")
    index, of_shard = divmod(row, config.shard_size)
    start, place = divmod(of_shard, config.microbatch)
    first = start * config.microbatch
    return list(shards[index].ids[first : first + config.microbatch]), place


def _beside(
    store: Store, key: StageKey, instance_id: str, sample: int, made: Hypotheses
) -> Literal["equal", "differs", "not kept"]:
    where = pc.field("sample_index") == sample
    columns = [*_VECTORS, "root_depth_m"]
    rows = read(store, "hypotheses", stage_keys=[key], ids=[instance_id], where=where, columns=columns)
    if not len(rows):
        return "not kept"
    kept = {name: matrix(rows, name)[0] for name in _VECTORS}
    again: Mapping[str, Any] = {"uvd": made.uvd, "twist": made.twists, "betas": made.betas}
    same = all(np.array_equal(kept[name], np.asarray(again[name], np.float32).ravel()) for name in kept)
    depth = rows.column("root_depth_m")[0].as_py() == float(made.root_depth[0, 0])
    return "equal" if same and depth else "differs"
