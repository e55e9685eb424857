"""Invented pairs: as rows of the table, and as a JSON file with the published fields."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from schemas.ids import image_id, instance_id
from schemas.tables import build, matrix

SIDES = ("winner", "loser")
WANTED = [f"{side}_{what}" for side in SIDES for what in ("uvd", "twist")]


class InventedPairs:
    """The same pairs in both forms, in `folder`."""

    def __init__(self, folder: Path, count: int, draw: np.random.Generator) -> None:
        self.store, self.spec = Store.open(folder / "pairs"), StageSpec("invented_pairs", 1, {})
        self.file, self.count = folder / "pairs.json", count
        sides = {side: poses(draw, count) for side in SIDES}
        columns = {
            "pair_set": self.spec.key,
            "instance_id": names(count),
            "generation_id": "invented",
            "winner": 1,
            "loser": 2,
        }
        about = {"strategy": "invented", "dataset": "invented", "round": 1, "stage_key": self.spec.key}
        commit_rows(self.store, self.spec, {"pairs": build("pairs", {**columns, **payload(sides), **about})})
        # six digits: all 17 of a double would make the file longer than anybody's
        texts = {side: [part.astype(np.float64).round(6).tolist() for part in both] for side, both in sides.items()}
        affine = draw.standard_normal((2, 2, 3)).round(6).tolist()
        entries = [
            {
                "img_path": f"images/{row:08d}.jpg",
                "img_idx": row,
                "w_joints": texts["winner"][0][row],
                "l_joints": texts["loser"][0][row],
                "w_twist": texts["winner"][1][row],
                "l_twist": texts["loser"][1][row],
                "trans": affine[0],
                "trans_inv": affine[1],
            }
            for row in range(count)
        ]
        self.file.write_text(json.dumps(entries), encoding="utf-8")

    def from_table(self) -> list[np.ndarray]:
        """Joints and twists of winners, then of losers."""
        rows = read(self.store, "pairs", stage_keys=[self.spec.key], columns=["instance_id", *WANTED])
        return [matrix(rows, name) for name in WANTED]

    def from_json(self) -> list[np.ndarray]:
        """The same."""
        found = json.loads(self.file.read_text(encoding="utf-8"))
        fields = ("w_joints", "w_twist", "l_joints", "l_twist")
        return [np.array([entry[name] for entry in found], np.float32) for name in fields]


def poses(draw: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints (..., 29, 3) and unit twists (..., 23, 2)."""
    uvd = draw.uniform(-0.6, 0.6, (*shape, 29, 3)).astype(np.float32)
    angle = draw.uniform(-np.pi, np.pi, (*shape, 23)).astype(np.float32)
    return uvd, np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def payload(sides: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """The columns of the table that hold winners and losers."""
    made = {}
    for side, (uvd, twists) in sides.items():
        made |= {f"{side}_uvd": uvd.reshape(len(uvd), -1), f"{side}_twist": twists.reshape(len(uvd), -1)}
        made[f"{side}_betas"] = np.zeros((len(uvd), 10), np.float32)
    return made


def names(count: int) -> Sequence[str]:
    """Instances, by their ids."""
    return [instance_id(image_id("invented", "train", f"{index:08d}"), 0) for index in range(count)]
