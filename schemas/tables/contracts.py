"""The contracts themselves: per table its columns (description, unit, length), key and partitions."""

from typing import Any

import pyarrow as pa

from schemas.errors import DataError
from schemas.tables.form import TableContract

FLOAT_VECTOR = pa.list_(pa.field("element", pa.float32(), nullable=False))
BOOL_VECTOR = pa.list_(pa.field("element", pa.bool_(), nullable=False))
STRINGS = pa.list_(pa.field("element", pa.string(), nullable=False))
TIME = pa.timestamp("us", tz="UTC")

OUTSIDE_ROUNDS = 0
"""The value of a `round` column in rows that were made outside of any round (the bootstrap, say)."""
LABEL_AS_SAMPLE = -1
"""The value of `winner` in a pair whose winner is the label itself and not a sample."""


TABLES: dict[str, TableContract] = {}
"""Every table of the store, by name."""


def _table(name: str, doc: str, columns: list[pa.Field], **about: Any) -> None:
    TABLES[name] = TableContract(name, doc, pa.schema(columns), **about)


def _column(
    name: str, kind: pa.DataType, description: str, unit: str = "none", *, length: int | None = None, null: bool = False
) -> pa.Field:
    metadata = {"description": description, "unit": unit}
    if length is not None:
        metadata["length"] = str(length)
    return pa.field(name, kind, nullable=null, metadata=metadata)


def _vector(name: str, length: int, description: str, unit: str, *, null: bool = False) -> pa.Field:
    return _column(name, FLOAT_VECTOR, f"{description}; {length} numbers", unit, length=length, null=null)


def _text(name: str, description: str, *, null: bool = False) -> pa.Field:
    return _column(name, pa.string(), description, "none", null=null)


def _count(name: str, description: str, unit: str = "count", *, null: bool = False) -> pa.Field:
    return _column(name, pa.int32(), description, unit, null=null)


def _number(name: str, description: str, unit: str, *, null: bool = False) -> pa.Field:
    return _column(name, pa.float64(), description, unit, null=null)


_STAGE_KEY = _text("stage_key", "key of the stage that wrote the row")
_INSTANCE = _text("instance_id", "person in a picture: <image_id>#<person>")
_DATASET = _text("dataset", "data set, the first part of image_id")
_SPLIT = _text("split", "split of the data set: train, validation, test, ...")
_ROUND = _count("round", "round that the row was made in; 0 outside of rounds", "number")
_ROUND_OR_NULL = _count("round", "round of the campaign, where there is one", "number", null=True)
_GENERATION = _text("generation_id", "key of the stage that generated the hypotheses")
_SAMPLE = _count("sample_index", "which sample of the policy; 0 started from zero noise", "index")


def _payload(prefix: str = "") -> list[pa.Field]:
    return [
        _vector(f"{prefix}uvd", 87, "29 joints (u, v, d): u, v in [-1, 1], d = z - z(root)", "crop, crop, m"),
        _vector(f"{prefix}twist", 46, "23 twist angles as (cos, sin), row k for SMPL joint k + 1", "none"),
        _vector(f"{prefix}betas", 10, "body shape coefficients", "standard deviations"),
    ]


_table(
    "images",
    "A picture.",
    [
        _text("image_id", "<dataset>/<split>/<key>"),
        _DATASET,
        _SPLIT,
        _text("key", "name of the picture within its split"),
        _text("uri", "where the picture's file is"),
        _count("width_px", "width of the upright picture", "px"),
        _count("height_px", "height of the upright picture", "px"),
        _text("content_sha256", "SHA-256 of the file's bytes"),
        _text("perceptual_hash", "what near copies nearly share, 64 hex digits; null: not asked for", null=True),
        _STAGE_KEY,
    ],
    key=("image_id",),
    partition_by=("dataset",),
)

