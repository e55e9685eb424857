"""The engine's own world as a user would have it: files in published forms, which a campaign file names."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from infra.store import Store
from infra.tables import read
from schemas.config.engine import EngineConfig
from schemas.ids import Target
from schemas.profiles import tiny
from schemas.splits import SYNTHETIC, WILD_TEST, WILD_TRAIN
from tasks.report.facts import RoundFacts
from tasks.report.measured import round_metrics
from tasks.report.stage import read_configuration
from tasks.rows.models import model_path
from tasks.synthesize.domains import configured_domain
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people

Data = list[dict[str, Any]]
_TABLES = {"boxes": "boxes.csv", "labels": "labels.parquet"}


def as_folders(store: Store, of: RoundFacts) -> Data:
    """What a round began with, each split a folder of pictures with a table of boxes, and one of labels."""
    data = []
    for target in SYNTHETIC:
        folder = _made(store, of, target)
        tables = {name: str(folder / file) for name, file in _TABLES.items() if (folder / file).exists()}
        body = {"body": "tiny"} if "labels" in tables else {}
        data.append(
            {"name": str(target), "format": "folder", "source": str(folder / "images"), "options": tables, **body}
        )
    return data


def in_published_forms(store: Store, of: RoundFacts, config: EngineConfig, folder: Path) -> Data:
    """The same pictures; labels as ScoreHypo's json, and the boxes of people without labels as HumanData."""
    data = []
    for target in SYNTHETIC:
        pictures = _made(store, of, target) / "images"
        names = sorted(file.name for file in pictures.iterdir())
        domain = configured_domain(config.synthesize, target.dataset)
        people = _as_written(
            true_people(len(names), domain, target.split, config.seed, config.body),
            pictures.parent / "boxes.csv",
        )
        place = folder / f"{target.dataset}-{target.split}"
        entry = {"name": str(target), "images": str(pictures)}
        if target == WILD_TRAIN:
            place.mkdir(parents=True)
            np.savez(place / "boxes.npz", **_boxes(people, names))
            data.append({**entry, "format": "humandata", "source": str(place / "boxes.npz")})
            continue

        def named(rows: list[dict[str, Any]], names: list[str] = names) -> list[dict[str, Any]]:
            return [{**row, "img_path": name} for row, name in zip(rows, names, strict=True)]

        source = write_scorehypo(people, place, "surreal", target.split, edit=named)
        data.append({**entry, "format": "scorehypo", "source": source.url, "body": "tiny"})
    return data


def as_campaign(store: Store, first: RoundFacts, data: Data, file: Path) -> None:
    """Write the campaign file `files`: these data, and policy and scorer that round `first` of a store began with."""
    campaign = {
        "profile": read_configuration(store, first, tiny()).profile,
        "campaign": "files",
        "start": {"policy": store.path(model_path(first.reference)), "scorer": store.path(model_path(first.scorer))},
        "data": data,
        "ingest": {"crop": "box"},
    }
    file.write_text(yaml.safe_dump(campaign), "utf-8")


def _made(store: Store, of: RoundFacts, target: Target) -> Path:
    """The folder of a split, as the stage `synthesize` of a round left it."""
    return Path(store.root, "synthetic", str(of.key("synthesize"))[:12], f"{target.dataset}-{target.split}")


def _as_written(people: Sequence[TruePerson], boxes: Path) -> list[TruePerson]:
    """The same people with boxes and cameras as the engine's own table has them, to two and three places."""
    with boxes.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    written = []
    for person, row in zip(people, rows, strict=True):
        box, camera = ([float(row[name]) for name in names] for names in ("xywh", ("focal_px", "focal_px", "cx", "cy")))
        written.append(replace(person, box=np.array(box), intrinsics=np.array(camera)))
    return written


def _boxes(people: Sequence[TruePerson], names: Sequence[str]) -> dict[str, Any]:
    """The members of a HumanData file of people of whom nothing is known but where they are."""
    cameras = np.stack([person.intrinsics for person in people])
    sizes = {name: [getattr(person, name) for person in people] for name in ("height", "width")}
    return {
        "image_path": np.array(names),
        "bbox_xywh": np.array([[*person.box, 1] for person in people]),
        "meta": {**sizes, "focal_length": cameras[:, :2], "principal_point": cameras[:, 2:]},
        "__data_len__": len(people),
        "__keypoints_compressed__": False,
    }


def alike(one: tuple[Store, RoundFacts], other: tuple[Store, RoundFacts]) -> tuple[float, float]:
    """How far two rounds' headlines (change of the zero-noise MPVPE on wild/test) lie apart, in percentage points; and
    the share of the first round's pairs that the other has, the same winner and the same loser."""
    changes = [round_metrics(*of)[("zero_noise_mpvpe", "change", WILD_TEST)].value for of in (one, other)]
    first, second = ({tuple(pair.values()) for pair in _pairs(*of)} for of in (one, other))
    return abs(changes[0] - changes[1]), len(first & second) / len(first)


def _pairs(store: Store, facts: RoundFacts) -> list[dict[str, Any]]:
    key = facts.key("pair")
    assert key is not None
    rows = read(store, "pairs", stage_keys=[key], columns=["instance_id", "winner", "loser"]).to_pylist()
    return [{name: row[name] for name in ("instance_id", "winner", "loser")} for row in rows]
