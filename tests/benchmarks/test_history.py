"""A history of 1,000 rounds costs what one of 10 does: files opened, requests to S3 and bytes; seconds are printed.

Bytes are all that the process takes. What the store alone gives must grow, as every transaction outlives each
checkpoint and `adhmr rounds` tells of all rounds: from 0.1 to 0.3 MB to 0.4 to 1.5 MB at 1,200 rounds.
"""

from collections.abc import Mapping

import pytest

from tests.benchmarks.history import COMMANDS, LONG, SHORT, Cost, History, compare, on_s3

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]
MOST = 1.3


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> tuple[History, History]:
    folder = tmp_path_factory.mktemp("history")
    return History.make(str(folder / "short"), SHORT), History.make(str(folder / "long"), LONG)


def assert_alike(found: Mapping[str, tuple[Cost, Cost]], *counts: str) -> None:
    assert set(found) == set(COMMANDS)
    wrong = []
    for command, (short, long) in found.items():
        for name in counts:
            few, many = getattr(short, name), getattr(long, name)
            assert few > 0
            if many > MOST * few:
                wrong.append(f"{command}: {name} {few:.1f} and {many:.1f}")
    assert wrong == []


def test_on_s3(histories: tuple[History, History]) -> None:
    with on_s3() as mirror:
        found = compare(*histories, mirror)
    assert_alike(found, "requests", "taken_mb")


def test_on_a_disk(histories: tuple[History, History]) -> None:
    assert_alike(compare(*histories), "opened", "taken_mb")
