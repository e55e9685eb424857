"""The stages of a round, each a dataclass in a module of its own. Knows nothing of Prefect."""