_table(
    "instances",
    "A person in a picture, with the crop that the models see.",
    [
        _INSTANCE,
        _text("image_id", "the picture"),
        _DATASET,
        _SPLIT,
        _count("person", "which person of the picture", "index"),
        _vector("box_xywh", 4, "box in the upright picture: left, top, width, height", "px"),
        _column("crop", pa.binary(), "square crop, an encoded image file (PNG or JPEG)"),
        _count("crop_size_px", "side of the crop", "px"),
        _vector("crop_intrinsics", 4, "pinhole camera of the crop: fx, fy, cx, cy", "crop px"),
        _vector("crop_affine", 6, "2x3 map, row by row, from picture pixels to crop pixels", "crop px"),
        _text("crop_rule", "how the crop was chosen: box or joints"),
        _vector("image_intrinsics", 4, "pinhole camera of the picture: fx, fy, cx, cy", "px"),
        _text(
            "intrinsics_source",
            "where the focal length came from: given, exif, points (fitted to key-points), diagonal",
        ),
        _text(
            "source_digest",
            "digest of the annotation and of the picture's state, by which a later ingest knows the row again",
            null=True,
        ),
        _STAGE_KEY,
    ],
    key=("instance_id",),
    partition_by=("dataset",),
)

_table(
    "labels",
    "What is known (gt) or guessed (pseudo) of an instance's body; camera frame: x right, y down, z forward.",
    [
        _INSTANCE,
        _text("label_set", "which labelling: a name, or the key of the stage that guessed"),
        _DATASET,
        _SPLIT,
        _text("label_kind", "gt (known) or pseudo (guessed)"),
        _text("body_model", "smpl or smplx; null: only joints are known, key-points of the same names", null=True),
        _text("body_digest", "digest of the body file that the parameters belong to; may be null", null=True),
        _text("gender", "neutral, female or male"),
        _vector("global_orient", 3, "root rotation, axis-angle; null as body_model", "rad", null=True),
        _vector("body_pose", 69, "23 joint rotations, axis-angle (SMPL-X: the last two 0)", "rad", null=True),
        _vector("betas", 10, "body shape coefficients", "standard deviations", null=True),
        _vector("transl", 3, "translation of the body model", "m", null=True),
        _vector("left_hand_pose", 45, "15 finger joint rotations, axis-angle", "rad", null=True),
        _vector("right_hand_pose", 45, "15 finger joint rotations, axis-angle", "rad", null=True),
        _vector("jaw_pose", 3, "jaw rotation, axis-angle", "rad", null=True),
        _vector("expression", 10, "face expression coefficients", "standard deviations", null=True),
        _vector("joints", 87, "29 joints (x, y, z) in the camera frame; zeros where not valid", "m"),
        _column("joints_valid", BOOL_VECTOR, "which of the 29 joints are known", length=29),
        _vector("twist", 46, "23 twist angles as (cos, sin), row k for SMPL joint k + 1", "none", null=True),
        _vector(
            "human36m", 51, "17 joints (x, y, z) in the camera frame, right leg first, where given", "m", null=True
        ),
        _text("placed_by", "what the place was fitted to: joints, points or box; null: it is known", null=True),
        _STAGE_KEY,
    ],
    key=("instance_id", "label_set"),
    partition_by=("dataset",),
)

_table(
    "hypotheses",
    "A sample of the policy for one instance; a round may keep few of them (hypotheses.keep).",
    [
        _GENERATION,
        _INSTANCE,
        _SAMPLE,
        _DATASET,
        _SPLIT,
        _ROUND,
        *_payload(),
        _number("root_depth_m", "depth of the root joint in the camera frame", "m"),
        _text("root_depth_source", "where that depth came from: label, bones (lengths of the skeleton), or given"),
        _text("source", "model that drew it, as an ingested table says; null: not said", null=True),
        _STAGE_KEY,
    ],
    key=("generation_id", "instance_id", "sample_index"),
    partition_by=("round",),
)

_table(
    "errors",
    "Error of a hypothesis against a label, root-relative.",
    [
        _GENERATION,
        _INSTANCE,
        _SAMPLE,
        _text("label_set", "the labelling that the error was measured against"),
        _number("mpvpe_mm", "mean distance of the vertices; null where not known", "mm", null=True),
        _number("mpjpe_mm", "mean distance of the joints; null where not known", "mm", null=True),
        _number("pa_mpjpe_mm", "mean distance of the joints after Procrustes alignment", "mm", null=True),
        _number("pa_mpvpe_mm", "mean distance of the vertices after Procrustes alignment", "mm", null=True),
        _DATASET,
        _SPLIT,
        _ROUND,
        _STAGE_KEY,
    ],
    key=("generation_id", "instance_id", "sample_index", "label_set"),
    partition_by=("round",),
)

