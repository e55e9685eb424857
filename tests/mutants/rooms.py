"""Which modules hold the science and the protocol, and which tests have to notice when one of them is wrong."""

from typing import Final

_PREFERENCES: Final = ("tests/models/test_preferences.py", "tests/invariants/test_preferences.py")
ROOMS: Final[dict[str, tuple[str, ...]]] = {
    "models/objectives.py": ("tests/models/test_objectives.py", "tests/parity/test_losses.py", "tests/invariants"),
    "models/preferences/comparison.py": _PREFERENCES,
    "models/preferences/dpo.py": (*_PREFERENCES, "tests/parity/test_losses.py"),
    "models/preferences/ipo.py": _PREFERENCES,
    "models/preferences/hinge.py": _PREFERENCES,
    "models/preferences/kto.py": (*_PREFERENCES, "tests/parity/test_losses.py"),
    "models/preferences/group.py": _PREFERENCES,
    "models/preferences/listwise.py": _PREFERENCES,
    "models/preferences/winner_preserving.py": _PREFERENCES,
    "models/preferences/negative_aware.py": _PREFERENCES,
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
    "tasks/pairing/strategies.py": ("tests/tasks/pairing/test_choice.py", "tests/tasks/test_pair.py"),
    "tasks/pairing/choice.py": ("tests/tasks/pairing/test_choice.py", "tests/tasks/test_pair.py"),
    "tasks/train/groups.py": ("tests/tasks/train/test_groups.py",),
    "tasks/train/moving_reference.py": ("tests/invariants/test_training_by_preferences.py",),
    "flows/order/legs.py": ("tests/flows/order/test_legs.py",),
    "tasks/score.py": ("tests/tasks/test_score.py",),
    "tasks/stages/pair.py": ("tests/tasks/test_pair.py",),
    "tasks/stages/generate.py": ("tests/tasks/test_generate.py",),
    "tasks/stages/training.py": ("tests/tasks/train/test_align_stage.py", "tests/tasks/train/test_clean_stage.py"),
    "tasks/train/features.py": ("tests/tasks/train/test_features.py",),
    "tasks/engine/share.py": ("tests/tasks/engine/test_shares.py",),
    "tasks/gates.py": ("tests/tasks/test_gates.py",),
    "tasks/compare.py": ("tests/tasks/test_compare.py",),
    "tasks/judge.py": ("tests/tasks/test_judge.py",),
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
