"""Clean: pseudo-labels for photographs, what the scorer thinks of them, and the best of them kept (ADHMR, section 3.4).

PseudoLabel (or GivenLabels, IngestedLabels) -> ScoreLabels -> Keep; then `tasks.train.clean` trains on what was kept.
"""
