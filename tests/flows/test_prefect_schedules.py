"""Prefect's server writes down the runs of a schedule: what a newer SQLAlchemy made it fail at, in its log alone."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.server import models, schemas
from prefect.server.database import provide_database_interface
from prefect.server.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

pytestmark = pytest.mark.slow


async def scheduled() -> int:
    """How many runs of a deployment with a schedule its server plans."""
    database, stored = provide_database_interface(), cast(Any, models)  # mypy can't see through its decorators
    await database.create_db()
    async with database.session_context(begin_transaction=True) as session:
        flow = await stored.flows.create_flow(session=session, flow=schemas.core.Flow(name="dpo-round"))
        often = schemas.core.DeploymentSchedule(schedule=IntervalSchedule(interval=timedelta(hours=1)), active=True)
        deployment = schemas.core.Deployment(name="dpo-round", flow_id=flow.id, schedules=[often])
        made = await stored.deployments.create_deployment(session=session, deployment=deployment)
        assert made is not None
        return len(await stored.deployments.schedule_runs(session=session, deployment_id=made.id, min_runs=3))


def test_runs_of_a_schedule_are_written_down(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{tmp_path}/prefect.db"}):
        assert asyncio.run(scheduled()) >= 3
