"""Labels that somebody brings, in the place of a policy's: a table, or what people were ingested with."""

from schemas.errors import ConfigError
from tasks.clean.given import GivenLabels, check_given_labels
from tasks.clean.ingested import IngestedLabels
from tasks.clean.names import INGESTED
from tasks.engine.context import Context
from tasks.rows.mix import Mix


def brought_labels(labels: str, people: Mix) -> GivenLabels | IngestedLabels:
    """The stage that takes in the labels `labels`, a file or the word INGESTED, of these people."""
    if labels == INGESTED:
        return IngestedLabels(people.ingests, people.targets, people.part)
    return GivenLabels(people.ingests, labels, people.part)


def check_brought(context: Context, labels: str, people: Mix | None, own_pictures: bool = False) -> None:
    """Raise DataError as that stage would, as far as it can be known by now; people are None if some are to come.

    ConfigError for the labels of pictures that are still to be ingested, as `own_pictures` are: those bring none.
    """
    if labels != INGESTED:
        check_given_labels(context, labels, everybody=people is not None and not own_pictures)
    elif own_pictures:
        raise ConfigError(
            "--labels ingested: a folder of photographs has no labels; name a file, or leave either it or --images out."
        )
    elif people is not None:
        IngestedLabels(people.ingests, people.targets).check(context)
