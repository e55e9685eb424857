"""What a user brings, looked over before anything slow begins and before a round opens.

The flows do it, for the runs of deployments; and so do commands, before they start a server.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from flows.run.campaign.aside import enough_may_be_set_aside
from flows.run.campaign.checks import campaign_checks, people_in, scorer_has_heads
from flows.run.campaign.start import Known, look_at_model
from infra.standing import newest_ingest
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.errors import DataError, check_all
from schemas.ids import Target
from tasks.clean.brought import check_brought
from tasks.engine.context import Context
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.models import find_model
from tasks.stages.synthesize import labelled_targets


def check_round(
    context: Context, own: AnnotationSource | None = None, labels: str | None = None, machine: bool = True
) -> None:
    """Raise EngineError for whatever would end the round: of the configuration, and of pictures, boxes and labels that
    were given beside it; all that is found at once. What is not of this `machine` may be done elsewhere."""
    checks: list[Callable[[], None]] = []
    if own is not None:
        checks.append(partial(_check_pictures, context, own))
    if labels is not None:
        checks.append(partial(_check_labels, context, labels, own is not None))
    check_all(chain(campaign_checks(context, machine, own is not None), checks))


def check_cells(context: Context, cells: Sequence[EngineConfig]) -> None:
    """Raise ConfigError where a cell of a study, of which these are the configurations, asks too much of the scorer."""
    models: dict[str, Known] = {}
    look_at_model(context, "scorer", models)
    check_all(partial(scorer_has_heads, config, models) for config in cells)


def _check_pictures(context: Context, own: AnnotationSource) -> None:
    people = people_in(own)
    if people is not None and context.config.is_judged:
        enough_may_be_set_aside(context.config, own.target, people)


def _check_labels(context: Context, labels: str, own_pictures: bool) -> None:
    check_brought(context, labels, None, own_pictures)


def check_evaluation(store: Store, policy: str | None, dataset: str, split: str) -> None:
    """Raise DataError for a policy that the store doesn't have, or a split that there is nothing to measure on."""
    if policy is not None:
        find_model(store, policy, "policy")
    own, target = labelled_targets(), Target(dataset, split)
    if target in own:
        return
    try:
        newest_ingest(store, target)
    except DataError as error:
        raise DataError(f"{error} The engine's own labelled splits are {', '.join(map(str, own))}.") from error