_table(
    "scores",
    "What a scorer says of a hypothesis; higher is better.",
    [
        _GENERATION,
        _INSTANCE,
        _SAMPLE,
        _text("scorer", "digest of the scorer"),
        _number("score", "the score; higher is better", "none"),
        _number(
            "disagreement",
            "standard deviation of the score over the scorer's heads; null: it has one head, or was not asked",
            "none",
            null=True,
        ),
        _number(
            "spread_mm",
            "how far all hypotheses of the person but the zero-noise one lie apart: root mean square distance of a "
            "joint from its mean place, the pelvises laid together, averaged over the joints; null: there are none, or "
            "an older version scored them",
            "mm",
            null=True,
        ),
        _ROUND,
        _STAGE_KEY,
    ],
    key=("generation_id", "instance_id", "sample_index", "scorer"),
    partition_by=("round",),
)

_table(
    "pairs",
    "A winner and a loser for the same instance, with all that training needs.",
    [
        _text("pair_set", "key of the stage that made the pairs"),
        _INSTANCE,
        _GENERATION,
        _count("winner", "sample index of the winner; -1: the label", "index"),
        _count("loser", "sample index of the loser", "index"),
        _number("winner_score", "score of the winner; null for a label", "none", null=True),
        _number("loser_score", "score of the loser; null where no scorer was asked", "none", null=True),
        _count("winner_rank", "rank of the winner by score, 0 is best; null for a label", "index", null=True),
        _count("loser_rank", "rank of the loser by score, 0 is best", "index", null=True),
        _number("margin", "winner_score - loser_score; null where one is unknown", "none", null=True),
        _text("strategy", "how the pair was chosen"),
        *_payload("winner_"),
        *_payload("loser_"),
        _DATASET,
        _ROUND,
        _STAGE_KEY,
    ],
    key=("pair_set", "instance_id", "winner", "loser"),
    partition_by=("round",),
)

_table(
    "metrics",
    "One number of one model on one split.",
    [
        _STAGE_KEY,
        _text("name", "what was measured"),
        _text("unit", "unit of value, low and high"),
        _number("value", "the number", "see unit"),
        _number("low", "lower end of the 95 % interval", "see unit", null=True),
        _number("high", "upper end of the 95 % interval", "see unit", null=True),
        _column("n", pa.int64(), "how many instances (or pairs) it was taken over", "count"),
        _text("model", "digest of the model", null=True),
        _DATASET,
        _SPLIT,
        _text("role", "before, after, random_pairs, less_noise, change, ..."),
        _ROUND_OR_NULL,
    ],
    key=("stage_key", "name", "role", "dataset", "split"),
)

_table(
    "curves",
    "A point of a training curve.",
    [
        _STAGE_KEY,
        _text("series", "which curve: winner_loss, loser_loss, ..."),
        _count("step", "optimiser step", "steps"),
        _number("value", "value of the curve", "none"),
    ],
    key=("stage_key", "series", "step"),
)

_table(
    "failures",
    "A unit that did not make it through a stage, and why.",
    [
        _STAGE_KEY,
        _text("id", "the unit: an image_id, an instance_id, a file name"),
        _text("stage", "name of the stage"),
        _text("outcome", "failed (could not be done) or filtered (left out on purpose)"),
        _text("reason", "short reason, the same for all units that share it"),
        _text("detail", "what exactly was seen"),
        _count("attempts", "how often it was tried"),
        _text("source_digest", "digest of an ingested row that would be refused again, as in instances", null=True),
        _ROUND_OR_NULL,
    ],
    key=("stage_key", "id"),
)

