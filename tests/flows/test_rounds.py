"""Whole rounds, as real Prefect flow runs on the micro profile: what the second reuses, and that the plan knew it."""

import base64
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName
from typer.testing import CliRunner

import flows.run.session
from flows import steps
from flows.browse.scopes import scopes
from flows.clean_round import clean_round
from flows.cli.commands import rounds as round_commands
from flows.cli.main import app
from flows.cli.plan import Plan, plan_round
from flows.dpo_round import dpo_round
from flows.evaluate import evaluate
from flows.run.campaign.opening import opening_of
from flows.run.configuration import Choices
from flows.run.round import Kind
from flows.run.round_artifacts import COUNTS, PAIRS, REPORT
from infra import rounds
from infra.stages import find, records
from infra.store import Store
from infra.tables import read
from infra.views import query
from schemas.config.engine import EngineConfig
from schemas.digests import canonical_json
from schemas.errors import ConfigError
from schemas.ids import StageKey
from schemas.splits import SCORER_TRAIN, SYNTHETIC, WILD_TEST
from tasks.engine.context import Context
from tasks.report.content import OWN_PEOPLE
from tasks.report.definitions import defined
from tasks.report.facts import RoundFacts
from tasks.report.fill import fill_round
from tasks.report.numbers import format_percent, format_span
from tasks.report.pictures.own_people import NO_LABEL
from tasks.report.stage import read_configuration, read_facts
from tasks.rows.hypotheses import generated_ids
from tasks.rows.metrics import read_metrics
from tasks.rows.models import model_of, policy_used
from tests.evidence.__main__ import machine
from tests.evidence.controls import TITLES, controls_of, train_controls
from tests.evidence.page import evidence_page
from tests.evidence.readme import readme_table
from tests.evidence.results import Sealing, SeedEvidence, read_result, write_result
from tests.flows.own_world import alike, as_campaign, as_folders, in_published_forms
from tests.flows.queries import QUERIES
from tests.prefect_server import PrefectServer
from tests.profiles import load_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PROFILE = "micro"
CONTROLS = ["all_labels", "random_labels", "own_labels"]


class Lived(NamedTuple):
    """A store after a DPO round on Ray, another without, and a cleaning round; each with the plan made before it."""

    store: Store
    config: EngineConfig
    plans: tuple[Plan, ...]
    facts: tuple[RoundFacts, ...]
    times_before_second: dict[str, object]


