"""A store of the release before: its stages are reused, and today's write to it."""
