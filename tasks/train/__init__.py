"""Training: for each training stage its recipe, which the loop of `tasks.engine` runs."""
