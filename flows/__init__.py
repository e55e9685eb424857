"""The order of stages: Prefect flows; beside them rooms for all that people type and see."""
