"""MLflow: an experiment for each campaign, a run for each training, on the server that MLFLOW_TRACKING_URI names, else
in a database below the store's `tracking`, if that is on a disk.

A training that was killed and goes on has one run.
"""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from infra.tracking.tracking import Point, Tracked, flat
from schemas.errors import ConfigError

SERVER: Final = "MLFLOW_TRACKING_URI"
KEY: Final = "adhmr.stage_key"
_LONGEST: Final = 500
_AT_ONCE: Final = 100
"""Metrics or parameters of a request; a server takes a hundred of the latter."""
_beginning = Lock()
"""Trainings of a round begin side by side, and the first of them makes the database, which MLflow lets one do alone."""


class MLflow:
    """The run of a training."""

    def __init__(self, tracked: Tracked) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        with _beginning:
            self.client = MlflowClient(tracking_uri=_server(tracked))
            self.run = self._run(tracked)
        self.told = self._told()

    def points(self, points: Sequence[Point]) -> None:
        now = int(time.time() * 1000)
        new = [(step, figures) for step, figures in points if step not in self.told]
        metrics = [Metric(name, value, now, step) for step, figures in new for name, value in figures.items()]
        for place in range(0, len(metrics), _AT_ONCE):
            self.client.log_batch(self.run, metrics=metrics[place : place + _AT_ONCE])
        self.told |= {step for step, _ in new}

    def end(self, history: Sequence[Point], model: str) -> None:
        self.points(history)
        self.client.set_tag(self.run, "adhmr.model", model)
        self.client.set_terminated(self.run)

    def abort(self) -> None:
        self.client.set_terminated(self.run, "KILLED")

    def _run(self, tracked: Tracked) -> str:
        """The run of this stage: that of an earlier try, or a new one."""
        experiment = self._experiment(tracked.campaign)
        runs = self.client.search_runs([experiment], f"tags.`{KEY}` = '{tracked.stage_key}'")
        for run in runs:
            self.client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        tags = {KEY: tracked.stage_key, "adhmr.store": tracked.store.url, "adhmr.round": str(tracked.round)}
        name = f"round {tracked.round}, {tracked.title}"
        new = self.client.create_run(experiment, tags=tags, run_name=name)
        run_id = str(new.info.run_id)
        params = [Param(key, value[:_LONGEST]) for key, value in flat(tracked.settings).items()]
        for place in range(0, len(params), _AT_ONCE):
            self.client.log_batch(run_id, params=params[place : place + _AT_ONCE])
        return run_id

    def _experiment(self, campaign: str) -> str:
        found = self.client.get_experiment_by_name(campaign)
        if found is None:
            try:
                return str(self.client.create_experiment(campaign))
            except MlflowException:
                found = self.client.get_experiment_by_name(campaign)  # another process may have been first
                if found is None:
                    raise
        return str(found.experiment_id)

    def _told(self) -> set[int]:
        """The steps that are there from an earlier try."""
        return {metric.step for metric in self.client.get_metric_history(self.run, "loss")}


def _server(tracked: Tracked) -> str:
    said = os.environ.get(SERVER)
    if said:
        return said
    if not tracked.store.is_local:
        raise ConfigError(f"the store is on S3, which holds no database: name a server ({SERVER})")
    folder = Path(tracked.store.path("tracking"))
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"
