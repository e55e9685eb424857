"""Commands that are run while a stage is held at a fault point, to be called in processes of their own (`nursery`)."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.run.lease import lease
from infra import rounds
from infra.store import Store
from infra.vacuum import vacuum
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tests.faults.chain import CONFIG, Walk, go, sources_of, walk_on
from tests.faults.holding import GO, HELD, at_points, hold, until

NOW = timedelta(0)


def held_walk(url: str, until_title: str, known: dict[str, str], point: str, folder: str) -> str | None:
    """Walk to a stage, held at a point until the command beside it is done."""
    hold(point, folder)
    try:
        return go(url, until_title, known)
    finally:
        Path(folder, "over").touch()


def meanwhile(folder: str, command: str, arguments: Sequence[Any]) -> Any:
    """Do a command of this module while the walk is held; what it returned."""
    until(lambda: any(Path(folder, name).exists() for name in (HELD, "over")), "nobody came to the point")
    assert Path(folder, HELD).exists(), "the walk did not come by the point"
    try:
        return globals()[command](*arguments)
    finally:
        Path(folder, GO).touch()


def swept_walk(url: str, until_title: str | None, known: dict[str, str]) -> list[str]:
    """Walk as a run does, holding its campaign, with a vacuum without grace at every point; the points."""
    points: list[str] = []

    def sweep(point: str) -> None:
        points.append(point)
        _sweep(url)

    at_points(sweep)
    with lease(Store.open(url), CONFIG.campaign, "a walk"):
        if until_title is None:
            walk_on(Walk(Store.open(url)))
        else:
            go(url, until_title, known)
    return points


def sweep(url: str) -> None:
    """A vacuum without grace."""
    _sweep(url)


def _sweep(url: str) -> None:
    vacuum(Store.open(url), grace=NOW, dry_run=False)


def roll_back(url: str) -> bool:
    """Make the campaign's first policy current."""
    store = Store.open(url)
    first = rounds.state(store, CONFIG.campaign).first_policy
    assert first is not None
    return rounds.roll_back(store, CONFIG.campaign, first, "a person wanted it")


def run_as_well(url: str, until_title: str, known: dict[str, str]) -> str | None:
    """The same walk once more."""
    return go(url, until_title, known)


def ingest(url: str) -> str:
    """What `chain` brings in later."""
    context = Walk(Store.open(url)).context
    file = str(sources_of(context.store) / "coco/annotations/person_keypoints_train2017.json")
    return IngestAnnotations(AnnotationSource("coco", file, "coco", "train")).run(context).key


def remove(url: str, pattern: str) -> list[str]:
    """Remove the files that a pattern fits, and give their names; there must be one."""
    found = sorted(path for path in Path(url).glob(pattern) if path.is_file())
    assert found, f"nothing fits {pattern}"
    for path in found:
        path.unlink()
    return [path.name for path in found]
