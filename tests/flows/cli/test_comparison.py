"""compare: what its words name, what it refuses, and what it prints; on the store of the release before."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner, Result

from flows.cli.comparison import compare
from flows.cli.main import app
from infra.stages import StageSpec, commit_rows, find, records
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError, DataError
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_VALIDATION
from tasks.regenerate import generation_of
from tests.earlier.make_store import ARCHIVE, CONFIGURATION

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def store(place: Path) -> Store:
    return Store.open(place / "store", create=False)


@pytest.fixture(scope="module")
def config(place: Path) -> EngineConfig:
    return EngineConfig.model_validate_json((place / CONFIGURATION).read_bytes())


def call(place: Path, *words: str) -> Result:
    options = ("--store", str(place / "store"), "--config", str(place / CONFIGURATION))
    return CliRunner().invoke(app, ["compare", *words, *options], env={"COLUMNS": "80"})


def test_words_name_evaluations(store: Store, config: EngineConfig) -> None:
    compared = next(one for one in records(store, "compare") if one.round == 1)
    before, after, first = compared.reads[:3]
    control = compared.reads[3 + sorted(compared.config["controls"]).index("less_noise")]
    for words, keys in (
        (("round-1", None), (before, after)),
        (("round-1:before", "round-1"), (before, after)),
        (("first", "round-1:after"), (first, after)),
        ((before[:12], after[:12]), (before, after)),
        (("round-1:less_noise", "round-1"), (control, after)),
    ):
        found = compare(store, *words, config, config.campaign)
        assert (found.before.evaluation, found.after.evaluation) == keys, words
    by_policy = [find(store, key).models[0] for key in (before, after)]  # type: ignore[union-attr]
    found = compare(store, by_policy[0][:10], by_policy[1][:10], config, config.campaign)
    assert (found.before.policy, found.after.policy) == tuple(by_policy)
    assert (found.before.evaluation, found.after.evaluation) == (before, after)
    assert set(found.splits) == {WILD_VALIDATION, WILD_TEST, SOURCE_TEST}
    alone = compare(store, "round-1", None, config, config.campaign, target=WILD_TEST)
    assert list(alone.splits) == [WILD_TEST]
    assert alone.splits[WILD_TEST] == found.splits[WILD_TEST]


def test_a_constant_offset_is_not_taken_for_the_policy_that_it_moved(tmp_path: Path, config: EngineConfig) -> None:
    """As a study measures it: under the policy's digest, without more noise, newer, and on the same people."""
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    store = Store.open(tmp_path / "store", create=False)
    compared = next(one for one in records(store, "compare") if one.round == 1)
    before = find(store, compared.reads[0])
    assert before is not None
    about = {**before.config, "offset": 4.0}
    moved = StageSpec(before.stage, before.version, about, before.reads, before.models)
    commit_rows(store, moved, {})
    found = compare(store, before.models[0][:12], "round-1", config, config.campaign)
    assert found.before.evaluation == before.stage_key
    with pytest.raises(DataError) as unknown:
        compare(store, "zzz", "round-1", config, config.campaign)
    assert moved.key[:12] not in str(unknown.value)
    person = f"{before.config['targets'][0]}/nobody#0"
    with pytest.raises(DataError, match="0 generations of"):
        generation_of(store, person, moved.key[:12])


@pytest.mark.parametrize(
    ("words", "told", "error"),
    [
        (("abc", None), "Compare abc with what", ConfigError),
        (("zzz", "round-1"), "Nothing that was evaluated is called zzz. Evaluations: .*Or a round: round-1", DataError),
        (("", "round-1"), "Nothing that was evaluated is called", DataError),
        (("round-99", None), "round-99:before: campaign micro has these rounds to compare: round-1", DataError),
        (("round-x", "first"), "round-x: campaign micro has", DataError),
        (
            ("round-1:nobody", "first"),
            "round-1:nobody: of that round there are round-1:before, round-1:after",
            DataError,
        ),
    ],
)
def test_words_that_name_nothing(
    words: tuple[str, str | None], told: str, error: type[Exception], store: Store, config: EngineConfig
) -> None:
    with pytest.raises(error, match=told):
        compare(store, *words, config, config.campaign)


def test_a_policy_against_itself_does_not_change(store: Store, config: EngineConfig) -> None:
    found = compare(store, "round-1", "round-1", config, config.campaign)
    for change in found.splits[WILD_TEST]:
        assert change.before == change.after
        assert change.change is None or change.change == (0, 0, 0)


def copies(folder: Path, count: int) -> list[Store]:
    for number in range(count):
        with ZipFile(ARCHIVE) as archive:
            archive.extractall(folder / str(number))
    return [Store.open(folder / str(number) / "store", create=False) for number in range(count)]


def test_a_store_is_one_seed_however_often_it_is_given(place: Path, store: Store, config: EngineConfig) -> None:
    with pytest.raises(ConfigError, match=r"is given 2 times, but holds one seed"):
        compare(store, "round-1", None, config, config.campaign, [store])
    twice = call(place, "round-1", "--beside", str(place / "store" / ".." / "store"))
    assert twice.exit_code == 2
    assert "is given 2 times" in " ".join(twice.output.split())


def test_over_the_stores_of_several_seeds(store: Store, config: EngineConfig, tmp_path: Path) -> None:
    found = compare(store, "round-1", None, config, config.campaign, copies(tmp_path, 2))
    by_name = {one.measure.name: one for one in found.splits[WILD_TEST]}
    for over in found.seeds[WILD_TEST]:
        own = by_name[over.measure.name].change
        assert own is not None
        assert over.of_seeds == (own.value,) * 3
        assert over.change == pytest.approx((own.value,) * 3)
    assert len(found.stores) == 3


def test_what_is_printed(place: Path, tmp_path: Path) -> None:
    other = copies(tmp_path, 1)[0]
    answer = call(place, "round-1", "--data", "wild/test", "--beside", other.url)
    assert answer.exit_code == 0, answer.output
    for words in (
        "before: round-1:before, policy",
        "energy score",
        "mean of 2 stores",
        "docs/measures.md",
        "spread over",
    ):
        assert words in answer.output, answer.output
    assert max(map(len, answer.output.splitlines()[2:])) <= 80
    document = json.loads(call(place, "first", "round-1", "--json").stdout)
    assert document["before"]["said"] == "first"
    names = {one["name"] for one in document["measures"]}
    assert {"zero_noise_mpvpe", "best_of_1_mpvpe", "coverage_50", "expected_penetration"} <= names
    assert document["over_seeds"] == []
    wrong = call(place, "round-1", "--data", "wild")
    assert wrong.exit_code == 2
