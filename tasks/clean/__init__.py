"""Clean: pseudo-labels for photographs, what the scorer thinks of them, and the best of them kept (ADHMR, section 3.4).

PseudoLabel (or GivenLabels, IngestedLabels, and SwapLabels) -> ScoreLabels -> Keep, by one of `filters`; then
`tasks.train.clean` trains on what was kept.
"""