_table(
    "models",
    "A checkpoint.",
    [
        _text("digest", "digest of the model's weights and configuration"),
        _text("kind", "policy or scorer"),
        _text("uri", "where the checkpoint is"),
        _column("parents", STRINGS, "digests of the models that it was trained from"),
        _text("config_digest", "digest of the configuration"),
        _text("config_json", "the configuration, canonical JSON"),
        _STAGE_KEY,
        _column("created_at", TIME, "when it was written", "UTC"),
    ],
    key=("digest",),
)

_table(
    "rounds",
    "What happened to a round, and which policy is current: the campaign's log.",
    [
        _text("campaign", "the campaign"),
        _count("round", "number of the round; 0 before the first", "number"),
        _count("sequence", "position of the event in the campaign's log", "index"),
        _text("event", "opened, closed, promoted, kept or rolled_back"),
        _text("policy", "digest of the policy that is current after the event", null=True),
        _text("previous", "digest of the policy that was current before it", null=True),
        _text("who", "user and machine"),
        _column("at", TIME, "when", "UTC"),
        _text("why", "reason, for people"),
        _text("stage_key", "stage that gave the reason (an evaluation)", null=True),
    ],
    key=("campaign", "sequence"),
    fenced=False,
)

_table(
    "reviews",
    "What a person said of a pair, or that they take it back; no row is ever changed.",
    [
        _text("review_id", "names the act, so that it is written once"),
        _text("reviewer", "who"),
        _count("sequence", "position among the rows of this reviewer; the newest that holds counts", "index"),
        _text("verdict", "accept, swap (the loser is better), reject (of no use), or withdrawn"),
        _text("pair", "digest of the pair: SHA-256 of stage_key, instance_id, winner and loser, a line each"),
        _text("stage_key", "key of the stage that made the pair (its pair_set)"),
        _count("round", "round that the pair was made in; 0 outside of rounds", "number"),
        _INSTANCE,
        _count("winner", "sample index of the pair's winner; -1: the label", "index"),
        _count("loser", "sample index of the pair's loser", "index"),
        _text("note", "in the reviewer's words"),
        _number("seconds", "how long the pair was looked at", "s", null=True),
        _column("blind", pa.bool_(), "whether it was hidden which one won"),
        _text("withdraws", "review_id of the row that this one takes back", null=True),
        _column("reviewed_at", TIME, "when it was written", "UTC"),
    ],
    key=("review_id",),
    fenced=False,
)

_table(
    "stages",
    "A finished stage: what it read, counted and wrote.",
    [
        _text("stage_key", "SHA-256 of name, version, configuration, inputs, models and seeding round"),
        _text("stage", "name of the stage"),
        _count("version", "version of the stage's meaning", "number"),
        _text("config_digest", "digest of the configuration"),
        _text("config_json", "the configuration, canonical JSON"),
        _column("reads", STRINGS, "keys of the stages whose rows it read"),
        _column("models", STRINGS, "digests of the models it used"),
        _text("campaign", "the campaign it was run for", null=True),
        _ROUND_OR_NULL,
        _column("units_in", pa.int64(), "units of work", "count"),
        _column("ok", pa.int64(), "units that made it", "count"),
        _column("filtered", pa.int64(), "units left out on purpose", "count"),
        _column("failed", pa.int64(), "units that could not be done", "count"),
        _text("tables_json", 'rows and bytes per table: {"scores": {"rows": 10, "bytes": 900}}'),
        _text("code_digest", "digest of the packages' sources"),
        _text("versions_json", "versions of python and of the libraries that matter"),
        _text("device", "what it ran on"),
        _column("started_at", TIME, "when the run that finished it began", "UTC"),
        _column("finished_at", TIME, "when it was finished", "UTC"),
        _number("seconds", "time between the two", "s"),
        _number("done_share", "of its work, what was done in that time; null: all, as far as is known", "-", null=True),
    ],
    key=("stage_key",),
    fenced=False,
)


def contract(table_name: str) -> TableContract:
    """The contract of a table; DataError that lists the known ones for an unknown name."""
    if table_name not in TABLES:
        raise DataError(f"There is no table {table_name!r}. The tables are: {', '.join(sorted(TABLES))}.")
    return TABLES[table_name]
