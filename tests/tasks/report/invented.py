"""A round that never happened, with every section filled: for the page's tests and for looking at it."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from models.statistics import Interval, within_spearman
from tasks.gates import GateVerdict
from tasks.report import content as page
from tasks.report.curves.findings import Cure, Diagnosis, Finding, Row
from tasks.report.curves.trends import Point, Trend, TrendLine
from tasks.report.settings import SettingRow


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _row(name: str, before: float, percent: float, half: float, random: float, noise: float) -> page.HeadlineRow:
    controls = {
        "random pairs": Interval(random, random - half, random + half),
        "less noise": Interval(noise, noise - half, noise + half),
    }
    change = Interval(percent, percent - half, percent + half)
    return page.HeadlineRow(name, "mm", before, before * (1 + percent / 100), change, 1000, controls=controls)


def _picture(rng: np.random.Generator, tint: tuple[int, int, int]) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:96, :96]
    body = ((rows - 50) / 36) ** 2 + ((columns - 48 - rng.integers(-6, 7)) / 14) ** 2 < 1
    ground = np.stack([190 + 30 * np.sin(rows / 19 + shift) for shift in range(3)], 2)
    return np.where(body[..., None], np.array(tint), ground).astype(np.uint8)


def _posed(rng: np.random.Generator, index: int) -> page.PosedPerson:
    """A tetrahedron for a body."""
    corners = np.array([[0, -0.9, 3], [-0.4, 0.7, 2.8], [0.4, 0.7, 2.8], [0, 0.7, 3.4]])
    meshes = {name: corners + rng.normal(0, 0.05, (4, 3)) for name in ("before", "after", "label")}
    return page.PosedPerson(f"wild/test/{index:06d}#0", (150.0, 150.0, 48.0, 48.0), 96, meshes)


def _stages() -> list[page.StageRow]:
    plan = [
        ("synthesize", "reused", 12, 12, 0, 0, 21.4, "shards", ()),
        ("ingest", "resumed", 2012, 2000, 8, 4, 9.8, "images", ("synthesize",)),
        ("train_base", "reused", 1, 1, 0, 0, 141.0, "models", ("synthesize",)),
        ("train_scorer", "reused", 1, 1, 0, 0, 147.6, "models", ("train_base",)),
        ("generate", "run", 2000, 2000, 0, 0, 24.5, "instances", ("ingest", "train_base")),
        ("score", "run", 40000, 40000, 0, 0, 31.2, "hypotheses", ("generate", "train_scorer")),
        ("pair", "run", 2000, 1987, 13, 0, 0.8, "instances", ("score",)),
        ("align", "run", 1, 1, 0, 0, 52.3, "models", ("pair",)),
        ("evaluate", "run", 1000, 1000, 0, 0, 17.1, "instances", ("align",)),
    ]
    return [
        page.StageRow(name, digest(name), state, units, ok, filtered, failed, seconds, unit, [digest(r) for r in reads])
        for name, state, units, ok, filtered, failed, seconds, unit, reads in plan
    ]


def dpo_round() -> page.RoundReport:
    rng = np.random.default_rng(0)
    quality = rng.standard_normal((400, 20))
    errors = rng.gamma(40, 2, (400, 1)) * np.exp(-0.12 * quality + 0.2 * rng.standard_normal((400, 20)))
    spearman = within_spearman(quality, errors)
    steps = np.arange(0, 200, 4)
    noise = rng.standard_normal((3, steps.size)) * 0.012
    grey, teal, ochre = (150, 160, 170), (60, 140, 155), (205, 150, 90)
    return page.RoundReport(
        title="DPO round 1",
        campaign="tiny",
        created_at="2026-03-14 15:09 UTC",
        outcome="promoted",
        promoted=True,
        summary="Zero-noise MPVPE on held-out wild people fell by 8.9 %, best of 10 by 7.9 %; all gates passed, "
        "so the aligned policy is current.",
        notices=["12 photographs came without boxes: the whole image was taken as the box."],
        headline=[
            page.HeadlineGroup(
                "Held-out wild test",
                [
                    _row("zero-noise MPVPE", 98.43, -8.92, 0.47, -2.03, 0.0),
                    _row("zero-noise MPJPE", 87.15, -8.71, 0.49, -1.96, 0.0),
                    _row("expected MPVPE", 117.62, -9.04, 0.44, -1.84, -4.83),
                    _row("best of 10 MPVPE", 76.21, -7.93, 0.55, -1.77, 5.81),
                    _row("selected MPVPE", 95.8, -7.2, 0.52, -1.31, -0.62),
                ],
                "1,000 instances, 10 samples each, labels of the data set",
            ),
            page.HeadlineGroup(
                "Diversity",
                [
                    page.HeadlineRow(
                        "diversity",
                        "mm",
                        69.3,
                        59.6,
                        Interval(-14.0, -14.6, -13.4),
                        1000,
                        "of the campaign's first policy: 86 %",
                        {"less noise": Interval(-59.4, -59.9, -58.9), "random pairs": Interval(-2.1, -2.6, -1.6)},
                        "higher",
                    )
                ],
            ),
            page.HeadlineGroup("Drift on held-out source", [_row("zero-noise MPVPE", 71.05, 0.36, 0.6, 0.31, 0.0)]),
        ],
        controls=[
            page.Control("random pairs", "the same training, with winner and loser drawn at random"),
            page.Control("less noise", "the old policy, started from noise of 0.4 times the size"),
        ],
        numbers=[
            page.NumberRow("scorer, Spearman within instance", "none", 0.4137, 0.4012, 0.4255, 400, "validation"),
            page.NumberRow("pairs", "count", 1987, note="top against bottom by score"),
        ],
        gates=[
            GateVerdict("enough pairs", "before training", 1987, "count", "at least 500", True),
            GateVerdict("scorer ranks", "before training", 0.4137, "none", "at least 0.300", True, 0.4012, 0.4255),
            GateVerdict(
                "zero-noise change", "before promotion", -8.6, "%", "interval wholly below 0 %", True, -9.3, -7.9
            ),
            GateVerdict(
                "diversity",
                "before promotion",
                86.1,
                "%",
                "at least 75 % of the first policy",
                True,
                note="first: 69.3 mm",
            ),
        ],
        stages=_stages(),
        failures=[
            page.FailureRow(
                "ingest", "failed", "truncated image", 3, ["wild/train/000017.jpg", "wild/train/000940.jpg"]
            ),
            page.FailureRow("ingest", "failed", "box outside the image", 1, ["wild/train/001204.jpg#0"]),
            page.FailureRow("ingest", "filtered", "box smaller than 16 px", 8),
            page.FailureRow("pair", "filtered", "all scores equal", 13, ["wild/train/000002#0"]),
        ],
        score_against_error=page.ScoreAgainstError(
            quality,
            errors,
            Interval(spearman.value, spearman.value - 0.013, spearman.value + 0.012),
            0.512,
            0,
            "validation",
        ),
        margins=page.Margins(np.abs(rng.normal(1.4, 0.5, 1987)), "first against last of 20 by score"),
        curves=[
            page.Curve(
                "Denoising loss against the reference's",
                "none",
                [
                    page.Series("winner", steps, 0.02 * np.sin(steps / 40) + noise[0]),
                    page.Series("loser", steps, 0.5 * (1 - np.exp(-steps / 70)) + noise[1]),
                ],
                0.0,
                "Both rising would mean that the policy forgets; the winner's should stay near zero.",
            ),
            page.Curve(
                "Preference accuracy",
                "none",
                [page.Series("accuracy", steps, 0.5 + 0.4 * (1 - np.exp(-steps / 50)) + noise[2])],
                0.5,
            ),
        ],
        overlays=[
            page.Overlay(
                f"wild/test/{index:06d}#0",
                _picture(rng, grey),
                _picture(rng, teal),
                _picture(rng, ochre),
                101.2 + index,
                88.4 + index * index,
                score=0.9 - 0.03 * index,
                disagreement_mm=60 + 7 * (index % 5),
                lists=["first", *(["improved"] if index < 4 else ["worsened"])],
            )
            for index in range(12)
        ],
        bodies=[_posed(rng, index) for index in (0, 11)],
        faces=np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]),
        samples=10,
        trends=[
            Trend(
                "zero_noise_mpvpe",
                "mm",
                "wild/test",
                [0, 1],
                [
                    TrendLine("policy", [Point(98.4, 97.0, 99.9, 1000), Point(89.7, 88.9, 90.4, 1000)]),
                    TrendLine("random pairs", [None, Point(97.0, None, None, 1000)]),
                ],
            )
        ],
        diagnosis=Diagnosis(
            [
                Finding(
                    "both denoising errors rise",
                    "The policy forgets.",
                    [Row("winner_change", "steps 140 to 196", 0.021, 0.018, 0.025)],
                    [Cure("align.beta", "10.0", "lower it")],
                )
            ],
            ["diversity collapses"],
            [("the winner's denoising error rises", "no curves")],
        ),
        overlays_note="Every 83rd person of the test split, zero-noise sample; the number is its MPVPE.",
        galleries=[
            page.Gallery(
                "Winners and losers",
                "Pairs of this round from the largest margin to the smallest.",
                [
                    page.Strip(
                        f"wild/train/{index:06d}#0",
                        [
                            page.View(_picture(rng, grey), "photograph"),
                            page.View(_picture(rng, teal), "winner", f"score {0.9 - 0.1 * index:.3f}"),
                            page.View(_picture(rng, ochre), "loser", "score 0.112"),
                        ],
                        "largest margin, 0.788" if not index else "",
                    )
                    for index in range(3)
                ],
            ),
            page.Gallery("Before and after", "", missing="These people can't be shown any more: the policy is gone."),
        ],
        mix=page.MixTable(
            ["people", "pairs", "drawn in training"],
            [page.MixRow("insta/train", 0.5, [1500, 1490, 10110]), page.MixRow("3dpw/train", 0.5, [500, 497, 9890])],
            "The share of each is its weight's.",
        ),
        models=[
            page.ModelRow("policy before, reference", digest("base"), [], digest("base config")),
            page.ModelRow(
                "policy after", digest("aligned"), [digest("base"), digest("scorer")], digest("align config")
            ),
            page.ModelRow("scorer", digest("scorer"), [digest("base")], digest("scorer config")),
        ],
        profile="tiny",
        settings=[
            SettingRow("align.beta", "5.0", "10.0", "", "strength of the preference term", "campaign.yaml line 3"),
            SettingRow("align.optimiser.steps", "400", "160", "steps", "optimiser steps"),
        ],
        provenance={"configuration": digest("config"), "code": digest("code"), "seed": "0", "device": "cpu, 2 threads"},
        versions={"python": "3.11.2", "torch": "2.13.0", "ray": "2.60.0", "deltalake": "1.6.6"},
    )


def clean_round() -> page.RoundReport:
    errors = _row("expected MPVPE", 117.62, -3.2, 0.4, 1.1, -4.8)
    return page.RoundReport(
        title="Cleaning round 2",
        campaign="tiny",
        created_at="2026-03-15 09:26 UTC",
        outcome="kept the old policy",
        promoted=False,
        summary="Training on the kept 70 % lowered the expected error, but the source drift gate did not hold.",
        headline=[page.HeadlineGroup("Held-out wild test", [errors])],
        controls=[
            page.Control("random pairs", "training on a random 70 %"),
            page.Control("less noise", "the old policy, started from less noise"),
        ],
        numbers=[
            page.NumberRow("AUC of the score for swapped labels", "none", 0.8934, 0.881, 0.905, 2000),
            page.NumberRow("kept", "count", 1400),
            page.NumberRow("dropped", "count", 600, note="score below the 30 % quantile"),
        ],
        numbers_title="Cleaning",
        gates=[GateVerdict("source drift", "before promotion", 3.4, "%", "at most 2 %", False, 2.9, 3.9)],
        stages=[page.StageRow("score", digest("s"), "run", 2000, 1400, 590, 0, 4000.0)],
    )
