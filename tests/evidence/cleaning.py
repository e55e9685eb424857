"""Whether cleaning is worth a round: foreign labels with 30 % corrupted, and the policy's own, for several seeds.

    python -m tests.evidence.cleaning [--folder adhmr-evidence-cleaning] [--profile tiny] [--seeds 0,1,2] [--page FILE]

Every seed has a store of its own and two campaigns on one base policy and scorer. *foreign* cleans a table of labels
that another label set could hold (the true bodies of wild/train with the published noise of labels), of which a share
is swapped between people; *own* cleans the policy's pseudo-labels, chosen by the scorer. Both train beside controls:
all labels, as many at random, and for *own* the zero-noise labels. A run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import roma
import torch
import typer

from flows.process.errors import clear_errors
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
from infra import rounds
from infra.noise import standard_normal
from infra.standing import newest_ingest, read_standing
from infra.store import Store
from models.bodies import load_body
from models.kinematics import twist_from_rotations
from models.statistics import t_interval
from schemas.config.engine import EngineConfig
from schemas.config.training import LabelNoiseConfig
from schemas.ids import parse_instance_id
from schemas.layers import USUAL_PROFILE
from schemas.splits import WILD_TEST, WILD_TRAIN, WILD_VALIDATION
from schemas.tables import build
from tasks.report.facts import RoundFacts
from tasks.report.measured import Metrics, round_metrics
from tasks.report.stage import read_facts
from tasks.rows.instances import of_target
from tasks.rows.metrics import Metric, read_metrics
from tasks.synthesize.domains import configured_domain
from tasks.synthesize.people import CAMERA, person, stream
from tasks.synthesize.placement import place
from tests.profiles import load_profile

FOREIGN, OWN = "foreign", "own"
"""The campaigns."""
SWAP_SHARE: Final = 0.3
FOUND: Final = 0.9
"""Least AUC."""
NOISE: Final = LabelNoiseConfig()
_BOTH = {"evaluate.measures": "true"}
CHANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    FOREIGN: {**_BOTH, "clean.swap_share": str(SWAP_SHARE), "clean.controls": ["all_labels", "random_labels"]},
    OWN: {
        **_BOTH,
        "clean.label": "best_of_m",
        "clean.controls": ["all_labels", "random_labels", "own_labels"],
    },
}
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
    """The first round of a campaign of a seed."""

    seed: int
    facts: RoundFacts
    metrics: Metrics
    filtered: Mapping[str, Metric]


def main(
    folder: Annotated[Path, typer.Option(help="Where the stores go, one a seed.")] = Path("adhmr-evidence-cleaning"),
    seeds: Annotated[str, typer.Option(help="Whole numbers, separated by commas.")] = "0,1,2",
    profile: Annotated[str, typer.Option(help="Profile to run.")] = USUAL_PROFILE,
    page: Annotated[Path | None, typer.Option(help="A file for the page; the terminal, if none is named.")] = None,
) -> None:
    """Run what is missing for every seed, then write the page."""
    with clear_errors():
        quiet_start()
        server_is_ready = begin_server()
        server_is_ready()
        found = [_run(folder / f"seed-{seed}", profile, seed) for seed in map(int, seeds.split(","))]
        text = cleaning_page({name: [one[name] for one in found] for name in (FOREIGN, OWN)}, profile)
        if page is None:
            typer.echo(text)
        else:
            page.write_text(text, encoding="utf-8")


def _run(place_: Path, profile: str, seed: int) -> dict[str, Cleaned]:
    """Both rounds of a seed."""
    from flows.bootstrap import bootstrap
    from flows.clean_round import clean_round

    found = {}
    for campaign in (FOREIGN, OWN):
        store, changes = Store.open(place_), CHANGES[campaign]
        if not _is_done(store, campaign):
            labels = None
            if campaign == FOREIGN:
                bootstrap(str(place_), profile, campaign, seed, changes)
                labels = place_.with_name(f"{place_.name}-labels.parquet")
                pq.write_table(foreign_labels(store, load_profile(profile, seed, campaign)), labels)
            typer.echo(f"seed {seed}: cleaning round of {campaign}", err=True)
            clean_round(
                str(place_), profile, campaign, seed, labels=None if labels is None else str(labels), changes=changes
            )
        facts = read_facts(store, campaign, 1)
        kept = facts.key("keep")
        filtered = {one.name: one for one in read_metrics(store, kept)} if kept else {}
        found[campaign] = Cleaned(seed, facts, round_metrics(store, facts), filtered)
    return found


def _is_done(store: Store, campaign: str) -> bool:
    return any(event.round == 1 and event.event == "closed" for event in rounds.state(store, campaign).events)


def foreign_labels(store: Store, config: EngineConfig, noise: LabelNoiseConfig = NOISE) -> pa.Table:
    """Rows of `labels` of everybody in wild/train: the bodies that their pictures were made with, with noise.

    The store has none of them; they are made again from the seed, as those who label another set see the people.
    """
    ingest = newest_ingest(store, WILD_TRAIN)
    where = of_target(WILD_TRAIN)
    names = read_standing(store, "instances", [ingest], where=where, columns=["instance_id"]).column(0).to_pylist()
    domain = configured_domain(config.synthesize, WILD_TRAIN.dataset)
    seed, split, body = config.synthesize.seed, WILD_TRAIN.split, load_body(config.body)
    theta, betas, pelvis = [], [], []
    for name in sorted(names):
        index = int(PurePosixPath(parse_instance_id(name).image.key).stem)
        who = person(domain, split, index, seed, config.body)
        stands = place(who.vertices, domain, stream(seed, domain.name, split, index, CAMERA)).transl
        theta.append(np.concatenate([who.label.global_orient, who.label.body_pose]).reshape(24, 3))
        betas.append(who.label.betas)
        pelvis.append(who.label.joints[0] + stands)
    normal = np.stack([standard_normal(seed, name, 0, (82,), "foreign label") for name in sorted(names)])
    sigma = torch.tensor([noise.root] + [noise.pose] * 23)[:, None]
    turned = roma.rotvec_to_rotmat(torch.from_numpy(normal[:, :72].reshape(-1, 24, 3)).float() * sigma)
    rotations = turned @ roma.rotvec_to_rotmat(torch.from_numpy(np.stack(theta)))
    shape = torch.from_numpy(np.stack(betas)) + noise.shape * torch.from_numpy(normal[:, 72:]).float()
    joints = body.joints(rotations, shape)
    transl = torch.from_numpy(np.stack(pelvis)).float() - joints[:, 0]
    vectors = roma.rotmat_to_rotvec(rotations).numpy()
    count = len(names)
    columns: dict[str, Any] = {
        "instance_id": sorted(names),
        "label_set": FOREIGN,
        "dataset": WILD_TRAIN.dataset,
        "split": WILD_TRAIN.split,
        "label_kind": "pseudo",
        "body_model": "smpl",
        "body_digest": body.digest,
        "gender": "neutral",
        "global_orient": vectors[:, 0],
        "body_pose": vectors[:, 1:].reshape(count, 69),
        "betas": shape.numpy(),
        "transl": transl.numpy(),
        "joints": (joints + transl[:, None]).numpy().reshape(count, 87),
        "joints_valid": np.ones((count, 29), bool),
        "twist": twist_from_rotations(rotations, body.rest_joints(shape)).numpy().reshape(count, 46),
        "stage_key": "",
    }
    return build("labels", columns).drop_columns(["stage_key"])


def cleaning_page(found: Mapping[str, Sequence[Cleaned]], profile: str) -> str:
    """The tables, and what of the claims holds."""
    lines = [
        "# Cleaning rounds",
        "",
        f"By `python -m tests.evidence.cleaning`, profile {profile}. Change on {WILD_TEST} against the policy before, "
        "with 95 % intervals by paired bootstrap over people; the last column has the mean over the seeds with "
        "Student's 95 % interval.",
    ]
    titles = {
        FOREIGN: f"Foreign labels, {100 * SWAP_SHARE:.0f} % of them swapped",
        OWN: "The policy's own labels, the scorer's best of M",
    }
    for campaign, rounds_ in found.items():
        lines += ["", f"## {titles[campaign]}", "", *_table(rounds_), "", *_verdicts(rounds_)]
    return "\n".join([*lines, "", "## What holds", "", *_claims(found), ""])


def _table(found: Sequence[Cleaned]) -> list[str]:
    heads = ["", *(f"seed {one.seed}" for one in found), "mean"]
    lines = [_line(*heads), _line(*["---"] * len(heads))]
    for title, name, role in _ROWS:
        metrics = [one.metrics.get((name, role, WILD_TEST)) for one in found]
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


def _claims(found: Mapping[str, Sequence[Cleaned]]) -> list[str]:
    foreign, own = found[FOREIGN], found[OWN]
    areas = [one.filtered["auc"].value for one in foreign if "auc" in one.filtered]
    lines = [
        f"- corrupted labels are found, AUC at least {FOUND}: {_of(sum(area >= FOUND for area in areas), len(foreign))}"
    ]
    for control in ("all_labels", "random_labels"):
        for name in ("zero_noise_mpvpe", "expected_mpvpe"):
            apart = [one.metrics.get((name, f"change_minus_{control}", WILD_TEST)) for one in foreign]
            below = sum(metric is not None and metric.high is not None and metric.high < 0 for metric in apart)
            values = [metric.value for metric in apart if metric is not None]
            over = t_interval(values) if values else None
            together = over is not None and over.high < 0
            lines.append(
                f"- {name.replace('_', ' ')}: the kept share is better than {control.replace('_', ' ')}, interval "
                f"wholly below 0: {_of(below, len(foreign))}; over the seeds: {'yes' if together else 'no'}"
            )
    promoted = sum(one.facts.promoted for one in own)
    return [*lines, f"- the own-label round passes its gates on {WILD_VALIDATION}: {_of(promoted, len(own))}"]


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
