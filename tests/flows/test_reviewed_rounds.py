"""Rounds that wait for people, and train on what these judged; asserted on what the training read."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

import flows.run.session
import tasks.train.align
from flows.browse.scopes import scopes
from flows.cli.main import app
from flows.cli.plan import Plan, plan_round
from flows.dpo_round import dpo_round
from flows.run.configuration import Choices
from flows.run.decision.reviewed import Waiting
from flows.run.live import LiveRunner
from infra import reviews, rounds
from infra.reviews import PairName, Review
from infra.stages import find, records
from infra.store import Store
from infra.tables import read
from infra.views import query
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.stage import TrainingStage
from tasks.report.facts import RoundFacts
from tasks.train.pairs import PreferencePairs, load_pairs
from tests.flows.judged import ends, times
from tests.infra.tracking.test_tracking import scalars
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FILE: dict[str, Any] = {
    "profile": "micro",
    "campaign": "looked-at",
    "synthesize": {"source_train": 16, "source_test": 4, "scorer_train": 16, "wild_train": 12, "wild_validation": 4,
                   "wild_test": 4},
    "gates": {"min_pairs": 1},
    "sources": {"test": [], "drift": []},
    "review": {"before_training": True},
    "tracking": ["tensorboard"],
}  # fmt: skip
SECOND = {**FILE, "review": {}, "sources": {**FILE["sources"], "reviewed": True}}


_TRAIN = LiveRunner.train


class Killed(BaseException):
    """What a kill is for a test."""


class Lived(NamedTuple):
    """A store after two rounds: one that waited for people and was killed as its training began, and one that trains
    on what was judged in the first as well."""

    store: Store
    waited: tuple[Waiting, Waiting]
    plans: tuple[Plan, ...]
    """Before the first round, while it waits, and once it is judged."""
    while_waiting: str
    """What `adhmr status` said then."""
    judged: dict[str, PairName]
    late: PairName
    """A pair that was rejected after the training had begun."""
    facts: tuple[RoundFacts, RoundFacts]
    trained: dict[str, PreferencePairs]
    """By the key of the stage: what a training read."""


@pytest.fixture(scope="module")
def lived(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    store = Store.open(tmp_path_factory.mktemp("reviewed") / "store")
    trained: dict[str, PreferencePairs] = {}

    def seen(opened: Store, key: StageKey, *others: Any) -> PreferencePairs:
        trained[key] = load_pairs(opened, key, *others)
        return trained[key]

    def run(file: dict[str, Any]) -> Any:
        return dpo_round(store.url, config=file)

    def plan() -> Plan:
        return plan_round(Context(store, Choices(config=FILE).configured().config))

    with prefect_server.used(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows.run.session, "IN_PROCESS", True)
        patch.setattr(tasks.train.align, "load_pairs", seen)
        plans = [plan()]
        waited = [run(FILE)]
        status = CliRunner().invoke(app, ["status", "--store", store.url]).output
        plans.append(plan())
        waited.append(run(FILE))  # as a schedule would
        pairs = _pairs(store, waited[0].pairs)
        judged = dict(zip(("accept", "swap", "reject"), pairs[:3], strict=True))
        reviews.add(
            store, [Review(pair, name, verdict) for verdict, pair in judged.items() for name in ("anna", "ben")]
        )
        reviews.add(store, [Review(judged["swap"], "ben", "accept"), Review(judged["swap"], "cleo", "swap")])
        plans.append(plan())
        with pytest.MonkeyPatch.context() as dying:
            dying.setattr(LiveRunner, "train", _dies_before_alignment)
            with pytest.raises(Killed):
                run(FILE)
        reviews.add(store, [Review(pairs[3], "anna", "reject")])
        first = run({**FILE, "review": {}})  # what the round began with holds
        second = run(SECOND)
        yield Lived(store, (waited[0], waited[1]), tuple(plans), status, judged, pairs[3], (first, second), trained)


def _dies_before_alignment(runner: LiveRunner, stages: Mapping[str, TrainingStage]) -> Any:
    if any(stage.name == "align" for stage in stages.values()):
        raise Killed
    return _TRAIN(runner, stages)


def _pairs(store: Store, key: str) -> list[PairName]:
    rows = read(store, "pairs", stage_keys=[key]).to_pylist()
    people = dict.fromkeys(row["instance_id"] for row in rows)
    first = [next(row for row in rows if row["instance_id"] == name) for name in people]
    return [PairName(key, row["instance_id"], row["winner"], row["loser"]) for row in first]


def _read_by(lived: Lived, number: int) -> PreferencePairs:
    """What the policy of a round learned from; its control read others."""
    return lived.trained[lived.facts[number - 1].trained_pairs()[0]]


def test_a_run_ends_after_the_pairs_with_its_round_open(lived: Lived) -> None:
    first, again = lived.waited
    assert (first.number, first.judged) == (1, 0)
    assert first.total == first.total == len(read(lived.store, "pairs", stage_keys=[first.pairs]))
    assert again == first
    assert "waits for reviews: 0 of its" in lived.while_waiting
    (align,) = [one for one in records(lived.store, "align") if lived.facts[0].policy_after and one.round == 1][:1]
    judged_at = min(one.at for one in reviews.history(lived.store))
    assert align.started_at is not None
    assert align.started_at > judged_at


def test_a_plan_tells_of_the_wait_and_of_the_reviews(lived: Lived) -> None:
    for plan in lived.plans[:2]:
        assert any("waits for reviews" in note for note in plan.notes)
        titles = {look.title for look in plan.looks}
        assert "pair" in titles
        assert not titles & {"review", "align", "pair (random pairs)"}
    done = {look.title: look for look in lived.plans[2].looks}
    assert done["review"].key == lived.facts[0].key("review")


def test_the_training_reads_what_people_judged(lived: Lived) -> None:
    learned, store = _read_by(lived, 1), lived.store
    sides = {verdict: ends(store, pair) for verdict, pair in lived.judged.items()}
    assert times(learned, *sides["accept"]) == 1
    assert times(learned, *sides["swap"]) == 0
    assert times(learned, *sides["swap"][::-1]) == 1
    assert times(learned, *sides["reject"]) == 0
    assert len(learned) == lived.waited[0].total - 1
    control = lived.trained[lived.facts[0].key("pair", "random pairs") or ""]
    assert len(control) > len(learned), "the control is what it is without people"


def test_what_is_said_after_the_training_began_is_for_the_next_round(lived: Lived) -> None:
    assert times(_read_by(lived, 1), *ends(lived.store, lived.late)) == 1


def test_pages_tell_what_the_scorer_chose_from_what_was_trained_on(lived: Lived) -> None:
    facts = lived.facts[0]
    scope = next(one for one in scopes(lived.store) if (one.campaign, one.round) == (FILE["campaign"], 1))
    assert (scope.judged, scope.pairs) == ((facts.key("pair"),), (facts.key("review"),))
    assert scope.control_pairs == (facts.key("pair", "random pairs"),)


def test_every_pair_is_accounted_for(lived: Lived) -> None:
    record = find(lived.store, lived.facts[0].key("review") or "")
    assert record is not None
    assert (record.units_in, record.tally.filtered, record.tally.ok) == (lived.waited[0].total, 1, record.units_in - 1)
    trained = query(lived.store, "SELECT count(*) AS n FROM round_pairs WHERE round = 1").to_pylist()
    assert trained == [{"n": record.tally.ok}]


def test_the_report_says_what_people_said(lived: Lived) -> None:
    facts, other = lived.facts
    total = lived.waited[0].total
    assert any(
        f"People judged 3 of the {total} pairs: 1 accepted, 1 swapped, 1 rejected" in one for one in facts.notices
    )
    page = lived.store.read_bytes(f"reports/{facts.report_name}").decode()
    for words in ("pairs that people swapped", "disagreement with the scorer", "agreement between reviewers", "kappa"):
        assert words in page, words
    assert any("Of round 1, 1 accepted and 1 swapped pairs" in one for one in other.notices)


def test_the_next_round_learns_from_what_was_judged_in_the_first_too(lived: Lived) -> None:
    store, facts = lived.store, lived.facts[1]
    own, earlier = facts.trained_pairs()
    assert own == facts.key("pair")
    learned = _read_by(lived, 2)
    assert len(learned) == len(read(store, "pairs", stage_keys=[own])) + 2
    assert times(learned, *ends(store, lived.judged["swap"])[::-1]) == 1
    assert times(learned, *ends(store, lived.judged["reject"])) == 0
    reasons = read(store, "failures", stage_keys=[earlier]).column("reason").to_pylist()
    assert reasons == ["rejected by reviewers"] * 2


def test_trainings_are_shown_in_tensorboard_and_their_keys_know_nothing_of_it(lived: Lived) -> None:
    """Each of both rounds, and what the campaign began with: as many points as the engine's own curves have."""
    store = lived.store
    for number, stages in ((0, {"train_base", "train_scorer"}), (1, {"align"}), (2, {"align"})):
        folders = {path.split("/")[3] for path in store.list_files(f"tracking/{FILE['campaign']}/{number}")}
        assert {name.split("-")[0] for name in folders} == stages
    key = next(run.key for run in lived.facts[1].runs if run.title == "align (random pairs)")
    shown = scalars(Path(store.path(f"tracking/{FILE['campaign']}/2/align-random-pairs-{key[:8]}")))
    points = read(store, "curves", stage_keys=[key]).to_pylist()
    assert {name: len(line) for name, line in shown.items()} == Counter(row["series"] for row in points)
    assert all("tracking" not in record.config for record in records(store))


