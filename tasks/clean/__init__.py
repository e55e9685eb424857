"""Clean: pseudo-labels for photographs, what the scorer thinks of them, and the best of them kept (ADHMR, section 3.4).

pseudo_label (or given_labels) -> score_labels -> keep; then `tasks.train.clean_stage` trains on what was kept.
"""

from tasks.clean.filtering import best_share, keep, keep_spec, score_labels, score_labels_spec
from tasks.clean.given import given_labels, given_labels_spec
from tasks.clean.pseudo import pseudo_label, pseudo_label_spec, swaps

__all__ = [
    "best_share",
    "given_labels",
    "given_labels_spec",
    "keep",
    "keep_spec",
    "pseudo_label",
    "pseudo_label_spec",
    "score_labels",
    "score_labels_spec",
    "swaps",
]
