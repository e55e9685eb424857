"""`adhmr doctor`: what this machine, a checkpoint, a body, a data set or a store is, and what is wrong with it."""
