"""A small store for the tests of stages: the three synthetic domains at `micro` size, ingested; untrained models."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from models.cameras import affine_intrinsics, crop_affine, square_box
from models.checkpoints.ours import Kind
from models.hmr_scorer import HMRScorer
from models.policy import Policy
from schemas.config.engine import EngineConfig
from schemas.digests import bytes_digest
from schemas.ids import StageKey, Target, image_id, instance_id
from schemas.profiles import micro
from schemas.splits import SCORER_TRAIN, SOURCE_TEST, SOURCE_TRAIN, WILD_TEST, WILD_TRAIN, WILD_VALIDATION
from schemas.tables import build
from tasks.ingest.image.crop import cut_crop
from tasks.rows.mix import Mix
from tasks.rows.models import model_rows, save_model
from tasks.synthesize.domains import Domain, domain_named
from tasks.synthesize.picture import Picture, make_picture

CONFIG = micro()


def of(ingest: str, target: Target = SOURCE_TRAIN) -> Mix:
    """The people of one split of an ingest."""
    return Mix((StageKey(ingest),), (target,))


COUNTS = {
    SOURCE_TRAIN: CONFIG.synthesize.source_train,
    SOURCE_TEST: CONFIG.synthesize.source_test,
    SCORER_TRAIN: CONFIG.synthesize.scorer_train,
    WILD_TRAIN: CONFIG.synthesize.wild_train,
    WILD_VALIDATION: CONFIG.synthesize.wild_validation,
    WILD_TEST: CONFIG.synthesize.wild_test,
}
"""Instances of each target; all but wild/train have gt labels."""


def make_store(folder: Path, config: EngineConfig = CONFIG) -> tuple[Store, str]:
    """A store with one committed ingest stage over `COUNTS`, and that stage's key."""
    store = Store.open(folder)
    spec = StageSpec("ingest", 1, {"ingest": config.ingest, "seed": config.seed}, campaign=config.campaign)
    parts: dict[str, list[pa.Table]] = {"images": [], "instances": [], "labels": []}
    for target, count in COUNTS.items():
        domain = domain_named(target.dataset)
        for index in range(count):
            picture = make_picture(domain, target.split, index, config.seed, config.body)
            for table, rows in _rows(domain, target, index, picture, config).items():
                parts[table].append(rows)
    tables = {table: pa.concat_tables(rows) for table, rows in parts.items()}
    commit_rows(store, spec, {table: rows.drop_columns(["stage_key"]) for table, rows in tables.items()})
    return store, spec.key


def reingested(store: Store, target: Target, change: Callable[[list[dict[str, Any]]], None]) -> str:
    """Another ingest of the people of `target`, whose labels (rows of the table) were changed."""
    spec = StageSpec("ingest", 1, {"changed": change.__name__})
    tables = {}
    for name in ("images", "instances", "labels"):
        rows = read(store, name)
        kept = [row for row in rows.to_pylist() if (row["dataset"], row["split"]) == target]
        if name == "labels":
            change(kept)
        tables[name] = pa.Table.from_pylist(kept, rows.schema).drop_columns(["stage_key"])
    commit_rows(store, spec, tables)
    return spec.key


def untrained(store: Store, kind: Kind, config: EngineConfig = CONFIG, seed: int = 1) -> str:
    """Commit a policy or scorer with random weights and give its digest; equal seeds give equal models."""
    torch.manual_seed(seed)
    network = config.policy if kind == "policy" else config.scorer
    module = (Policy(config.policy) if kind == "policy" else HMRScorer(config.scorer)).eval()
    spec = StageSpec(f"untrained_{kind}", 1, {"network": network, "seed": seed}, campaign=config.campaign)
    saved = save_model(store, kind, module.state_dict(), network)
    commit_rows(store, spec, {"models": model_rows(saved, spec.key)})
    return saved.digest


def _rows(domain: Domain, target: Target, index: int, picture: Picture, config: EngineConfig) -> dict[str, pa.Table]:
    name = image_id(target.dataset, target.split, f"{index:08d}")
    size = config.ingest.crop_size_px
    square = square_box(torch.from_numpy(picture.box), config.ingest.box_padding)
    affine = crop_affine(square, size)
    camera = picture.intrinsics
    pinhole = torch.tensor([camera.fx, camera.fy, camera.cx, camera.cy], dtype=torch.float64)
    left, top, side = (float(value) for value in square[:3])
    crop = io.BytesIO()
    Image.fromarray(cut_crop(Image.fromarray(picture.image), (left, top, side), size)).save(crop, "PNG")
    where = {"dataset": target.dataset, "split": target.split, "stage_key": "not yet"}
    height, width = picture.image.shape[:2]
    tables = {
        "images": build(
            "images",
            {
                "image_id": [name],
                "key": f"{index:08d}",
                "uri": f"nowhere/{name}",
                "width_px": width,
                "height_px": height,
                "content_sha256": bytes_digest(picture.image.tobytes()),
                **where,
            },
        ),
        "instances": build(
            "instances",
            {
                "instance_id": [instance_id(name, 0)],
                "image_id": name,
                "person": 0,
                "box_xywh": picture.box[None],
                "crop": [crop.getvalue()],
                "crop_size_px": size,
                "crop_intrinsics": affine_intrinsics(pinhole, affine).numpy()[None],
                "crop_affine": affine.reshape(1, 6).numpy(),
                "crop_rule": "box",
                "image_intrinsics": pinhole.numpy()[None],
                "intrinsics_source": "given",
                **where,
            },
        ),
    }
    if domain.labelled(target.split):
        label = picture.label
        tables["labels"] = build(
            "labels",
            {
                "instance_id": [instance_id(name, 0)],
                "label_set": "gt",
                "label_kind": "gt",
                "body_model": "smpl",
                "body_digest": load_body(config.body).digest,
                "gender": label.gender,
                "global_orient": label.global_orient[None],
                "body_pose": label.body_pose[None],
                "betas": label.betas[None],
                "transl": label.transl[None],
                "joints": label.joints.reshape(1, 87),
                "joints_valid": np.ones((1, 29), dtype=bool),
                "twist": label.twist.reshape(1, 46),
                **where,
            },
        )
    return tables
