"""Which hypotheses become winner and loser: strategies that choose pairs, and filters that all of them go through."""
