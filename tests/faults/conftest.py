"""The micro store of the stages' tests, here as well."""

from tests.tasks.conftest import micro_store, shared_micro_store

__all__ = ["micro_store", "shared_micro_store"]
