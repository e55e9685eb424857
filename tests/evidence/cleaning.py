"""Whether cleaning is worth a round: foreign labels with 30 % corrupted, and the policy's own, for several seeds.

    python -m tests.evidence.cleaning [--folder adhmr-evidence-cleaning] [--profile tiny] [--seeds 0,1,2] [--page FILE]
        [--campaigns foreign,own,later] [--on validation] [--set clean.keep_share=0.5 --name half]

Every seed has a store of its own and three campaigns on one base policy and scorer. *foreign* cleans a table of labels
that another label set could hold (the true bodies of wild/train with the published noise of labels), of which a share
is swapped between people; *own* cleans the policy's pseudo-labels, chosen by the scorer; *later* is a round of DPO and
then a cleaning round as the profile has it, the scorer used by then. All train beside controls: all labels, as many at
random, and but for *foreign* the zero-noise labels. A run that was stopped goes on where it was.

Choices are made on validation, where all is measured unless `--on test` is said. What is tried with --set takes
campaigns of its own in the same stores, called by --name, and does again what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pyarrow.parquet as pq
import typer

from flows.process.errors import clear_errors
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
from infra import rounds
from infra.store import Store
from models.statistics import t_interval
from schemas.errors import ConfigError
from schemas.ids import Target
from schemas.layers import USUAL_PROFILE
from schemas.splits import WILD_TEST, WILD_VALIDATION
from tasks.report.facts import RoundFacts
from tasks.report.measured import Metrics, round_metrics
from tasks.report.stage import read_facts
from tasks.rows.metrics import Metric, read_metrics
from tests.evidence.foreign import FOREIGN, foreign_labels
from tests.evidence.goals import FOUND
from tests.profiles import load_profile

OWN, LATER = "own", "later"
"""The campaigns, beside FOREIGN."""
ROUND: Final[Mapping[str, int]] = {FOREIGN: 1, OWN: 1, LATER: 2}
"""Of each, the round that cleans."""
SWAP_SHARE: Final = 0.3
_BOTH = {"evaluate.measures": "true"}
CHANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    FOREIGN: {**_BOTH, "clean.swap_share": str(SWAP_SHARE), "clean.controls": ["all_labels", "random_labels"]},
    OWN: {
        **_BOTH,
        "clean.label": "best_of_m",
        "clean.controls": ["all_labels", "random_labels", "own_labels"],
    },
    LATER: {**_BOTH, "clean.controls": ["all_labels", "random_labels", "own_labels"]},
}
TITLES: Final[Mapping[str, str]] = {
    FOREIGN: f"Foreign labels, {100 * SWAP_SHARE:.0f} % of them swapped",
    OWN: "The policy's own labels, the scorer's best of M",
    LATER: "The default, after a round of DPO",
}
On = Literal["test", "validation"]
MEASURED: Final[Mapping[On, Target]] = {"test": WILD_TEST, "validation": WILD_VALIDATION}
_ROWS: Final = (
    ("zero-noise MPVPE", "zero_noise_mpvpe", "change"),
    ("expected MPVPE", "expected_mpvpe", "change"),
    ("best of M MPVPE", "best_of_m_mpvpe", "change"),
    ("diversity over the base's", "diversity", "share_of_first"),
    *(
        (f"{words} MPVPE minus *{control.replace('_', ' ')}* (points)", f"{name}_mpvpe", f"change_minus_{control}")
        for control in ("all_labels", "random_labels", "own_labels")
        for words, name in (("zero-noise", "zero_noise"), ("expected", "expected"))
    ),
)


@dataclass(frozen=True)
class Cleaned:
    """The cleaning round of a campaign of a seed."""

    seed: int
    facts: RoundFacts
    metrics: Metrics
    filtered: Mapping[str, Metric]


def main(
    folder: Annotated[Path, typer.Option(help="Where the stores go, one a seed.")] = Path("adhmr-evidence-cleaning"),
    seeds: Annotated[str, typer.Option(help="Whole numbers, separated by commas.")] = "0,1,2",
    profile: Annotated[str, typer.Option(help="Profile to run.")] = USUAL_PROFILE,
    page: Annotated[Path | None, typer.Option(help="A file for the page; the terminal, if none is named.")] = None,
    campaigns: Annotated[str, typer.Option(help="Which of them, separated by commas.")] = ",".join(ROUND),
    on: Annotated[On, typer.Option(help="The people on whom all is measured.")] = "validation",
    tried: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE that differs from the profile.")] = None,
    name: Annotated[str, typer.Option(help="Ends the names of the campaigns, for what is tried.")] = "",
) -> None:
    """Run what is missing for every seed, then write the page."""
    with clear_errors():
        changes = dict(_pair(one) for one in tried or ())
        chosen = _chosen(campaigns)
        if changes and not name:
            raise ConfigError("--set: name what is tried, or its rounds would pass for the profile's: --name half.")
        quiet_start()
        server_is_ready = begin_server()
        server_is_ready()
        found: dict[str, list[Cleaned]] = {campaign: [] for campaign in chosen}
        for seed in map(int, seeds.split(",")):
            for campaign, cleaned in found.items():
                named = f"{campaign}-{name}" if name else campaign
                said = {**changes_of(campaign, on), **changes}
                cleaned.append(_run(folder / f"seed-{seed}", profile, seed, campaign, named, said))
        text = cleaning_page(found, profile, on, changes)
        if page is None:
            typer.echo(text)
        else:
            page.write_text(text, encoding="utf-8")


def changes_of(campaign: str, on: On) -> dict[str, Any]:
    """How the rounds of a campaign differ from the profile's, where people of this split tell what they are worth."""
    return {**CHANGES[campaign], **({} if on == "test" else {"sources.test": [str(MEASURED[on])]})}


