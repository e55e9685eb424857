"""Rounds on photographs that nobody has labels of: a second scorer decides, and everything says that no label did."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from typer.testing import CliRunner

import flows.run.round
import flows.run.session
from flows.clean_round import clean_round
from flows.cli.main import app
from flows.cli.plan import Plan, plan_round
from flows.dpo_round import dpo_round
from flows.run.configuration import Choices
from infra import rounds
from infra.stages import find, records
from infra.store import Store
from infra.tables import read
from schemas.errors import ConfigError
from schemas.ids import ModelDigest
from schemas.splits import SCORER_TRAIN
from tasks.engine.context import Context
from tasks.gates import GateVerdict, all_passed, why_not
from tasks.report.ancestry import ancestry, learned_from
from tasks.report.facts import RoundFacts
from tasks.report.model_card import model_card
from tasks.report.stage import read_facts
from tasks.rows.instances import instance_ids
from tasks.rows.models import model_path
from tasks.rows.part import JUDGES_HALF, SCORERS_HALF, Part
from tasks.synthesize.domains import domain_named
from tasks.synthesize.picture import make_picture
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ASIDE = Part(0.0, 0.25)


class Killed(BaseException):
    """What a kill is for a test."""


class Judged(NamedTuple):
    """A store after a DPO round that was killed when it was to be decided, and resumed."""

    store: Store
    file: dict[str, Any]
    plan: Plan
    killed: tuple[GateVerdict, ...]
    """What its gates had said by then."""
    facts: RoundFacts


@pytest.fixture(scope="module")
def judged(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    folder = tmp_path_factory.mktemp("judged")
    (photographs := folder / "photographs").mkdir()
    for number in range(24):
        picture = make_picture(domain_named("wild"), "train", number, 0)
        Image.fromarray(picture.image).save(photographs / f"{number:02}.png")
    file: dict[str, Any] = {
        "profile": "micro",
        "campaign": "own",
        "start": {"judge": "train"},
        "sources": {"wild": ["photographs/train"], "validation": [], "test": [], "drift": []},
        "data": [{"name": "photographs/train", "format": "folder", "source": str(photographs)}],
        "gates": {"without_labels": "judge", "judged_share": ASIDE.high, "min_judged": 1},
        "synthesize": {"source_train": 16, "source_test": 4, "wild_train": 1, "wild_validation": 1, "wild_test": 1},
    }
    store, said = Store.open(folder / "store"), []

    def kill(verdicts: tuple[GateVerdict, ...]) -> str:
        said.append(verdicts)
        raise Killed

    with prefect_server.used(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows.run.session, "IN_PROCESS", True)
        plan = plan_of(store, file)
        with pytest.MonkeyPatch.context() as dying:
            dying.setattr(flows.run.round, "why_not", kill)
            with pytest.raises(Killed):
                dpo_round(store.url, config=file)
        assert rounds.state(store, "own").is_open
        yield Judged(store, file, plan, said[0], dpo_round(store.url, config=file))


def plan_of(store: Store, file: dict[str, Any]) -> Plan:
    return plan_round(Context(store, Choices(config=file).configured().config))


def run_of(store: Store, file: dict[str, Any]) -> RoundFacts:
    return dpo_round(store.url, config=file)


def changed(file: dict[str, Any], campaign: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """The campaign file under another name, with other values in some sections."""
    return {**file, "campaign": campaign, **{name: {**file[name], **values} for name, values in sections.items()}}


def call(store: Store, *words: str) -> str:
    answer = CliRunner().invoke(app, [*words, "--store", store.url])
    assert answer.exit_code == 0, answer.output
    return " ".join(answer.output.split())


def test_a_resumed_round_decides_as_it_would_have(judged: Judged) -> None:
    facts = judged.facts
    assert facts.verdicts == judged.killed
    assert facts.promoted is all_passed(facts.verdicts)
    assert {run.state for run in facts.runs} == {"reused"}
    assert [verdict.name for verdict in facts.verdicts if verdict.when == "before promotion"] == [
        "judge's score, zero noise, rise",
        "bodies beyond joint limits, rise",
        "miss of bone lengths, rise",
    ]
    assert judged.facts.judge is not None
    assert facts.why == (
        f"no error was measured, the judge {judged.facts.judge[:12]} decided: "
        f"{'all gates hold' if facts.promoted else why_not(facts.verdicts)}"
    )
    assert read_facts(judged.store, "own", 1) == facts
    decision = rounds.state(judged.store, "own").decision(1)
    assert decision is not None
    assert decision.why == facts.why
    assert decision.stage_key == facts.key("judge")


def test_the_judge_sees_people_whom_nothing_was_learned_from(judged: Judged) -> None:
    store, facts = judged.store, judged.facts

    def people(table: str, key: str | None) -> set[str]:
        rows = read(store, table, stage_keys=[key or ""], columns=["instance_id"])
        return set(rows.column("instance_id").to_pylist())

    drawn, paired = people("hypotheses", facts.key("generate")), people("pairs", facts.key("pair"))
    before, after = (people("scores", facts.key("score", f"judge, {role}")) for role in ("before", "after"))
    assert before == after == set(ASIDE.of(before | drawn))
    assert len(before) == next(verdict.value for verdict in facts.verdicts if verdict.name == "people for the judge")
    assert len(before | drawn) == 24
    assert paired <= drawn
    assert not drawn & before


def test_people_whom_the_policy_learned_from_are_not_set_aside(judged: Judged) -> None:
    """As when a campaign gets its judge, or a larger share for it, after a round has learned from everybody."""
    store, policy = judged.store, judged.facts.policy_after
    assert policy is not None
    rows = read(store, "pairs", stage_keys=[judged.facts.key("pair") or ""], columns=["instance_id"])
    learned = set(rows.column("instance_id").to_pylist())
    assert learned_from(store, policy) == learned
    assert learned_from(store, judged.facts.policy_before) == set()
    late = changed(judged.file, "late", start={"policy": policy}, gates={"judged_share": 0.45})
    with pytest.raises(ConfigError, match=rf"people that policy {policy[:12]} was trained on, .*name another campaign"):
        plan_of(store, late)
    plan_of(store, changed(judged.file, "early", start={"policy": policy}))


def test_scorer_and_judge_were_trained_on_other_people(judged: Judged) -> None:
    store, facts = judged.store, judged.facts
    keys = [facts.key("train_scorer", role) for role in ("", "judge")]
    trainings = [record for key in keys if key is not None and (record := find(store, key)) is not None]
    assert [record.config["target"] for record in trainings] == [
        {"of": str(SCORER_TRAIN), "part": list(half)} for half in (SCORERS_HALF, JUDGES_HALF)
    ]
    halves = [
        instance_ids(store, record.reads, [SCORER_TRAIN], Part(*record.config["target"]["part"]))
        for record in trainings
    ]
    assert not set(halves[0]) & set(halves[1])
    assert len(halves[0]) + len(halves[1]) == 48
    assert facts.judge is not None
    # and the story of each model says so
    told = [ancestry(store, digest)[-1].people[0].count for digest in (facts.scorer, facts.judge)]
    assert told == [len(half) for half in halves]


def test_everything_says_that_no_error_was_measured(judged: Judged) -> None:
    store, facts = judged.store, judged.facts
    assert any("a judge decides, by 25 % of the in-the-wild pictures" in note for note in judged.plan.notes)
    page = store.read_bytes(f"reports/{facts.report_name}").decode()
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page[page.index("<body>") :]))
    first = re.sub(r"^· one file of [\d.]+ MB ", "", text.partition(" UTC ")[2])
    assert first.startswith(f"No error was measured, the judge {(facts.judge or '')[:12]} decided: ")
    assert f"The {'new policy is' if facts.promoted else 'old policy stays'} current." in first
    for words in (
        "a judge decides, by 25 %",
        "share of people for whom the judge prefers",
        "bodies beyond joint limits",
    ):
        assert words in text, words
    for said in (call(store, "report", "--round", "1"), call(store, "rounds"), call(store, "status")):
        assert "no error was" in said
    assert "judge's score, zero noise, rise" in call(store, "report", "--round", "1")
    assert facts.policy_after is not None
    card = model_card(store, facts.policy_after)
    assert f"Round 1 of campaign {facts.campaign} trained it and " in card
    assert ": no error was measured, the judge" in card


def test_the_judges_limits_decide(judged: Judged) -> None:
    """The same stages, found again under another campaign: what they measured is not enough, or more than may be."""
    done = len(records(judged.store))
    rise, *_ = (verdict for verdict in judged.facts.verdicts if verdict.when == "before promotion")
    facts = dpo_round(judged.store.url, config=changed(judged.file, "strict", gates={"min_judge_rise": 0.99}))
    assert not facts.promoted
    assert facts.why.endswith(f"decided: {rise.name}: {rise.value:.4g}, interval wholly above 0.99: NOT passed")
    assert rounds.state(judged.store, "strict").policy == facts.policy_before
    assert len(records(judged.store)) == done + 1, "but for its report all was there"
    file = changed(judged.file, "few", gates={"min_judged": 30})
    few = plan_of(judged.store, file)
    assert "align" not in [look.title for look in few.looks]
    assert "a gate before training does not hold: the round will end there and keep its policy." in few.notes
    with pytest.raises(ConfigError, match=r"photographs/train has 24 people, of whom \d are set aside for the judge"):
        run_of(judged.store, file)
    assert not rounds.state(judged.store, "few").events


def test_a_source_that_is_too_small_for_a_judge_is_refused_before_anything_is_made(
    judged: Judged, tmp_path: Path
) -> None:
    """Else both scorers would be trained before a gate finds it."""
    store = Store.open(tmp_path)
    refused = r"has 24 people, of whom some 6 would be set aside .*bring 120 people or more"
    with pytest.raises(ConfigError, match=f"photographs/train {refused}"):
        run_of(store, changed(judged.file, "few", gates={"min_judged": 30}))
    photographs = judged.file["data"][0]["source"]
    with pytest.raises(ConfigError, match=f"photographs/train {refused}"):
        dpo_round(
            store.url,
            config={
                **judged.file,
                "gates": {**judged.file["gates"], "min_judged": 30},
                "data": [],
                "sources": {**judged.file["sources"], "wild": ["wild/train"]},
            },
            images=photographs,
        )
    assert not records(store)


def test_who_chose_pairs_is_no_judge(judged: Judged) -> None:
    """Neither the scorer by another name, nor one that has chosen what the current policy was trained on."""
    store, facts = judged.store, judged.facts
    for said, begin in ((facts.scorer[:10], plan_of), (store.path(model_path(facts.scorer)), run_of)):
        start = {"scorer": facts.scorer, "judge": said}
        with pytest.raises(ConfigError, match=f"start.judge is {facts.scorer[:12]}, and so is start.scorer"):
            begin(store, changed(judged.file, "itself", start=start))
    assert not rounds.state(store, "itself").events
    assert facts.policy_after is not None
    assert facts.judge is not None
    # the two change places, on a policy that the first of them has chosen pairs for
    start = {"policy": facts.policy_after, "scorer": facts.judge, "judge": facts.scorer}
    with pytest.raises(ConfigError, match=f"pairs or labels that policy {facts.policy_after[:12]} was trained on were"):
        plan_of(store, changed(judged.file, "exchanged", start=start))


def test_a_judge_is_trained_on_nobody_whom_a_given_scorer_was_trained_on(judged: Judged) -> None:
    facts, file = judged.facts, judged.file
    of_a_half = plan_of(judged.store, changed(file, "half", start={"scorer": facts.scorer}))
    assert ("train_scorer (judge)", "reuse") in [(look.title, look.verdict) for look in of_a_half.looks]
    # the judge's own half was the other scorer's
    with pytest.raises(ConfigError, match=r"start.judge=train would train on people of scorer/train, as start.scorer"):
        plan_of(judged.store, changed(file, "same", start={"scorer": facts.judge}))


def test_a_cleaning_round_and_drift(judged: Judged) -> None:
    """A judge that is a file; and labels of the kind that the first policy was trained on, which decide beside it."""
    store, first = judged.store, judged.facts
    assert first.judge is not None
    start = {"policy": first.reference, "scorer": first.scorer, "judge": store.path(model_path(first.judge))}
    file = changed(judged.file, "clean", start=start, sources={"drift": ["source/test"]}, gates={"max_drift": 0.0})
    facts = clean_round(store.url, config=file)
    assert facts.judge == first.judge == ModelDigest(first.judge)
    names = [verdict.name for verdict in facts.verdicts]
    assert names[1:] == [
        "labels kept",
        "judge's score, zero noise, rise",
        "bodies beyond joint limits, rise",
        "miss of bone lengths, rise",
        "drift on source, zero noise",
        "drift on source, expected",
    ]
    assert facts.promoted is all_passed(facts.verdicts)
    assert facts.why.startswith(f"no error was measured but that of drift, the judge {first.judge[:12]} decided: ")
    labelled = read(store, "labels", stage_keys=[facts.key("pseudo_label") or ""], columns=["instance_id"])
    names_of = labelled.column("instance_id").to_pylist()
    assert names_of
    assert not ASIDE.of(names_of)


def test_labels_count_more_than_a_judge(judged: Judged) -> None:
    file = changed(judged.file, "labelled", sources={"validation": ["wild/validation"]})
    plan = plan_of(judged.store, file)
    assert "sources.validation is not empty: its labels decide, and start.judge is not asked." in plan.notes
    assert not [look.title for look in plan.looks if "judge" in look.title]


def test_the_scorers_rise_is_watched_on_the_people_set_aside(judged: Judged) -> None:
    file = changed(judged.file, "watched", gates={"watch_score": True})
    facts = dpo_round(judged.store.url, config=file)
    assert [run.title for run in facts.runs if run.state == "run"] == [
        "score (people set aside, before)",
        "score (people set aside, after)",
        "watch",
    ]
    names = [verdict.name for verdict in facts.verdicts]
    assert names == [
        *(verdict.name for verdict in judged.facts.verdicts),
        "judge's zero-noise score beside the score",
        "judge's expected score beside the score",
    ]
    assert facts.promoted is all_passed(facts.verdicts)
    page = judged.store.read_bytes(f"reports/{facts.report_name}").decode()
    assert "scorer&#39;s score, zero noise, change" in page
    labelled = changed(file, "labelled-and-watched", sources={"validation": ["wild/validation"]})
    plan = plan_of(judged.store, labelled)
    assert "sources.validation is not empty: its labels decide, and start.judge only watches." in plan.notes
    assert ("train_scorer (judge)", "reuse") in [(look.title, look.verdict) for look in plan.looks]
