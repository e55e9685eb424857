"""Checkpoints: our own (weights and a manifest), and those that the published code reads and writes."""

from models.checkpoints.export import Progress, not_published, published_content, write_published
from models.checkpoints.fitting import compare, load_into
from models.checkpoints.folder import read_folder, read_ours, write_folder
from models.checkpoints.loading import (
    Loaded,
    averaged,
    load_hmr_scorer,
    load_policy,
    load_scorehypo,
    start_condition,
    start_encoder,
    warm_start,
)
from models.checkpoints.opening import open_policy, open_scorer, scorer_config, vit_kind
from models.checkpoints.ours import Checkpoint, Kind, digest_of, from_bytes, policy_of, scorer_of, to_bytes
from models.checkpoints.published import TITLES, PublishedFile, Weights, read_published, recognise
from models.checkpoints.torch_file import read_torch

__all__ = [
    "TITLES",
    "Checkpoint",
    "Kind",
    "Loaded",
    "Progress",
    "PublishedFile",
    "Weights",
    "averaged",
    "compare",
    "digest_of",
    "from_bytes",
    "load_hmr_scorer",
    "load_into",
    "load_policy",
    "load_scorehypo",
    "not_published",
    "open_policy",
    "open_scorer",
    "policy_of",
    "published_content",
    "read_folder",
    "read_ours",
    "read_published",
    "read_torch",
    "recognise",
    "scorer_config",
    "scorer_of",
    "start_condition",
    "start_encoder",
    "to_bytes",
    "vit_kind",
    "warm_start",
    "write_folder",
    "write_published",
]