def test_without_reviews_alignment_has_the_key_that_it_had(lived: Lived) -> None:
    """Nothing of reviews is in it: what it reads are the people and the pairs."""
    record = find(lived.store, next(run.key for run in lived.facts[1].runs if run.title == "align (random pairs)"))
    assert record is not None
    assert "review" not in str(record.config)
    assert record.reads[-1] == lived.facts[1].key("pair", "random pairs")
    assert not rounds.state(lived.store, FILE["campaign"]).is_open


def test_nobody_is_asked_about_pairs_that_nothing_is_trained_on(prefect_server: PrefectServer, tmp_path: Path) -> None:
    store, spearman = Store.open(tmp_path / "store"), "scorer's Spearman within an instance"
    unsure = {**FILE, "gates": {"min_pairs": 1_000_000, "min_spearman": 0.999}, "tracking": []}
    few = {**unsure, "gates": {"min_pairs": 1_000_000}, "campaign": "few"}
    with prefect_server.used(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows.run.session, "IN_PROCESS", True)
        ended = dpo_round(store.url, config=unsure)
        waiting = dpo_round(store.url, config=few)
    assert isinstance(ended, RoundFacts)
    assert not ended.promoted
    assert spearman in ended.why
    assert [verdict.name for verdict in ended.verdicts if not verdict.passed] == ["pairs", spearman]
    assert records(store, "align", "review") == []
    assert isinstance(waiting, Waiting), "pairs of earlier rounds that people accepted may be enough"
