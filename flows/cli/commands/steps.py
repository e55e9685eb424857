"""The commands that do a single step of a round, on anything in the store: train-scorer to align."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli import options
from flows.process import surroundings
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
from schemas.errors import GateError

_MODEL = "FILE_OR_DIGEST"
Splits = Annotated[
    list[str], typer.Option("--data", metavar="DATASET/SPLIT", help="People that were ingested; may be given again.")
]
Weighted = Annotated[
    list[str],
    typer.Option("--data", metavar="DATASET/SPLIT[=WEIGHT]", help="People that were ingested; may be given again."),
]
Policy = Annotated[str, typer.Option("--policy", metavar=_MODEL, help="Policy: a file, or of the store.")]
Scorer = Annotated[str, typer.Option("--scorer", metavar=_MODEL, help="Scorer: a file, or of the store.")]


def train_scorer(
    data: Weighted,
    policy: Policy,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
) -> None:
    """Train HMR-Scorer on labelled people, and on the hypotheses that a policy draws for them."""
    step = _Step(store, file, profile, seed, changes)
    from flows.run.steps import asked

    asked.scorer_training(step.context, data, policy)
    step.run("train_scorer", data=data, policy=policy)


def generate(
    data: Splits,
    policy: Policy,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    noise_of_round: Annotated[
        int | None,
        typer.Option("--noise-of-round", min=1, metavar="N", help="Draw the noise of this round of a campaign."),
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option("--scorer", metavar=_MODEL, help="Score in the same pass, where not all are kept."),
    ] = None,
) -> None:
    """Draw hypotheses of a policy for people of the store."""
    step = _Step(store, file, profile, seed, changes)
    from flows.run.steps import asked

    asked.generation(step.context, data, policy, noise_of_round, scorer)
    step.run("generate", data=data, policy=policy, noise_of_round=noise_of_round, scorer=scorer)


def score(
    hypotheses: Annotated[
        str, typer.Option("--hypotheses", metavar="KEY", help="Hypotheses: key of their stage, or its beginning.")
    ],
    scorer: Scorer,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
) -> None:
    """Score hypotheses, generated or ingested."""
    step = _Step(store, file, profile, seed, changes)
    from flows.run.steps import asked

    asked.scoring(step.context, hypotheses, scorer)
    step.run("score", hypotheses=hypotheses, scorer=scorer)


def pair(
    scores: Annotated[
        str, typer.Option("--scores", metavar="KEY", help="Scores: key of their stage, or its beginning.")
    ],
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
) -> None:
    """Choose winners and losers among scored hypotheses."""
    step = _Step(store, file, profile, seed, changes)
    from flows.run.steps import asked

    asked.pairing(step.context, scores)
    step.run("pair", scores=scores)


def keep(
    data: Splits,
    scorer: Scorer,
    policy: Annotated[
        str | None, typer.Option("--policy", metavar=_MODEL, help="Make pseudo-labels by this policy, and filter them.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="FILE|ingested", help="Filter this table of labels, or what people have."),
    ] = None,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
) -> None:
    """Keep of labels what the filter finds good (clean.filter): by default the best-scored share."""
    step = _Step(store, file, profile, seed, changes)
    from flows.run.steps import asked

    asked.keeping(step.context, data, scorer, policy, labels)
    step.run("keep", data=data, scorer=scorer, policy=policy, labels=labels)


def align(
    pairs: Annotated[str, typer.Option("--pairs", metavar="KEY", help="Pairs: key of their stage, or its beginning.")],
    policy: Policy,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar=_MODEL, help="What it is measured against.", show_default="the policy"),
    ] = None,
    replay: Annotated[
        list[str] | None,
        typer.Option(
            "--replay", metavar="DATASET/SPLIT", help="Labelled people that are replayed; may be given again."
        ),
    ] = None,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
) -> None:
    """Train a policy on pairs. Promotes nothing."""
    step = _Step(store, file, profile, seed, changes)
    from flows.run.steps import asked

    asked.alignment(step.context, pairs, policy, reference, replay or ())
    step.run("align", pairs=pairs, policy=policy, reference=reference, replay=replay)


class _Step:
    """What the commands have in common: a look at machine, configuration and store, then the flow, then what it did."""

    def __init__(
        self, store: str | None, file: str | None, profile: str | None, seed: int | None, changes: list[str] | None
    ) -> None:
        quiet_start()
        self.store, self.choices = store, options.choices(file, profile, None, seed, changes)
        config = self.choices.configured().config
        surroundings.refuse()
        opened = options.writable_store(store)
        from schemas.tables import OUTSIDE_ROUNDS
        from tasks.engine.context import Context

        self.context = Context(opened, config, round=OUTSIDE_ROUNDS)
        self.said = options.of_configuration(file, profile, None, seed, changes)

    def run(self, flow: str, **parameters: object) -> None:
        """Run the flow of this name in `flows.steps`, and print how it ended."""
        server_is_ready = begin_server()
        from flows import steps
        from flows.cli.show.steps import print_step

        server_is_ready()
        of_store = options.of_store(self.store)
        chosen = {name: value for name, value in vars(self.choices).items() if name != "campaign"}
        try:
            key = getattr(steps, flow)(**parameters, store=self.store, **chosen)
        except GateError as stop:
            if stop.stage_key is not None:
                print_step(self.context, stop.stage_key, of_store, self.said)
            raise  # so that what stopped it is said last
        from infra.views import write_views_sql

        write_views_sql(self.context.store)
        print_step(self.context, key, of_store, self.said)
