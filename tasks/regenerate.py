"""One hypothesis of a finished generation or evaluation once more, from its noise, whether its row is there or not.

Every sample of every person has noise of its own (`infra.noise`): nothing else is needed but the policy and the crop.
To the last bit the numbers depend on the microbatch too: so all of that is drawn, of the shard as the stage cut it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from infra.shards import cut
from infra.stages import StageRecord, records
from infra.store import Store
from infra.tables import read
from models.bodies import Body, load_body
from models.body_arrays import BUILT_IN, body_digest
from models.diffusion import Diffusion
from schemas.config.stages import GenerateConfig
from schemas.digests import canonical_json
from schemas.errors import DataError
from schemas.ids import StageKey, Target, split_of
from schemas.tables import matrix
from tasks.engine.numerics import fixed_numerics
from tasks.generate import HypothesisSampler, purpose_of
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import instance_ids, load_instances
from tasks.rows.models import load_policy
from tasks.rows.part import Part

STAGES = ("generate", "evaluate")
"""Those whose hypotheses can be made again."""


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
    known = [record for record in records(store, *STAGES) if target in record.config["targets"]]
    fitting = [record for record in known if record.stage_key.startswith(key)]
    if key and len(fitting) == 1:
        return fitting[0]
    drawn = [record for record in fitting if record.stage == "generate"] or fitting
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
    config = GenerateConfig.model_validate_json(canonical_json(record.config["generate"]))
    if not 0 <= sample < config.hypotheses:
        raise DataError(f"{record.stage} {record.stage_key[:12]} drew the samples 0 to {config.hypotheses - 1}.")
    people, place = _microbatch(store, record, config, instance_id)
    with fixed_numerics(int(record.config["threads"])):
        draw = _sampler(store, record, config, body)
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
    config = GenerateConfig.model_validate_json(canonical_json(record.config["generate"]))
    if not 0 <= sample < config.hypotheses:
        raise DataError(f"{record.stage} {record.stage_key[:12]} drew the samples 0 to {config.hypotheses - 1}.")
    instances = load_instances(store, record.reads, [instance_id])
    draw = _sampler(store, record, config.model_copy(update={"microbatch": 1}), body, [sample])
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


def _sampler(
    store: Store, record: StageRecord, config: GenerateConfig, body: str, samples: Sequence[int] | None = None
) -> HypothesisSampler:
    """What the generation drew with: all of its samples, or these."""
    temperature = config.noise_temperature * record.config.get("temperature", 1.0)
    return HypothesisSampler(
        load_policy(store, record.models[0]),
        config.model_copy(update={"noise_temperature": temperature}),
        body_of(record, body),
        samples=samples,
        purpose=purpose_of(record.config.get("round_seed")),
    )


def _microbatch(store: Store, record: StageRecord, config: GenerateConfig, instance_id: str) -> tuple[list[str], int]:
    """The people who went through the policy with this one, and its place among them."""
    targets = [Target(*text.split("/", 1)) for text in record.config["targets"]]
    part = record.config.get("part")
    ids = instance_ids(store, record.reads, targets, None if part is None else Part(*part))
    for shard in cut(ids, config.shard_size):
        if instance_id in shard.ids:
            start, place = divmod(shard.ids.index(instance_id), config.microbatch)
            first = start * config.microbatch
            return list(shard.ids[first : first + config.microbatch]), place
    raise DataError(f"{instance_id} is not among the {len(ids)} people of {record.stage} {record.stage_key[:12]}.")


def _beside(
    store: Store, key: StageKey, instance_id: str, sample: int, made: Hypotheses
) -> Literal["equal", "differs", "not kept"]:
    where = (pc.field("instance_id") == instance_id) & (pc.field("sample_index") == sample)
    columns = ["uvd", "twist", "betas", "root_depth_m"]
    rows = read(store, "hypotheses", stage_keys=[key], where=where, columns=columns)
    if not len(rows):
        return "not kept"
    kept = {name: matrix(rows, name)[0] for name in columns[:3]}
    again: Mapping[str, Any] = {"uvd": made.uvd, "twist": made.twists, "betas": made.betas}
    same = all(np.array_equal(kept[name], np.asarray(again[name], np.float32).ravel()) for name in kept)
    depth = rows.column("root_depth_m")[0].as_py() == float(made.root_depth[0, 0])
    return "equal" if same and depth else "differs"
