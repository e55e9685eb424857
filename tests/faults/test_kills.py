"""SIGKILL at the worst moments: run again, the tables are those of a run that nobody disturbed, bit for bit.

Each test kills a stage in a process of its own, on a copy of the micro store, and goes on with it here.
"""

import json
import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from infra.stages import find
from infra.store import Store
from infra.tables import open_table, read
from schemas.tables import CONTRACTS
from tasks.training import stage as training_stage
from tests.faults import process
from tests.tasks.conftest import MicroStore

ROOT = Path(__file__).resolve().parents[2]
VARYING = {"stages": ["started_at", "finished_at", "seconds"], "models": ["created_at", "uri"]}
"""Columns that differ between any two runs: times, and where the store lies."""
FileTimes = dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def undisturbed(
    shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory
) -> "dict[str, dict[str, pa.Table]]":
    """All tables after each of the three stages, done in one go in a store of its own."""
    return {name: tables(_alone(shared_micro_store, tmp_path_factory.mktemp(name), name)) for name in STAGES}
