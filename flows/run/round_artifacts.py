"""A round in Prefect's user interface: its run's name and final state, and artifacts that show what came of it.

All of it is for display: a Prefect server that is slow or gone, or a picture that can't be drawn, costs the round
nothing but a warning.
"""

import base64
import logging
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast
from uuid import UUID

from flows.process.errors import without_passwords
from flows.progress.artifacts import ask, create_artifact, current_runs
from flows.run.decision.reviewed import Waiting
from infra.commits import commits_of
from infra.stages import find
from infra.store import Store
from schemas.config.engine import EngineConfig
from tasks.report import measured
from tasks.report.content import OWN_PEOPLE
from tasks.report.facts import RoundFacts
from tasks.report.numbers import format_number, format_span
from tasks.report.pictures.winners import NOTE, draw_pairs

log = logging.getLogger(__name__)

COUNTS, REPORT, PAIRS = "round-counts", "round-report", "winners-and-losers"
"""Keys of the artifacts: a table, a page of markdown, an image."""
_outcomes: list[RoundFacts | Waiting] = []
"""What came of the last round of this process."""


class Artifact(NamedTuple):
    """An artifact: its key, its type in Prefect, its content and a line about it."""

    key: str
    type: str
    data: Any
    text: str


def name_run(kind: str, number: int, campaign: str, policy: str) -> None:
    """Give the flow run that calls this the name of its round, and of the policy that the round begins with."""
    _, run = current_runs()
    if run is not None:
        name = f"{kind}-round {number} of {campaign}, policy {policy[:12]}"
        _unharmed("the run's name", lambda: ask(lambda client: client.update_flow_run(run, name=name)))


def outcome(facts: RoundFacts | Waiting) -> RoundFacts | Waiting:
    """What a flow returns for its run to end in the state Promoted, Kept or Waiting; the flow's caller gets the
    facts, or what the round waits for."""
    from prefect.states import Completed

    _outcomes.append(facts)
    if isinstance(facts, Waiting):
        text = f"round {facts.number} of {facts.campaign} {facts}; `adhmr review` judges them, and the next run goes on"
        return cast(Waiting, Completed(data=facts, name="Waiting", message=text))
    policy = facts.policy_after if facts.promoted else facts.policy_before
    name = "Promoted" if facts.promoted else "Kept"
    message = (
        f"{facts.title} of {facts.campaign}: {name.lower()}, policy {(policy or '')[:12]} is current ({facts.why})"
    )
    return cast(
        RoundFacts, Completed(data=facts, name=name, message=message)
    )  # Prefect unpacks the facts from the state


def facts_of(round_flow: Callable[..., RoundFacts | Waiting], *arguments: Any, **named: Any) -> RoundFacts | Waiting:
    """Do a round; its facts or what it waits for, also where the server's answer to its end was lost.

    Prefect's client sends the end once more then, and the state that the server gives back has no facts in it.
    """
    from prefect.exceptions import MissingResult

    _outcomes.clear()
    try:
        return round_flow(*arguments, **named)
    except MissingResult:
        if not _outcomes:
            raise
        return _outcomes[-1]


def show_round(store: Store, config: EngineConfig, facts: RoundFacts) -> None:
    """Write the round's artifacts, if this runs in a Prefect run."""
    _, run = current_runs()
    if run is None:
        return
    makers: tuple[Callable[[Store, EngineConfig, RoundFacts], Artifact | None], ...] = (counts, report, pairs)
    for make in makers:
        _unharmed(f"the {make.__name__}", partial(_make_and_write, make, store, config, facts, run))


def counts(store: Store, config: EngineConfig, facts: RoundFacts) -> Artifact:
    """Every stage of the round with its units: ok, filtered, failed."""
    rows = []
    for run in facts.distinct_runs():
        record = find(store, run.key)
        row: dict[str, Any] = {"stage": run.title, "was": run.state}
        if record is not None:
            tally = record.tally
            row |= {"units": record.units_in, "ok": tally.ok, "filtered": tally.filtered, "failed": tally.failed}
            row |= {"rows": sum(record.rows.values()), "seconds": round(record.seconds, 1)}
        rows.append({**row, "key": run.key[:12]})
    return Artifact(COUNTS, "table", rows, f"{facts.title} of {facts.campaign}: units of every stage")


def report(store: Store, config: EngineConfig, facts: RoundFacts) -> Artifact:
    """Outcome, figures, gates and where everything is, as markdown."""
    outcome_words = "promoted" if facts.promoted else "kept"
    lines = [f"# {facts.title} of {facts.campaign}: {outcome_words}", "", facts.why, ""]
    for group in measured.headline(measured.round_metrics(store, facts), config):
        lines += [f"## {group.title}", "", "| | before | after | change |", "| --- | --- | --- | --- |"]
        for row in group.rows:
            change = row.change
            changed = ""
            if change is not None:
                changed = f"{format_number(change.value, '%')} % {format_span(change.low, change.high, '%')}"
            figures = [f"{format_number(value, row.unit)} {row.unit}" for value in (row.before, row.after)]
            lines.append(f"| {' | '.join((row.name, *figures, changed))} |")
        lines.append("")
    if facts.verdicts:
        lines += ["## Gates", "", *(f"- {verdict}" for verdict in facts.verdicts), ""]
    lines += [f"- note: {notice}" for notice in facts.notices]
    lines += ["", "## Where it is", "", f"- report: {_page(store, facts)}"]
    lines += [f"- policy before: `{facts.policy_before}`", f"- policy trained: `{facts.policy_after or 'none'}`"]
    lines += ["", "## Commits", ""]
    commits = commits_of(store, [run.key for run in facts.distinct_runs()])
    lines += [f"- {commit.table} version {commit.version}: {commit.note} (`{commit.uri}`)" for commit in commits]
    return Artifact(REPORT, "markdown", "\n".join(lines), f"{facts.title} of {facts.campaign}: {outcome_words}")


def pairs(store: Store, config: EngineConfig, facts: RoundFacts) -> Artifact | None:
    """A few winners and losers, as a picture in a data URL: the user interface may see no store."""
    pair_sets, hypotheses = facts.own_pairs(), facts.drawn
    generated = find(store, hypotheses) if hypotheses is not None else None
    if not pair_sets or generated is None or any(find(store, key) is None for key in pair_sets):
        return None
    jpeg = draw_pairs(store, config, generated.reads, pair_sets)
    if jpeg is None:
        return None
    page = _page(store, facts, f"#{OWN_PEOPLE}")
    text = f"{NOTE} Larger, with the people who got better and worse and in 3D: the round's report. {page}."
    return Artifact(PAIRS, "image", f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}", text)


def _page(store: Store, facts: RoundFacts, part: str = "") -> str:
    """How to see the round's report, and where it is; no link, as browsers follow none from a server's page to a file
    or a bucket, and say nothing of it."""
    about = ["--round", str(facts.number), "--campaign", facts.campaign, "--store", store.url]
    command = shlex.join(["adhmr", "report", *about, "--open"])
    return f"`{command}` opens it; it is `{store.report_uri(facts.report_name)}{part}`"


def _make_and_write(
    make: Callable[[Store, EngineConfig, RoundFacts], Artifact | None],
    store: Store,
    config: EngineConfig,
    facts: RoundFacts,
    run: UUID,
) -> None:
    artifact = make(store, config, facts)
    if artifact is not None:
        create_artifact(*artifact, run)


def _unharmed(what: str, work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:
        log.debug("Showing %s in Prefect failed", what, exc_info=True)
        text = without_passwords(str(error))
        log.warning("Prefect does not show %s of this round (%s: %s).", what, type(error).__name__, text)
