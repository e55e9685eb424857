"""What makes the gain: the default beside the same training with one thing changed, over the seeds."""

from collections.abc import Sequence

from schemas.config.engine import EngineConfig
from schemas.splits import WILD_TEST
from tasks.report.measured import Metrics
from tasks.rows.metrics import DIVERSITY
from tests.evidence.controls import CONSTANT_OFFSET, TITLES, controls_of
from tests.evidence.figures import OfSeeds, cell, last_cells, line, number, of_seeds
from tests.evidence.results import ENERGY

_ZERO_NOISE, _BEST = "zero_noise_mpvpe", "best_of_m_mpvpe"
_MEASURES = (_ZERO_NOISE, "expected_mpvpe", _BEST, ENERGY, DIVERSITY)


def ablations(found: Sequence[Metrics], seeds: Sequence[int], config: EngineConfig) -> list[str]:
    """Tables of the default and its controls; `found` are the seeds' metrics, those of the controls among them."""
    samples = config.evaluate.generate.hypotheses - 1
    rows = _rows(config)
    lines = [
        f"## What makes the gain: the same training with one thing changed, change on {WILD_TEST}",
        "",
        f"Same store, steps, batches and replay. Mean over {len(seeds)} seeds with Student's 95 % interval.",
        "",
        line("what is trained", "zero-noise MPVPE", "expected", f"best of {samples}", "energy score", "diversity"),
        line(*["---"] * 6),
    ]
    for title, role in rows:
        lines.append(line(title, *(_told(of_seeds(found, name, role, WILD_TEST)) for name in _MEASURES)))
    lines += ["", *_shares(found, config), ""]
    lines += ["The default less each of them, in points; people of a seed are resampled together for all:", ""]
    lines += [line("the default less", "zero-noise MPVPE", "its spread", f"best of {samples}", "energy score")]
    lines += [line(*["---"] * 5)]
    for title, role in rows[1:]:
        minus = role.replace("change_", "change_minus_", 1)
        zero_noise, best, energy = (of_seeds(found, name, minus, WILD_TEST) for name in (_ZERO_NOISE, _BEST, ENERGY))
        spread = "" if zero_noise is None else zero_noise.spread
        lines.append(line(title, _told(zero_noise), spread, _told(best), _told(energy)))
    heads = ["", *(f"seed {seed}" for seed in seeds), "mean", "spread"]
    lines += ["", "Zero-noise MPVPE of each seed, with its interval:", "", line(*heads), line(*["---"] * len(heads))]
    for title, role in rows:
        metrics = [of_seed.get((_ZERO_NOISE, role, WILD_TEST)) for of_seed in found]
        lines.append(line(title, *map(cell, metrics), *last_cells(metrics)))
    return [*lines, ""]


def _rows(config: EngineConfig) -> list[tuple[str, str]]:
    return [
        ("the default", "change"),
        ("the same on random pairs", "change_random_pairs"),
        ("the policy before, with less noise", "change_less_noise"),
        *((control.title, f"change_{control.role}") for control in controls_of(config)),
        *((title, f"change_{role}") for role, title in TITLES.items()),
    ]


def _told(figure: OfSeeds | None) -> str:
    return "" if figure is None else figure.told


def _shares(found: Sequence[Metrics], config: EngineConfig) -> list[str]:
    """What of the gain at zero noise is whose, in words."""

    def mean(role: str) -> float:
        figure = of_seeds(found, _ZERO_NOISE, f"change{role}", WILD_TEST)
        assert figure is not None, role
        return figure.mean

    whole, roles = mean(""), {control.role for control in controls_of(config)}
    lines = []
    if "estimate_alone" in roles:
        estimate, dpo = mean("_estimate_alone"), mean("_dpo_alone")
        lines.append(
            "`align.encoder_distillation` is a regression of the image encoder's own pose estimate on winner "
            "+ push * (winner - loser), and no preference objective. Alone it changes zero-noise MPVPE by "
            f"{number(estimate, '%')}, where the default does by {number(whole, '%')} and DPO through the denoiser "
            f"alone by {number(dpo, '%')}: {100 * estimate / whole:.0f} % of the gain are reached without any DPO."
        )
    if "no_preference" in roles:
        rest = mean("_no_preference")
        lines.append(
            f"With the weight of the preference term at 0, {number(rest, '%')} of {number(whole, '%')} remain: the "
            f"term makes {100 * (1 - rest / whole):.0f} % of the gain at zero noise."
        )
    ceiling, constant = mean("_ceiling"), mean(f"_{CONSTANT_OFFSET}")
    lines += [
        "",
        f"Whether the problem can show anything: with the encoder frozen and the true labels of the same people the "
        f"denoiser gains {number(ceiling, '%')} at zero noise in as many steps, which is no bound; one constant "
        f"offset for everybody gives {number(constant, '%')}, {100 * constant / whole:.0f} % of the default's gain.",
    ]
    return lines
