"""The splits of the data that the engine makes itself, and what each of them is for. No other module spells them."""

from schemas.ids import Target

SOURCE_TRAIN = Target("source", "train")
"""Labelled. Trains the base policy, and is replayed by every later training."""
SOURCE_TEST = Target("source", "test")
"""Labelled. Drift is measured on it."""
SCORER_TRAIN = Target("scorer", "train")
"""Labelled. Trains HMR-Scorer."""
WILD_TRAIN = Target("wild", "train")
"""Without labels. Gives hypotheses, pairs and pseudo-labels."""
WILD_VALIDATION = Target("wild", "validation")
"""Labelled. For gates and choices."""
WILD_TEST = Target("wild", "test")
"""Labelled. For reports alone."""

SYNTHETIC = (SOURCE_TRAIN, SOURCE_TEST, SCORER_TRAIN, WILD_TRAIN, WILD_VALIDATION, WILD_TEST)
"""All of them, in the order in which they are made; a data set is called after its domain."""
HELD_OUT = (WILD_VALIDATION, WILD_TEST, SOURCE_TEST)
"""Those that a policy is measured on."""
