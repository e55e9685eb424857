"""A history of 1,000 rounds costs what one of 10 does: files opened, requests to S3 and bytes; seconds are printed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infra.delta_log import CHECKPOINT_EVERY
from infra.merging import MERGED_FROM
from tests.benchmarks.history import COMMANDS, LONG, SHORT, Cost, compare, make_history, on_s3

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]
MOST = 1.3
PHASE = 2 * (CHECKPOINT_EVERY + MERGED_FROM)
"""Files by which two looks at one store differ: where it stands between two checkpoints, and two merges, of `stages`
and of `rounds`. Each is a request or two on S3."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    folder = tmp_path_factory.mktemp("history")
    return {str(count): Path(make_history(str(folder / str(count)), count).root) for count in (SHORT, LONG)}


def assert_alike(found: Mapping[str, tuple[Cost, Cost]]) -> None:
    assert set(found) == set(COMMANDS)
    wrong = []
    for command, (short, long) in found.items():
        for name, slack in (("opened", PHASE), ("requests", 2 * PHASE), ("read_bytes", 0)):
            few, many = getattr(short, name), getattr(long, name)
            if many > MOST * few + slack:
                wrong.append(f"{command}: {name} {few} and {many}")
    assert wrong == []


def test_on_s3(stores: Mapping[str, Path]) -> None:
    with on_s3(stores) as proxy:
        found = compare(*(f"s3://history/{name}" for name in stores), proxy)
    assert all(short.requests > 0 for short, _ in found.values())
    assert_alike(found)


def test_on_a_disk(stores: Mapping[str, Path]) -> None:
    found = compare(*map(str, stores.values()))
    assert all(short.opened > 0 for short, _ in found.values())
    assert_alike(found)
