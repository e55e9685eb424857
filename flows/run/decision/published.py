"""The published protocols within a round: sources of test that name one are measured by it, before and after."""

from pathlib import Path

from flows.run.campaign.people import People
from flows.run.runner import Runner
from schemas.ids import ModelDigest
from tasks.stages.published import ComparePublished, MeasurePublished


def compare_as_published(
    runner: Runner, people: People, before: ModelDigest, after: ModelDigest, scorer: ModelDigest
) -> None:
    """Both policies on each of those sources; the numbers are for the report, no gate reads them."""
    config = runner.context.config
    bodies = absolute_body(config.body)
    for source in config.sources.test:
        if source.protocol is None:
            continue
        ingests, hypotheses = (people.ingests[source.target],), config.published.hypotheses
        measured_before, measured_after = (
            runner.run(
                MeasurePublished(ingests, source.target, policy, scorer, hypotheses, source.protocol, bodies),
                role=f"{source.data}, {role}",
            )
            for role, policy in (("before", before), ("after", after))
        )
        runner.run(ComparePublished(measured_before, measured_after, source.target), role=source.data)


def absolute_body(body: str) -> str:
    """A path that holds in other processes too; a body's name stays."""
    path = Path(body).expanduser()
    return str(path.absolute()) if path.exists() else body
