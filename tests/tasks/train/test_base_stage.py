"""train_base: deterministic, and better at its crops than an untrained policy."""

import numpy as np
import pytest
import torch

from tasks.rows.crops import crop_tensor
from tasks.rows.instances import labelled_crops
from tasks.rows.models import load_policy, model_of
from tasks.stages.training import TrainBase
from tests.tasks import micro
from tests.tasks.conftest import MicroStore


@pytest.mark.slow
def test_it_learns_where_the_joints_are(micro_store: MicroStore) -> None:
    here = micro_store.context
    base = here.config.train_base
    longer = base.optimiser.model_copy(update={"steps": 120, "learning_rate": 5e-3, "ema_decay": 0.9})
    config = here.config.model_copy(update={"train_base": base.model_copy(update={"optimiser": longer})})
    done = TrainBase(micro.of(micro_store.ingest_key)).run(type(here)(here.store, config, in_process=True))
    data = labelled_crops(here.store, micro.of(micro_store.ingest_key))
    errors = []
    for digest in (micro_store.policy, model_of(here.store, done.key)):
        with torch.no_grad():
            _, estimate = load_policy(here.store, digest).encode(crop_tensor(data.crops, torch.device("cpu")))
        errors.append(float(np.abs(estimate.uvd.numpy() - data.uvd).mean()))
    assert errors[1] < 0.7 * errors[0]
