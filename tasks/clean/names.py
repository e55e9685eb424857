"""What the stages of cleaning call things in the tables."""

OWN = "pseudo"
"""`label_set` of a pseudo-label from the instance's own picture."""
SWAPPED = "pseudo-swapped"
"""`label_set` of one that was made from another picture on purpose."""
GIVEN = "given"
"""`label_set` of one that was brought as a file."""
KEPT = "kept"
"""`label_set` of those that passed the filter."""

BELOW = "score below the kept share"
NO_SCORE = "no score"
INCOMPLETE = "not all joints known"
UNKNOWN_INSTANCE = "no such instance"
OTHER_BODY = "label of another body"

FILTER = "filter"
"""The role of the metrics that `keep` writes."""
