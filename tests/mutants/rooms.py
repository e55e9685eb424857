"""Which modules hold the science and the protocol, and which tests have to notice when one of them is wrong."""

from typing import Final

ROOMS: Final[dict[str, tuple[str, ...]]] = {
    "models/objectives.py": ("tests/models/test_objectives.py", "tests/parity/test_losses.py", "tests/invariants"),
    "models/diffusion.py": ("tests/models/test_diffusion.py", "tests/parity/test_hyponet.py"),
    "models/cameras.py": (
        "tests/models/test_cameras.py",
        "tests/models/test_kinematics.py",
    ),
    "models/kinematics.py": ("tests/models/test_kinematics.py", "tests/parity/test_kinematics.py"),
    "tasks/train/align.py": (
        "tests/tasks/train/test_align.py",
        "tests/invariants",
        "tests/tasks/train/test_align_stage.py",
    ),
    "tasks/pair.py": ("tests/tasks/test_pair.py",),
    "tasks/score.py": ("tests/tasks/test_score.py",),
    "tasks/stages/pair.py": ("tests/tasks/test_pair.py",),
    "tasks/stages/generate.py": ("tests/tasks/test_generate.py",),
    "tasks/stages/training.py": ("tests/tasks/train/test_align_stage.py", "tests/tasks/train/test_clean_stage.py"),
    "tasks/train/features.py": ("tests/tasks/train/test_features.py",),
    "tasks/engine/share.py": ("tests/tasks/engine/test_shares.py",),
    "tasks/gates.py": ("tests/tasks/test_gates.py",),
    "tasks/compare.py": ("tests/tasks/test_compare.py",),
    "tasks/judge.py": ("tests/tasks/test_judge.py",),
    "tasks/watch.py": ("tests/tasks/test_watch.py",),
    "tasks/train/scorer.py": ("tests/tasks/train/test_scorer_stage.py",),
    "tasks/train/pool.py": ("tests/tasks/train/test_scorer_stage.py",),
    "models/calibration.py": ("tests/models/test_calibration.py",),
    "models/limbs.py": ("tests/models/test_limbs.py",),
    "tasks/rows/part.py": ("tests/tasks/rows/test_part.py",),
    "models/plausibility.py": ("tests/models/test_plausibility.py",),
    "tasks/evaluation/published_change.py": ("tests/tasks/evaluation/test_published.py",),
    "tasks/ingest/people/placing.py": ("tests/tasks/ingest/people/test_placing.py",),
    "tasks/clean/filtering.py": ("tests/tasks/test_clean.py",),
    "tasks/clean/pseudo.py": ("tests/tasks/test_clean.py",),
    "tasks/ingest/formats/folder/reader.py": (
        "tests/tasks/ingest/people/test_boxes.py",
        "tests/tasks/ingest/source/test_spellings.py",
        "tests/tasks/ingest/test_ingest.py",
    ),
    "tasks/ingest/people/row_checks.py": (
        "tests/tasks/ingest/test_row_limits.py",
        "tests/tasks/ingest/people/test_row_checks.py",
        "tests/tasks/ingest/test_annotated.py",
    ),
    "infra/rounds.py": ("tests/infra/test_rounds.py",),
    "infra/stages.py": ("tests/infra/test_stages.py",),
    "infra/file_ranges.py": ("tests/infra/test_pruned_reads.py",),
    "infra/noise.py": ("tests/infra/test_noise.py", "tests/tasks/test_generate.py"),
}
"""Module -> its tests, the quick ones first."""
