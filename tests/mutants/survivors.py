"""Mutants that once survived every test, by hand: each must die now, whatever the drawn ones do."""

from dataclasses import dataclass
from pathlib import Path

from tests.mutants.draw import Mutant


@dataclass(frozen=True)
class Survivor:
    """A change of a module's text: `old` stands there once. `tests` must notice it."""

    what: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutant(self, root: Path) -> Mutant:
        """The changed module. AssertionError where the text isn't there once: the module was rewritten."""
        source = (root / self.module).read_text(encoding="utf-8")
        assert source.count(self.old) == 1, f"{self.module} holds {self.old!r} {source.count(self.old)} times, not once"
        line = source[: source.index(self.old)].count("\n")
        changed = source.replace(self.old, self.new)
        return Mutant(self.module, line + 1, self.what, self.new, source.splitlines()[line].strip(), changed)


_ALIGN, _ALIGN_TESTS = "tasks/train/align.py", ("tests/tasks/train/test_align.py",)
_RANGES, _RANGES_TESTS = "infra/file_ranges.py", ("tests/infra/test_pruned_reads.py",)
SURVIVORS = (
    Survivor(
        "winner and loser swapped",
        _ALIGN,
        "[pairs.winner[rows], pairs.loser[rows]]",
        "[pairs.loser[rows], pairs.winner[rows]]",
        _ALIGN_TESTS,
    ),
    Survivor(
        "reference not mirrored with the policy",
        _ALIGN,
        "self.reference.encode(batch.crops[: self._denoised(batch)])[0]",
        "self.reference.encode(batch.crops[: self._denoised(batch)].flip(3))[0]",
        _ALIGN_TESTS,
    ),
    Survivor(
        "EDM weight dropped",
        "tasks/train/data.py",
        "weight = weight * edm_weight(diffusion.sigma(time), diffusion.config.sigma_data)",
        "weight = weight * 1.0",
        _ALIGN_TESTS,
    ),
    Survivor("replay weight dropped", _ALIGN, "config.replay * supervised", "supervised", _ALIGN_TESTS),
    Survivor("estimate weight dropped", _ALIGN, "config.encoder_distillation * regression", "regression", _ALIGN_TESTS),
    Survivor(
        "twists not mirrored with the crop",
        "tasks/train/augment.py",
        "return torch.where(self._mirrored(twists), mirror_twist(twists), twists)",
        "return twists",
        _ALIGN_TESTS,
    ),
    Survivor(
        "best of M counts the zero-noise sample",
        "tasks/compare.py",
        'figures[f"best_of_m_{name}"] = random.min(axis=1)',
        'figures[f"best_of_m_{name}"] = values.min(axis=1)',
        ("tests/tasks/test_compare.py",),
    ),
    Survivor(
        "share_of_first taken against before",
        "tasks/compare.py",
        'first = figures["first"][DIVERSITY]',
        'first = figures["before"][DIVERSITY]',
        ("tests/tasks/test_compare.py",),
    ),
    Survivor(
        "the first policy is the newest",
        "infra/rounds.py",
        "first_policy=changes[0].policy if changes else None",
        "first_policy=changes[-1].policy if changes else None",
        ("tests/infra/test_rounds.py",),
    ),
    Survivor(
        "stages in the order of time alone, not of reads",
        "infra/stages.py",
        "            if key in by_key and key not in ordered:\n                take(by_key[key])\n",
        "            pass\n",
        ("tests/infra/test_stages.py",),
    ),
    Survivor(
        "key-points of another place compared",
        "tasks/ingest/people/row_checks.py",
        "joint not in OTHER_PLACE for joint",
        "True for joint",
        ("tests/tasks/ingest/test_row_limits.py",),
    ),
    Survivor(
        "farthest depth ignored",
        "tasks/ingest/people/row_checks.py",
        "depths.min() <= depths.max() <= FARTHEST_M",
        "depths.min()",
        ("tests/tasks/ingest/test_row_limits.py",),
    ),
    Survivor(
        "twists not mirrored in scoring",
        "tasks/score.py",
        "mirror_joints(uvd), mirror_twist(twists)",
        "mirror_joints(uvd), twists",
        ("tests/tasks/test_score.py",),
    ),
    Survivor(
        "a file that ends where the ids begin left out",
        _RANGES,
        "bisect_left(self._reach, ids[0])",
        "bisect_right(self._reach, ids[0])",
        _RANGES_TESTS,
    ),
    Survivor(
        "of ranges that overlap only the last one's end looked at",
        _RANGES,
        "list(accumulate(self._highs, max))",
        "self._highs",
        _RANGES_TESTS,
    ),
    Survivor("files that say nothing of their ids left out", _RANGES, " + self._unbounded", "", _RANGES_TESTS),
    Survivor(
        "bounds of one file given to another",
        "infra/snapshots.py",
        'files.sort_by([("key", "ascending"), ("low", "ascending"), ("path", "ascending")])',
        'files.sort_by([("key", "ascending"), ("path", "ascending")])',
        _RANGES_TESTS,
    ),
    Survivor(
        "a score that rises alone passes",
        "tasks/gates.py",
        "passed = follows or not rises",
        "passed = True",
        ("tests/tasks/test_gates.py",),
    ),
    Survivor(
        "an error that may have stayed follows the score",
        "tasks/gates.py",
        "high is not None and high < 0 if name == WATCHED_ERROR",
        "low is not None and low < 0 if name == WATCHED_ERROR",
        ("tests/tasks/test_gates.py",),
    ),
    Survivor(
        "all heads learn from everybody",
        "tasks/train/scorer.py",
        "chances < config.head_share",
        "chances < 2",
        ("tests/tasks/train/test_scorer_stage.py",),
    ),
    Survivor(
        "the statistics of a frozen encoder go on",
        "tasks/train/scorer.py",
        "if self.frozen or config.fixed_statistics:",
        "if config.fixed_statistics:",
        ("tests/tasks/train/test_scorer_stage.py",),
    ),
    Survivor(
        "the precision of a training ends before its way back",
        "tasks/engine/loop.py",
        "            products_of(self.config.precision),  # of the way back as well\n",
        "",
        ("tests/tasks/engine/test_loop.py",),
    ),
    Survivor(
        "a trained first policy may be any",
        "flows/run/campaign/start.py",
        "    if first is None or first == policy:\n",
        "    if first is None or first == policy or said == TRAIN:\n",
        ("tests/flows/run/campaign/test_start.py",),
    ),
    Survivor(
        "the legs of a cell are not looked at",
        "flows/run/studies/asked.py",
        "if of_cell(cell, first).align.legs > 1:",
        "if of_cell(cell, first).align.legs > 99:",
        ("tests/flows/run/studies/test_asked.py",),
    ),
    Survivor(
        "halvings of the rate stay where they are in a leg",
        "schemas/config/optimiser.py",
        "round(at * steps / self.steps)",
        "at",
        ("tests/flows/order/test_legs.py",),
    ),
)
