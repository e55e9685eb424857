"""doctor --deep: reads everything in a store, and compares it with what was recorded."""

import os
from collections.abc import Iterator

from flows.run.lease import holder_of, leased_campaigns
from infra.deep import Finding, look_over
from infra.store import DEFAULT_URL, VARIABLE, Store
from infra.tables import read
from schemas.errors import EngineError
from tasks.rows.models import damage_of_model, model_path


def examine_deep(url: str | None) -> Iterator[Finding]:
    """What is wrong in the store, each with its cure, and how much was looked at. Nothing is written."""
    try:
        store = Store.open(url, create=False)
    except EngineError as error:
        yield Finding("store", "problem", str(error))
        return
    yield Finding("store", "good", f"{url or os.environ.get(VARIABLE) or DEFAULT_URL} is looked at, all of it")
    yield from look_over(store)
    yield from _models(store)
    yield from _leases(store)


def _models(store: Store) -> Iterator[Finding]:
    try:
        digests = set(read(store, "models", columns=["digest"]).column("digest").to_pylist())
    except EngineError as error:
        yield Finding("models", "problem", str(error))
        return
    problems = [problem for digest in sorted(digests) if (problem := damage_of_model(store, digest))]
    for problem in problems:
        yield Finding("models", "problem", problem)
    if not problems:
        yield Finding("models", "good", f"{len(digests)} files, each the model whose digest it is called by")
    stray = sorted(set(store.whole_files("checkpoints")) - {model_path(digest) for digest in digests})
    if stray:
        text = f"{len(stray)} files that no finished stage made ({stray[0]}): of trainings that were not committed"
        yield Finding("models", "note", f"{text}, the next run takes them or leaves them.")


def _leases(store: Store) -> Iterator[Finding]:
    for campaign in sorted(leased_campaigns(store)):
        holder = holder_of(store, campaign)
        if holder is None:
            text = f"campaign {campaign}: the run that held it is dead; the next one takes it over, nothing to do"
            yield Finding("leases", "note", text)
        else:
            text = f"campaign {campaign}: {holder.what}, process {holder.pid} on {holder.host}, is at work"
            yield Finding("leases", "good", text)
