"""Whether a scorer is measured on people whom it has not seen: what it, or what it comes from, was trained on."""

from collections.abc import Iterator, Sequence

from infra.store import Store
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey, Target
from tasks.report.ancestry import Made, ancestry, labelled_splits
from tasks.rows.instances import instance_ids
from tasks.stages.training import TrainScorer


def check_unseen(
    store: Store, scorer: ModelDigest, people: StageKey, target: Target, seen_too: bool = False
) -> tuple[str, ...]:
    """What is to be said of a scorer that is to be measured on the people of a split.

    Raises ConfigError where it was trained on some of them, unless `seen_too`: then that is said. Pictures that lie in
    two data sets under two names are not found.
    """
    line = ancestry(store, scorer)
    known = list(_known(store, line, scorer, people, target))
    if known and not seen_too:
        raise ConfigError(
            f"{known[0]} On people that it knows a scorer looks better than it is: measure it on others, or say "
            "--seen-too to have the figures all the same."
        )
    training = line[-1].stage
    if training is None or training.stage != TrainScorer.name:
        known.append(
            f"What scorer {scorer[:12]} was trained on is not known to this store: see to it that people of {target} "
            "were not among them."
        )
    return tuple(known)


def notes_on_policy(store: Store, policy: ModelDigest, target: Target) -> tuple[str, ...]:
    """What is to be said of a policy whose samples of these people a scorer is measured on."""
    splits = {people.split for made in ancestry(store, policy) for people in made.people if people.role == "labelled"}
    if str(target) not in splits:
        return ()
    return (f"Policy {policy[:12]} was trained on people of {target}: its samples of them are better than of others.",)


def _known(store: Store, line: Sequence[Made], scorer: ModelDigest, people: StageKey, target: Target) -> Iterator[str]:
    """Each training that has seen some of the people, in words: the scorer's own first."""
    every = instance_ids(store, [people], [target])
    for made in reversed(line):
        if made.stage is None or str(target) not in {one.split for one in made.people if one.role == "labelled"}:
            continue
        _, part = labelled_splits(made.stage)
        seen = every if part is None else part.of(every)
        if seen:
            who = f"Scorer {scorer[:12]}"
            if made.digest != scorer:
                who = f"The {made.kind} {made.digest[:12]}, which scorer {scorer[:12]} comes from,"
            yield f"{who} was trained on {len(seen)} of the {len(every)} people of {target}."
