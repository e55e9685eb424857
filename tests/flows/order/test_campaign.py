"""Many rounds: whose turn it is, when it ends, and that a campaign which was killed comes to the same end."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from flows.order.campaign import Course, Ended, Turn, rounds_in_turn, whose_turn
from flows.order.clean import clean_and_measure
from flows.order.dpo import align_and_measure
from flows.order.foundations import lay_foundations
from flows.order.legs import of_round
from flows.run.campaign.course import course_of, decided_rounds, table
from flows.run.live import LiveRunner
from flows.run.round import Round, work_through
from infra import rounds
from infra.rounds import CampaignState
from infra.stages import records
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.config.rounds import RoundsConfig
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.report.facts import RoundFacts
from tasks.rows.metrics import read_metrics
from tasks.rows.mix import Mix
from tasks.rows.part import Part
from tests.faults.chain import CONFIG as SMALL
from tests.faults.chain import ReachedError, Walk, Walking

NAME = "micro"


def lived(store: Store, *events: str) -> CampaignState:
    """The state of a campaign after rounds that ended so; `rolled back` is no round, `open` one that goes on."""
    rounds.begin(store, NAME, "first")
    for event in events:
        number = rounds.state(store, NAME).next_round
        if event == "rolled back":
            rounds.roll_back(store, NAME, "first", "by hand")
            continue
        rounds.open_round(store, NAME, number, "clean round" if event == "open" else "dpo round")
        if event == "abandoned":
            rounds.abandon(store, NAME, "enough")
        elif event != "open":
            _ = (
                rounds.promote(store, NAME, number, f"policy {number}", "all gates hold")
                if event == "promoted"
                else rounds.keep(store, NAME, number, "drift")
            )
            rounds.close_round(store, NAME, number)
    return rounds.state(store, NAME)


@pytest.mark.parametrize(
    ("events", "turn"),
    [
        ((), Turn(1, "dpo")),
        (("promoted",), Turn(2, "dpo")),
        (("promoted", "kept"), Turn(3, "clean")),
        (("kept", "promoted", "kept"), Turn(4, "dpo")),
        (("promoted", "kept", "abandoned"), Turn(4, "dpo")),
        (("promoted", "open"), Turn(2, "clean")),
        (("kept", "open"), Turn(2, "clean")),
        (("promoted", "kept", "rolled back", "kept"), Turn(4, "dpo")),
    ],
)
def test_whose_turn_it_is(tmp_path: Path, events: tuple[str, ...], turn: Turn) -> None:
    state = lived(Store.open(tmp_path), *events)
    assert whose_turn(state, RoundsConfig(count=4, clean_every=3)) == turn


@pytest.mark.parametrize(
    ("events", "stop_after", "how"),
    [
        (("kept",), 2, None),
        (("kept", "kept"), 2, "refused"),
        (("kept", "abandoned", "kept"), 2, "refused"),
        (("kept", "promoted", "kept"), 2, None),
        (("kept", "kept"), 3, None),
        (("kept",), 1, "refused"),
        (("kept", "kept", "kept"), 0, None),
        (("promoted",) * 4, 2, "done"),
        (("promoted", "promoted", "kept", "promoted"), 2, "done"),
        (("promoted", "promoted", "kept", "kept"), 2, "refused"),
    ],
)
def test_it_stops_when_the_gates_say_no_so_often_in_a_row(
    tmp_path: Path, events: tuple[str, ...], stop_after: int, how: str | None
) -> None:
    end = whose_turn(lived(Store.open(tmp_path), *events), RoundsConfig(count=4, stop_after=stop_after))
    assert (end.how if isinstance(end, Ended) else None) == how


def test_each_round_learns_from_the_next_part_of_the_people() -> None:
    wild = Mix((StageKey("i"),), (Target("wild", "train"),), (1.0,), Part(0.5, 1.0))
    parts = [of_round(wild, 2, number).part for number in (1, 2, 3)]
    assert parts[0] == parts[2] == Part(0.5, 0.75)
    assert parts[1] == Part(0.75, 1.0)
    assert of_round(wild, 1, 5) is wild


def test_the_reference_is_the_campaigns_or_the_rounds() -> None:
    opened = Round(3, ModelDigest("now"), ModelDigest("first"))
    assert opened.reference(RoundsConfig()) == "first"
    assert opened.reference(RoundsConfig(reference="round")) == "now"


class Short(Walking):
    """A runner in this process, of a configuration of its own."""

    def __init__(self, walk: Walk, config: EngineConfig) -> None:
        LiveRunner.__init__(self, Context(walk.store, config, walk.progress, in_process=True), ExitStack())
        self.walk = walk


def run_campaign(store: Store, config: EngineConfig, until: str | None = None) -> tuple[Course | None, list[str]]:
    """A campaign as the flow does it; killed after the stage `until`. Gives what was done, in order."""
    done: list[str] = []

    class Noting(Walk):
        def step(self, title: str, work: Callable[[], StageResult]) -> str:
            done.append(title)
            return super().step(title, work)

    runner = Short(Noting(store, until), config)

    def one(kind: str) -> RoundFacts:
        foundations = lay_foundations(runner)
        rounds.begin(store, config.campaign, foundations.base)
        work = align_and_measure if kind == "dpo" else clean_and_measure
        facts = work_through(runner, foundations, kind, work)  # type: ignore[arg-type]
        assert isinstance(facts, RoundFacts)
        return facts

    try:
        return rounds_in_turn(runner, {"dpo": partial(one, "dpo"), "clean": partial(one, "clean")}), done
    except ReachedError:
        return None, done


@pytest.fixture(scope="module")
def config() -> EngineConfig:
    changed = SMALL.rounds.model_copy(update={"count": 3, "clean_every": 2, "reference": "round", "people_parts": 2})
    gates = SMALL.gates.model_copy(update={"best_of_m_change": 1000.0, "max_drift": 1000.0})
    return SMALL.model_copy(update={"rounds": changed, "gates": gates})


@pytest.mark.slow
def test_a_killed_campaign_comes_to_the_same_end_and_finished_rounds_are_found(
    tmp_path: Path, config: EngineConfig
) -> None:
    store = Store.open(tmp_path / "store")
    for until in ("2 evaluate (after)", "2 report"):
        assert run_campaign(store, config, until)[0] is None
    before = {record.stage_key: record.finished_at for record in records(store)}
    first = rounds.state(store, NAME)
    assert [one.number for one in decided_rounds(first)] == [1, 2]
    assert first.is_open  # killed after the decision, before the round was closed

    course, done = run_campaign(store, config)
    assert course is not None
    assert course.ended.how == "done"
    assert not [title for title in done if title.startswith("1 ")], "a finished round was gone through again"
    after = {record.stage_key: record for record in records(store)}
    assert {key: after[key].finished_at for key in before} == before, "a finished stage was done again"

    again, done = run_campaign(store, config)
    assert again == course
    assert done in ([], ["compare (whole campaign)"])
    state = rounds.state(store, NAME)
    decided = decided_rounds(state)
    assert [one.kind for one in decided] == ["dpo", "clean", "dpo"]
    openings = [state.first(one.number, "opened") for one in decided]
    began = [opening.policy for opening in openings if opening is not None]
    # each round begins with what is current after the one before
    assert began == [state.first_policy, *(one.policy for one in decided[:-1])]
    aligned = {record.models for record in after.values() if record.stage == "align"}
    assert aligned <= {(began[0], began[0]), (began[2], began[2])}, "measured against another policy than its own"
    drawn = [record for record in after.values() if record.stage == "generate"]
    assert all(0 < record.units_in < SMALL.synthesize.wild_train for record in drawn)

    rows = course_of(store, NAME, course.compared)
    lines = list(table(rows))
    assert max(map(len, lines)) <= 80
    assert [row.name for row in rows] == ["1", "2", "3", "all"]
    assert course.compared is not None, [one.why for one in decided]
    models = {one.role: one.model for one in read_metrics(store, course.compared)}
    assert (models["before"], models["after"]) == (state.first_policy, state.policy)
    made = next(row for row, one in reversed(list(zip(rows, decided, strict=False))) if one.event == "promoted")
    assert rows[-1].zero_noise == made.zero_noise
