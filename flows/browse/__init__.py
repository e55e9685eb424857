"""`adhmr browse`: a web application over a store, for looking at its rounds, people and pairs, and judging these."""
