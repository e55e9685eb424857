"""Labels of another set, as somebody could bring them: the true bodies of wild/train with the published noise."""

from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import pyarrow as pa
import roma
import torch

from infra.noise import standard_normal
from infra.standing import newest_ingest, read_standing
from infra.store import Store
from models.bodies import load_body
from models.kinematics import twist_from_rotations
from schemas.config.engine import EngineConfig
from schemas.config.training import LabelNoiseConfig
from schemas.ids import parse_instance_id
from schemas.splits import WILD_TRAIN
from schemas.tables import build
from tasks.rows.instances import of_target
from tasks.synthesize.domains import configured_domain
from tasks.synthesize.people import CAMERA, person, stream
from tasks.synthesize.placement import place

FOREIGN: Final = "foreign"
"""Their `label_set`, and the campaign that cleans them."""
NOISE: Final = LabelNoiseConfig()


def foreign_labels(store: Store, config: EngineConfig, noise: LabelNoiseConfig = NOISE) -> pa.Table:
    """Rows of `labels` of everybody in wild/train: the bodies that their pictures were made with, with noise.

    The store has none of them; they are made again from the seed, as those who label another set see the people.
    """
    ingest = newest_ingest(store, WILD_TRAIN)
    where = of_target(WILD_TRAIN)
    names = read_standing(store, "instances", [ingest], where=where, columns=["instance_id"]).column(0).to_pylist()
    domain = configured_domain(config.synthesize, WILD_TRAIN.dataset)
    seed, split, body = config.synthesize.seed, WILD_TRAIN.split, load_body(config.body)
    theta, betas, pelvis = [], [], []
    for name in sorted(names):
        index = int(PurePosixPath(parse_instance_id(name).image.key).stem)
        who = person(domain, split, index, seed, config.body)
        stands = place(who.vertices, domain, stream(seed, domain.name, split, index, CAMERA)).transl
        theta.append(np.concatenate([who.label.global_orient, who.label.body_pose]).reshape(24, 3))
        betas.append(who.label.betas)
        pelvis.append(who.label.joints[0] + stands)
    normal = np.stack([standard_normal(seed, name, 0, (82,), "foreign label") for name in sorted(names)])
    sigma = torch.tensor([noise.root] + [noise.pose] * 23)[:, None]
    turned = roma.rotvec_to_rotmat(torch.from_numpy(normal[:, :72].reshape(-1, 24, 3)).float() * sigma)
    rotations = turned @ roma.rotvec_to_rotmat(torch.from_numpy(np.stack(theta)))
    shape = torch.from_numpy(np.stack(betas)) + noise.shape * torch.from_numpy(normal[:, 72:]).float()
    joints = body.joints(rotations, shape)
    transl = torch.from_numpy(np.stack(pelvis)).float() - joints[:, 0]
    vectors = roma.rotmat_to_rotvec(rotations).numpy()
    count = len(names)
    columns: dict[str, Any] = {
        "instance_id": sorted(names),
        "label_set": FOREIGN,
        "dataset": WILD_TRAIN.dataset,
        "split": WILD_TRAIN.split,
        "label_kind": "pseudo",
        "body_model": "smpl",
        "body_digest": body.digest,
        "gender": "neutral",
        "global_orient": vectors[:, 0],
        "body_pose": vectors[:, 1:].reshape(count, 69),
        "betas": shape.numpy(),
        "transl": transl.numpy(),
        "joints": (joints + transl[:, None]).numpy().reshape(count, 87),
        "joints_valid": np.ones((count, 29), bool),
        "twist": twist_from_rotations(rotations, body.rest_joints(shape)).numpy().reshape(count, 46),
        "stage_key": "",
    }
    return build("labels", columns).drop_columns(["stage_key"])