@pytest.fixture(scope="module")
def lived(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    store = Store.open(tmp_path_factory.mktemp("rounds") / "store")
    config = load_profile(PROFILE)
    plans, facts = [], []

    def planned(kind: Kind, config: EngineConfig) -> None:
        plans.append(plan_round(Context(store, config), kind))

    by_protocol = {"sources.test": [{"data": "wild/test", "protocol": "3dpw"}], "published.hypotheses": 4}
    swapped = by_protocol | {"clean.swap_share": "0.3", "gates.best_of_m_change": "0", "gates.max_drift": "0"}
    swapped |= {"evaluate.measures": "true", "clean.label": "best_of_m", "clean.controls": CONTROLS}
    with prefect_server.used(), pytest.MonkeyPatch.context() as patch:
        planned("dpo", config)
        facts.append(dpo_round(store.url, PROFILE))
        times = {record.stage_key: record.finished_at for record in records(store)}
        patch.setattr(flows.run.session, "IN_PROCESS", True)
        planned("dpo", config)
        facts.append(dpo_round(store.url, PROFILE))
        planned("clean", load_profile(PROFILE, changes=swapped))
        facts.append(clean_round(store.url, PROFILE, changes=swapped))
        yield Lived(store, config, tuple(plans), tuple(facts), dict(times))


def test_rounds_follow_each_other(lived: Lived) -> None:
    assert [(facts.kind, facts.number) for facts in lived.facts] == [("dpo", 1), ("dpo", 2), ("clean", 3)]
    seen = rounds.state(lived.store, "micro")
    assert not seen.is_open
    current = seen.first_policy
    for facts in lived.facts:
        assert facts.policy_before == current
        assert facts.reference == seen.first_policy
        decision = seen.decision(facts.number)
        assert decision is not None
        assert (decision.event == "promoted") is facts.promoted
        current = facts.policy_after if facts.promoted else current
    assert seen.policy == current


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_plan_said_what_the_run_did(lived: Lived, number: int) -> None:
    verdict = {"reused": "reuse", "resumed": "resume", "run": "run"}
    done = [(run.name, verdict[run.state]) for run in lived.facts[number].distinct_runs()]
    looks = lived.plans[number].looks
    assert [(look.title.split(" ")[0], look.verdict) for look in looks] == [*done, ("report", "run")]
    keys = {run.key for run in lived.facts[number].runs}
    assert {look.key for look in looks if look.key is not None} <= keys
    assert lived.plans[number].number == lived.facts[number].number


def test_the_second_round_reuses_what_the_first_stood_on(lived: Lived) -> None:
    states = {run.title: run.state for run in lived.facts[1].runs}
    for title in ("synthesize", "ingest", "train_base", "train_scorer", "evaluate (before)", "evaluate (first policy)"):
        assert states[title] == "reused", title
    for title in ("generate", "score", "pair", "align", "align (random pairs)", "evaluate (after)", "compare"):
        assert states[title] == "run", title
    for key, finished_at in lived.times_before_second.items():
        record = find(lived.store, key)
        assert record is not None
        assert record.finished_at == finished_at, "a finished stage was touched"


def test_each_round_draws_its_own_hypotheses(lived: Lived) -> None:
    noises = {facts.key("generate") for facts in lived.facts[:2]}
    assert len(noises) == 2
    rows = [read(lived.store, "pairs", stage_keys=[facts.key("pair")]) for facts in lived.facts[:2]]
    assert [set(part.column("round").to_pylist()) for part in rows] == [{1}, {2}]


def test_every_stage_counts_its_units(lived: Lived) -> None:
    for record in records(lived.store):
        assert record.tally.total == record.units_in, record.stage
    unused = query(lived.store, "SELECT count(*) AS n FROM stages WHERE campaign <> 'micro'").to_pylist()
    assert unused == [{"n": 0}]


def test_controls_diversity_and_drift_stand_in_every_report(lived: Lived) -> None:
    for facts in lived.facts:
        page = lived.store.read_bytes(f"reports/{facts.report_name}").decode()
        control = "random pairs" if facts.kind == "dpo" else "all labels"
        for words in (control, "less noise", "diversity", "Drift on held-out source", "zero-noise MPVPE", "best of 3"):
            assert words in page, (facts.title, words)
        own = {
            "Winners and losers": 5 if facts.kind == "dpo" else 0,
            "Best and worst by score": 6,
            "Before and after": 6,
        }
        assert page.count("<figcaption>") == 12 + 2 + sum(own.values()), "held-out people, two views in 3D, own people"
        assert all((f"<h3>{title}</h3>" in page) is bool(count) for title, count in own.items())
        assert NO_LABEL in page
        assert read_facts(lived.store, facts.campaign, facts.number) == facts


def test_a_source_of_test_is_measured_by_the_protocol_that_it_names(lived: Lived) -> None:
    facts, store = lived.facts[2], lived.store
    (run,) = (run for run in facts.runs if run.name == "compare_published")
    before, after = (find(store, key) for key in find(store, run.key).reads)  # type: ignore[union-attr]
    assert [record.models[0] for record in (before, after) if record] == [facts.policy_before, facts.policy_after]
    metrics = {(one.name, one.role): one for one in read_metrics(store, run.key)}
    assert {one.target for one in metrics.values()} == {WILD_TEST}
    page = store.read_bytes(f"reports/{facts.report_name}").decode()
    assert "Held-out wild/test, by the published protocol" in page
    for role in ("before", "after"):
        assert f"{metrics['published_min_mpvpe', role].value:.1f}" in page
    assert "by a published protocol: least error" in page
    assert not [run for facts in lived.facts[:2] for run in facts.runs if run.name == "compare_published"]


def test_swapped_labels_are_measured_and_dropped_ones_named(lived: Lived) -> None:
    facts = lived.facts[2]
    kept = facts.key("keep")
    found = read(lived.store, "metrics", stage_keys=[kept]).to_pylist()
    assert 0 <= next(row["value"] for row in found if row["name"] == "auc") <= 1
    record = find(lived.store, kept)
    assert record is not None
    assert (record.units_in, record.tally.ok, record.tally.filtered) == (24, 17, 7)
    dropped = read(lived.store, "failures", stage_keys=[kept])
    assert len(dropped) == 7
    compared = read(lived.store, "metrics", stage_keys=[facts.key("compare")]).to_pylist()
    roles = {row["role"] for row in compared if row["name"] == "expected_mpvpe"}
    of_controls = {f"{before}{control}" for before in ("", "change_", "change_minus_") for control in CONTROLS}
    assert {"before", "after", "change", *of_controls} <= roles


def test_a_round_is_measured_by_all_measures_where_that_is_asked_for(lived: Lived) -> None:
    """Beside its comparison, whose rows stay as they are; on the page, and by the command that compares."""
    facts, store = lived.facts[2], lived.store
    key = facts.key("measures")
    metrics = {(one.name, one.role, one.target): one for one in read_metrics(store, key)}
    assert {role for _, role, _ in metrics} >= {"before", "after", "change", "change_minus_random_labels"}
    energy = metrics["energy_score", "change", WILD_TEST]
    page = fill_round(store, read_configuration(store, facts, lived.config), facts, datetime(2026, 3, 14, tzinfo=UTC))
    (group,) = (group for group in page.headline if group.title == "Further measures on wild/test")
    (row,) = (row for row in group.rows if row.name == "energy score")
    assert row.change == (energy.value, energy.low, energy.high)
    assert set(row.controls) == {"all labels", "random labels", "own labels", "less noise"}
    assert any(number.name == "spread over error, difference" for number in page.numbers)
    assert not [run for facts in lived.facts[:2] for run in facts.runs if run.name == "measures"]
    answer = CliRunner().invoke(app, ["compare", "round-3", "--store", store.url, "--profile", PROFILE, "--json"])
    assert answer.exit_code == 0, answer.output
    said = {(one["split"], one["name"]): one for one in json.loads(answer.stdout)["measures"]}
    assert said["wild/test", "energy_score"]["change"]["value"] == pytest.approx(energy.value)
    compared = {(one.name, one.role, one.target): one for one in read_metrics(store, facts.key("compare"))}
    zero = compared["zero_noise_mpvpe", "change", WILD_TEST]
    assert said["wild/test", "zero_noise_mpvpe"]["change"]["low"] == zero.low


def test_a_gate_that_does_not_hold_keeps_the_policy(lived: Lived) -> None:
    facts = lived.facts[2]
    broken = [verdict for verdict in facts.verdicts if not verdict.passed]
    assert facts.promoted is (not broken)
    if broken:
        assert broken[0].name in facts.why


def test_documented_queries_answer(lived: Lived) -> None:
    answers = {heading: query(lived.store, sql).to_pylist() for heading, sql in QUERIES.items()}
    for facts, row in zip(lived.facts[:2], answers["Pairs per round, with their mean margin"], strict=True):
        page = fill_round(lived.store, lived.config, facts, datetime(2026, 3, 14, tzinfo=UTC))
        reported = {number.name: number.value for number in page.numbers}
        assert (row["campaign"], row["round"]) == (facts.campaign, facts.number)
        assert row["pairs"] == reported["pairs"]
        assert row["mean_margin"] == pytest.approx(reported["mean margin of the pairs"])
    pairs = answers["The same with the pairs of the control"]
    assert [(row["round"], row["strategy"]) for row in pairs] == [
        (number, strategy) for number in (1, 2) for strategy in ("random", "top_bottom")
    ]
    assert all(row["mean_margin"] > 0 for row in pairs if row["strategy"] == "top_bottom")
    best = [row["margin"] for row in answers["The ten pairs with the largest margin"]]
    assert len(best) == 10
    assert best == sorted(best, reverse=True)
    per_round = {(row["round"], row["role"]) for row in answers["A metric per round"]}
    assert {(1, "before"), (1, "after"), (1, "change"), (2, "after"), (3, "after")} <= per_round
    dropped = answers["What a cleaning round dropped, and why"]
    assert [row["labels"] for row in dropped] == [7, 7, 7], "the round, and the two of its controls that filter"
    assert lived.facts[2].key("keep", "")[:12] in {row["of_stage"] for row in dropped}
    people = {(row["dataset"], row["split"]): row for row in answers["How many people have a label"]}
    assert people["wild", "train"]["labelled"] in (0, people["wild", "train"]["people"])
    assert people["source", "train"]["labelled"] == people["source", "train"]["people"] > 0
    assert sum(row["people"] for row in answers["How tall the boxes are"]) == sum(
        row["people"] for row in people.values()
    )
    assert [row["policy"] for row in answers["Which policy is current in each campaign"]] == [
        rounds.state(lived.store, "micro").policy
    ]


def test_the_report_needs_no_words_where_there_is_one_campaign(lived: Lived) -> None:
    """Nor a profile: the round's own configuration is noted, and a `best of 10` would be wrong here."""
    answer = CliRunner().invoke(app, ["report", "--round", "1", "--store", lived.store.url])
    assert answer.exit_code == 0, answer.output
    assert f"best of {lived.config.evaluate.generate.hypotheses - 1} MPVPE" in answer.output
    assert "best of 10" not in answer.output
    assert read_configuration(lived.store, lived.facts[0], load_profile("tiny")) == lived.config


def test_pages_say_what_was_changed_and_what_every_measure_means(lived: Lived) -> None:
    for facts in lived.facts:
        config = read_configuration(lived.store, facts, lived.config)
        page = fill_round(lived.store, config, facts, datetime(2026, 3, 14, tzinfo=UTC))
        for title in [row.name for group in page.headline for row in group.rows]:
            assert defined([title]), title
        for title in (*(row.name for row in page.numbers), *(curve.title for curve in page.curves)):
            assert defined([title]), title
        said = {row.name: (row.value, row.usual, row.origin) for row in page.settings}
        if facts.kind == "clean":
            assert said == {
                "clean.controls": (json.dumps(CONTROLS), '["all_labels"]', "--set"),
                "clean.label": ("best_of_m", "zero_noise", "--set"),
                "clean.swap_share": ("0.3", "0.0", "--set"),
                "evaluate.measures": ("true", "false", "--set"),
                "gates.best_of_m_change": ("0.0", "1.0", "--set"),
                "gates.max_drift": ("0.0", "100.0", "--set"),
                "published.hypotheses": ("4", "100", "--set"),
                "sources.test": (
                    '[{"data": "wild/test", "weight": 1.0, "protocol": "3dpw"}]',
                    '[{"data": "wild/test", "weight": 1.0, "protocol": null}]',
                    "--set",
                ),
            }
        else:
            assert said == {}


def test_a_model_goes_out_and_comes_back_with_its_story(lived: Lived, tmp_path: Path) -> None:
    facts = lived.facts[0]
    assert facts.policy_after is not None

    def call(*words: str) -> str:
        answer = CliRunner().invoke(app, [*words])
        assert answer.exit_code == 0, answer.output
        return " ".join(answer.output.split())

    hub, file = str(tmp_path / "hub"), str(tmp_path / "policy.pth")
    said = call(
        "export", "--to", "hub", "--model", facts.policy_after[:10], "--target", hub, "--store", lived.store.url
    )
    assert f"Model {facts.policy_after[:12]} written to" in said
    card = (tmp_path / "hub" / "README.md").read_text().replace("\u00a0", " ")
    assert "- source/train: 48 people, labelled, pictures that the engine made" in card
    assert "- wild/train: 24 people, pairs, pictures that the engine made" in card
    assert f"- chosen by the scores of `{facts.scorer[:12]}`" in card
    assert f"- from `{facts.policy_before[:12]}`" in card
    page = fill_round(lived.store, lived.config, facts, datetime(2026, 3, 14, tzinfo=UTC))
    (test,) = (group for group in page.headline if group.title == "Held-out wild/test")
    for row in test.rows:
        assert row.change is not None
        value = f"{format_percent(row.change.value)} {format_span(row.change.low, row.change.high, '%')}"
        assert any(row.name in line and value.replace("\u00a0", " ") in line for line in card.splitlines()), row.name
    call("export", "--to", "checkpoint", "--target", file, "--store", lived.store.url)
    other = str(tmp_path / "other")
    current = rounds.state(lived.store, "micro").policy
    for given, digest in ((hub, facts.policy_after), (file, current), (file, current)):
        assert f"is model {(digest or '')[:12]} of this store" in call("import", given, "--store", other)
    assert "this engine's own policy" in call("doctor", "--checkpoint", hub)


def test_the_command_line_shows_rounds(lived: Lived) -> None:
    answer = CliRunner().invoke(app, ["report", "--profile", PROFILE, "--round", "1", "--store", lived.store.url])
    assert answer.exit_code == 0, answer.output
    for words in ("DPO round 1", "zero-noise MPVPE", "random pairs", "less noise", "micro-round-1.html", "next:"):
        assert words in answer.output
    again = f"`adhmr run --store {lived.store.url} --profile {PROFILE}` or `adhmr clean --store"
    assert again in answer.output, "what comes next is of another store or campaign"


def test_prefect_shows_what_happened(lived: Lived) -> None:
    for facts in lived.facts:
        name = f"{facts.kind}-round {facts.number} of micro, policy {facts.policy_before[:12]}"
        so_named = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(flow_run_filter=so_named)
            # other tests may have had the same round in a store of theirs
            (run,) = (one for one in runs if one.parameters.get("store") == lived.store.url)
            artifacts = client.read_artifacts(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
        assert run.state is not None
        assert run.state.is_completed()
        assert run.state.name == ("Promoted" if facts.promoted else "Kept")
        assert facts.why in (run.state.message or "")
        mine = {one.key: one for one in artifacts if one.key in (COUNTS, REPORT, PAIRS)}
        assert set(mine) == ({COUNTS, REPORT, PAIRS} if facts.kind == "dpo" else {COUNTS, REPORT})
        table = mine[COUNTS].data
        rows = json.loads(table) if isinstance(table, str) else table
        assert [row["stage"] for row in rows] == [one.title for one in facts.distinct_runs()]
        assert all(row["units"] == row["ok"] + row["filtered"] + row["failed"] for row in rows)
        page = str(mine[REPORT].data)
        for words in (facts.report_name, "zero-noise MPVPE", "## Gates", "_delta_log/", "compare "):
            assert words in page, words
        if facts.kind == "dpo":
            head, _, picture = str(mine[PAIRS].data).partition(",")
            assert head == "data:image/jpeg;base64"
            with Image.open(io.BytesIO(base64.b64decode(picture))) as drawn:
                assert (drawn.width, drawn.height) == (480, 640)
                assert np.asarray(drawn).std() > 5
            assert f"{facts.report_name}#{OWN_PEOPLE}" in (mine[PAIRS].description or "")
            assert f'<section id="{OWN_PEOPLE}">' in lived.store.read_bytes(f"reports/{facts.report_name}").decode()


_ABOUT = {"profile": PROFILE, "seed": 0, "recipe": "r", "domains": "d"}
_ABOUT |= {"commit": "c0ffee", "measured": "2026-03-14", "machine": machine()}


def test_the_evidence_page_has_every_figure_and_every_control(
    lived: Lived, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    keys = train_controls(lived.store.url, PROFILE, "micro", 0)
    assert train_controls(lived.store.url, PROFILE, "micro", 0) == keys
    one = SeedEvidence.read(lived.store, (lived.facts[0], lived.facts[2]), keys, _ABOUT)
    write_result(one, tmp_path)
    assert read_result(tmp_path, PROFILE, 0, Sealing("r", "d")) == one
    page = evidence_page([one, one], lived.config)
    assert "not measured" not in page
    told = ("AUC of the score", "random pairs", "seed 0 | seed 0 | mean", "| train_base |", "2026-03-14, commit c0ffee")
    for words in told:
        assert words in page, words
    for title in [*(control.title for control in controls_of(lived.config)), *TITLES.values()]:
        (line, gap, of_seeds) = (line for line in page.splitlines() if line.startswith(f"| {title} |"))
        assert line.count(" % [") == 5, line
        assert gap.count(" [") == 3, gap
        assert of_seeds.count(" % [") == 3, of_seeds
    for name in (one.aligned.policy_after, one.aligned.comparison, *keys):
        assert f"`{str(name)[:12]}`" in page, "every figure can be found in the store"
    goals = page.partition("## What it has to show")[2].partition("##")[0]
    assert sum(goals.count(f"| {word} |") for word in ("reached", "**not reached**")) == 12, goals
    table = readme_table([one, one], lived.config, None)
    assert max(map(len, table.splitlines())) <= 120, "as README's lines are"
    rows = {line.split(" | ")[0] for line in table.splitlines()[5:]}
    assert rows >= {"| *the policy before*", "| the default", "| the same on random pairs", "| winners alone (SFT)"}
    assert "| without the preference term: anchor and replay" not in rows, "micro's encoder learns from a regression"
    with pytest.raises(ConfigError, match="trained by another version or configuration"):
        train_controls(lived.store.url, PROFILE, "micro", 1)


def test_each_control_differs_from_the_round_by_what_it_names(lived: Lived) -> None:
    """The trainings' own records say what they were trained with."""
    trained = {record.stage_key: record for record in records(lived.store) if record.stage == "align"}
    config = lived.config.align
    default = json.loads(canonical_json(config))
    of_round = trained[lived.facts[0].key("align")]
    assert of_round.config["train"] == default
    for control in controls_of(lived.config):
        changed = json.loads(canonical_json(control.align(config)))
        same_pairs = [
            record.reads[2] == of_round.reads[2] for record in trained.values() if record.config["train"] == changed
        ]
        assert same_pairs, control.role
        assert (control.learns_from == "pairs") in same_pairs


def test_single_steps_find_what_a_round_did(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, by the same words, every key is that of a stage of the rounds: nothing is done twice."""
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    dpo, clean = lived.facts[0], lived.facts[2]
    before, where = len(records(lived.store)), (lived.store.url, PROFILE)
    scorer = steps.train_scorer(["scorer/train"], dpo.policy_before, *where)
    hypotheses = steps.generate(["wild/train"], dpo.policy_before, *where, noise_of_round=1)
    scores = steps.score(hypotheses[:12], dpo.scorer, *where)
    pairs = steps.pair(scores[:12], *where)
    aligned = steps.align(pairs[:12], dpo.policy_before, *where, reference=dpo.reference, replay=["source/train"])
    names = ("train_scorer", "generate", "score", "pair", "align")
    assert [scorer, hypotheses, scores, pairs, aligned] == [dpo.key(name) for name in names]
    swapped = {"clean.swap_share": "0.3", "clean.label": "best_of_m"}
    kept = steps.keep(["wild/train"], clean.scorer, *where, policy=clean.policy_before, changes=swapped)
    assert kept == clean.key("keep")
    assert len(records(lived.store)) == before


def test_a_round_that_keeps_no_hypotheses_trains_the_same_policy(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first policy and by the noise of round 1 once more, as another campaign."""
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    first, store, changes = lived.facts[0], lived.store, {"hypotheses.keep": "none"}
    config = load_profile(PROFILE, campaign="thrifty", changes=changes)
    plan = plan_round(Context(store, config))
    facts = dpo_round(store.url, PROFILE, campaign="thrifty", changes=changes)
    states = {run.title: run.state for run in facts.distinct_runs()}
    assert [look.title for look in plan.looks] == [*states, "report"]
    assert [states[title] for title in ("draw", "pair", "pair (random pairs)")] == ["run"] * 3
    assert facts.policy_after == first.policy_after
    assert facts.verdicts[:2] == first.verdicts[:2]
    drawn = find(store, facts.drawn or "")
    assert drawn is not None
    every = config.synthesize.wild_train * config.generate.hypotheses
    assert (drawn.rows.get("hypotheses", 0), drawn.rows["scores"]) == (0, every)
    page = store.read_bytes(f"reports/{facts.report_name}").decode()
    assert page.count("<figcaption>") == 12 + 2 + 5 + 6 + 6
    assert "can&#39;t be shown" not in page


def test_any_policy_is_evaluated_by_the_beginning_of_its_digest(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    digest = lived.facts[0].policy_after
    assert digest is not None
    key = evaluate(lived.store.url, PROFILE, policy=digest[:10], dataset="source", split="test")
    record = find(lived.store, key)
    assert record is not None
    assert record.models[0] == digest
    assert record.units_in == lived.config.synthesize.source_test


def test_a_round_on_somebodys_photographs(lived: Lived, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Labels of the pictures play no part; a bad file fails by name and stops nothing where the gate allows it."""
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    (made,) = Path(lived.store.root, "synthetic").glob("*/wild-train/images")
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for picture in sorted(made.glob("*.jpg"))[:6]:
        (photographs / picture.name).write_bytes(picture.read_bytes())
    (photographs / "empty.jpg").write_bytes(b"")
    changes = {"gates.max_failed_share": "0.5"}
    facts = dpo_round(lived.store.url, PROFILE, campaign="own", images=str(photographs), changes=changes)
    assert facts.policy_after is not None
    assert facts.notices == (
        "This round learns from people of photographs/train. All errors on this page were measured on held-out people "
        "of other data sets (wild/validation, wild/test, source/test): they say nothing certain about the former.",
    )
    pairs = read(lived.store, "pairs", stage_keys=[facts.key("pair")])
    assert set(pairs.column("dataset").to_pylist()) == {"photographs"}
    failed = read(lived.store, "failures", stage_keys=[facts.key("ingest", "your pictures")]).to_pylist()
    assert len(failed) == 1
    assert "empty.jpg" in failed[0]["id"]


@pytest.mark.parametrize("form", ["folders", "published forms"])
def test_the_engines_own_world_given_as_a_users_files(
    form: str, lived: Lived, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An empty store, and a campaign file that names pictures, labels, policy and scorer: the same round."""
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    first = lived.facts[0]
    data = (
        as_folders(lived.store, first)
        if form == "folders"
        else in_published_forms(lived.store, first, lived.config, tmp_path)
    )
    as_campaign(lived.store, first, data, file := tmp_path / "mine.yaml")
    store = Store.open(tmp_path / "store")
    facts = dpo_round(store.url, config=str(file))
    assert {run.name for run in facts.runs} >= {"import_model", "ingest"}
    assert not {run.name for run in facts.runs} & {"synthesize", "train_base", "train_scorer"}
    assert (facts.policy_before, facts.reference, facts.scorer) == (first.reference, first.reference, first.scorer)
    headline, pairs = alike((lived.store, first), (store, facts))
    assert headline < 0.5
    assert pairs >= 0.99
    noted = opening_of(store, "files", 1)
    assert noted is not None
    assert set(noted.ingests) == {*SYNTHETIC} - {SCORER_TRAIN}
    page = store.read_bytes(f"reports/{facts.report_name}").decode()
    assert f"Held-out {WILD_TEST}" in page
    again = plan_round(Context(store, Choices(config=str(file)).configured().config))
    assert next(look.title for look in again.looks if look.verdict == "run") == "generate"
    with pytest.raises(ConfigError, match=r"start.policy is .*campaign files began with .*name another campaign"):
        dpo_round(store.url, config=str(file), changes={"start.policy": facts.policy_after})


def test_without_held_out_labels_a_policy_is_trained_and_none_promoted(
    lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    sources = {"sources.validation": [], "sources.test": [], "sources.drift": []}
    for number, of_kind in enumerate((dpo_round, clean_round), 1):
        facts = of_kind(lived.store.url, PROFILE, campaign="blind", changes=sources)
        assert facts.number == number
        assert facts.policy_after is not None
        assert not facts.promoted
        assert "held-out labelled people: 0 data sets" in facts.why
        assert facts.key("evaluate", "before") is None
        assert "held-out labelled people" in lived.store.read_bytes(f"reports/{facts.report_name}").decode()


def test_a_gate_before_training_ends_in_a_report(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    facts = dpo_round(lived.store.url, PROFILE, campaign="strict", changes={"gates.min_pairs": "1000"})
    assert (facts.policy_after, facts.promoted) == (None, False)
    assert facts.key("align") is None
    assert "pairs: 24" in facts.why
    seen = rounds.state(lived.store, "strict")
    assert [event.event for event in seen.events] == ["promoted", "opened", "kept", "closed"]
    page = lived.store.read_bytes(f"reports/{facts.report_name}").decode()
    assert "No policy was trained" in page
    assert json.loads(lived.store.read_bytes("reports/strict-round-1.json"))["promoted"] is False


def test_a_round_in_legs_is_planned_run_and_reported(lived: Lived) -> None:
    """The last of the rounds here. Each leg draws from the policy of the leg before, for people of its own."""
    changes = {"align.legs": "2", "align.objective": "listwise", "align.lora_rank": "2", "align.reference_decay": "0.9"}
    changes |= {"pair.strategy": "crossed", "pair.pairs_per_instance": "4"}
    plan = plan_round(Context(lived.store, load_profile(PROFILE, changes=changes)), "dpo")
    facts = dpo_round(lived.store.url, PROFILE, changes=changes)
    second = {f"{stage} (leg 2)" for stage in ("generate", "score", "pair", "align")}
    second |= {f"{stage} (random pairs, leg 2)" for stage in ("pair", "align")}
    assert {title for title in (look.title for look in plan.looks) if "leg" in title} == second
    assert {run.title for run in facts.runs if "leg" in run.title} == second

    def key(stage: str, role: str = "") -> StageKey:
        found = facts.key(stage, role)
        assert found is not None
        return found

    legs = ("", "leg 2")
    assert facts.policy_after == model_of(lived.store, key("align", "leg 2"))
    assert policy_used(lived.store, key("generate", "leg 2")) == model_of(lived.store, key("align"))
    people = [set(generated_ids(lived.store, key("generate", leg))) for leg in legs]
    assert not people[0] & people[1]
    assert len(people[0] | people[1]) == lived.config.synthesize.wild_train
    rows = read(lived.store, "pairs", stage_keys=[key("pair", leg) for leg in legs])
    assert set(rows.column("strategy").to_pylist()) == {"crossed"}
    scope = next(one for one in scopes(lived.store) if one.name == f"{facts.campaign}/{facts.number}")
    assert scope.pairs == tuple(key("pair", leg) for leg in legs)
    assert scope.control_pairs == (key("pair", "random pairs"), key("pair", "random pairs, leg 2"))
    own = f"campaign = '{facts.campaign}' AND round = {facts.number}"
    assert query(lived.store, f"SELECT count(*) AS n FROM round_pairs WHERE {own}").to_pylist() == [{"n": len(rows)}]
    config = read_configuration(lived.store, facts, lived.config)
    page = fill_round(lived.store, config, facts, datetime(2026, 3, 14, tzinfo=UTC))
    assert page.margins is not None
    assert len(page.margins.values) == len(rows) == next(one.value for one in page.numbers if one.name == "pairs")
    assert {(series.name, series.leg) for series in page.curves[-1].series} == {("loss", 1), ("loss", 2)}
    shown = {strip.instance_id for strip in page.galleries[0].strips}
    assert shown & people[0]
    assert shown & people[1], "winners and losers of either leg"


def test_shares_are_tried_out_and_what_a_round_did_is_found(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    monkeypatch.setattr(round_commands, "begin_server", lambda: lambda: None)
    words = ("--store", lived.store.url, "--profile", PROFILE, "--set", "clean.label=best_of_m", "--swap-share", "0.3")
    ratios = ("--ratio", "0.5", "--ratio", "0.7")
    answer = CliRunner().invoke(app, ["clean-sweep", *ratios, "--train", "--random", *words], env={"COLUMNS": "200"})
    assert answer.exit_code == 0, answer.output
    lines = answer.output.splitlines()
    for share in ("0.5", "0.5 random", "0.7", "0.7 random"):
        assert sum(line.startswith(f"{share} ") for line in lines) >= 2, answer.output
    assert "MPVPE on wild/validation" in answer.output
    found = [record for record in records(lived.store, "keep") if record.tally.ok == 12]
    assert len(found) == 2
    again = CliRunner().invoke(app, ["clean-sweep", *ratios, *words])
    assert "--train trains a policy on it" in " ".join(again.output.split())
    wrong = CliRunner().invoke(app, ["clean-sweep", "--ratio", "1.5", *words])
    assert wrong.exit_code == 2