def _chosen(campaigns: str) -> list[str]:
    chosen = campaigns.split(",")
    if unknown := [one for one in chosen if one not in ROUND]:
        raise ConfigError(f"--campaigns {unknown[0]}: there are {', '.join(ROUND)}.")
    return chosen


def _pair(text: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: KEY=VALUE, such as clean.keep_share=0.5.")
    return field, value


def _run(place_: Path, profile: str, seed: int, campaign: str, named: str, changes: Mapping[str, Any]) -> Cleaned:
    """What is missing of a campaign of a seed, whose name is `named`, and what came of its cleaning round."""
    from flows.bootstrap import bootstrap
    from flows.clean_round import clean_round
    from flows.dpo_round import dpo_round

    store, number = Store.open(place_), ROUND[campaign]
    if number > 1 and not _is_done(store, named, 1):
        typer.echo(f"seed {seed}: round of DPO of {named}", err=True)
        dpo_round(str(place_), profile, named, seed, changes=dict(changes))
    if not _is_done(store, named, number):
        labels = None
        if campaign == FOREIGN:
            bootstrap(str(place_), profile, named, seed, changes)
            labels = place_.with_name(f"{place_.name}-labels.parquet")
            pq.write_table(foreign_labels(store, load_profile(profile, seed, named, changes)), labels)
        typer.echo(f"seed {seed}: cleaning round of {named}", err=True)
        clean_round(
            str(place_), profile, named, seed, labels=None if labels is None else str(labels), changes=dict(changes)
        )
    facts = read_facts(store, named, number)
    kept = facts.key("keep")
    filtered = {one.name: one for one in read_metrics(store, kept)} if kept else {}
    return Cleaned(seed, facts, round_metrics(store, facts), filtered)


def _is_done(store: Store, campaign: str, number: int) -> bool:
    events = rounds.state(store, campaign).events
    return any(event.round == number and event.event == "closed" for event in events)


def cleaning_page(
    found: Mapping[str, Sequence[Cleaned]], profile: str, on: On = "test", changes: Mapping[str, str] | None = None
) -> str:
    """The tables, and what of the claims holds."""
    said = "".join(f", {field}={value}" for field, value in (changes or {}).items())
    target = MEASURED[on]
    lines = [
        "# Cleaning rounds",
        "",
        f"By `python -m tests.evidence.cleaning`, profile {profile}{said}. Change on {target} against the policy "
        "before, with 95 % intervals by paired bootstrap over people; the last column has the mean over the seeds with "
        "Student's 95 % interval.",
    ]
    for campaign, rounds_ in found.items():
        lines += ["", f"## {TITLES[campaign]}", "", *_table(rounds_, target), "", *_verdicts(rounds_)]
    return "\n".join([*lines, "", "## What holds", "", *_claims(found, target), ""])


def _table(found: Sequence[Cleaned], target: Target) -> list[str]:
    heads = ["", *(f"seed {one.seed}" for one in found), "mean"]
    lines = [_line(*heads), _line(*["---"] * len(heads))]
    for title, name, role in _ROWS:
        metrics = [one.metrics.get((name, role, target)) for one in found]
        known = [metric.value for metric in metrics if metric is not None]
        if known:
            lines.append(_line(title, *map(_cell, metrics), _mean(known)))
    for name in ("auc", "swapped_share", "swapped_among_kept", "kept_share", "least_kept_score"):
        values = [one.filtered[name].value for one in found if name in one.filtered]
        if values:
            cells = [f"{one.filtered[name].value:.3f}" if name in one.filtered else "" for one in found]
            lines.append(_line(name.replace("_", " "), *cells, _mean(values)))
    return lines


def _verdicts(found: Sequence[Cleaned]) -> list[str]:
    """How each round ended by the gates, which read validation."""
    return [f"- seed {one.seed}: {'promoted' if one.facts.promoted else 'kept'}; {one.facts.why}" for one in found]


def _claims(found: Mapping[str, Sequence[Cleaned]], target: Target) -> list[str]:
    lines = []
    if foreign := found.get(FOREIGN, ()):
        areas = [one.filtered["auc"].value for one in foreign if "auc" in one.filtered]
        count = _of(sum(area >= FOUND for area in areas), len(foreign))
        lines += [f"- corrupted labels are found, AUC at least {FOUND}: {count}", *_kept_is_better(foreign, target)]
    for campaign in (OWN, LATER):
        if rounds_ := found.get(campaign, ()):
            promoted = _of(sum(one.facts.promoted for one in rounds_), len(rounds_))
            lines.append(f"- the round of *{campaign}* passes its gates on {WILD_VALIDATION}: {promoted}")
    return lines


def _kept_is_better(foreign: Sequence[Cleaned], target: Target) -> list[str]:
    lines = []
    for control in ("all_labels", "random_labels"):
        for name in ("zero_noise_mpvpe", "expected_mpvpe"):
            apart = [one.metrics.get((name, f"change_minus_{control}", target)) for one in foreign]
            below = sum(metric is not None and metric.high is not None and metric.high < 0 for metric in apart)
            values = [metric.value for metric in apart if metric is not None]
            over = t_interval(values) if values else None
            together = over is not None and over.high < 0
            lines.append(
                f"- {name.replace('_', ' ')}: the kept share is better than {control.replace('_', ' ')}, interval "
                f"wholly below 0: {_of(below, len(foreign))}; over the seeds: {'yes' if together else 'no'}"
            )
    return lines


def _of(count: int, seeds: int) -> str:
    return f"{count} of {seeds} seeds"


def _mean(values: Sequence[float]) -> str:
    value, low, high = t_interval(values)
    return f"{value:+.3g} [{low:+.3g}, {high:+.3g}]" if len(values) > 1 else f"{value:+.3g}"


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return ""
    span = "" if metric.low is None else f" [{metric.low:+.3g}, {metric.high:+.3g}]"
    return f"{metric.value:+.3g}{span}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    typer.run(main)
