"""The command regenerate: one hypothesis once more, from its noise."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from flows.process.visible import visible


def regenerate(
    instance: Annotated[str, typer.Argument(help="The person: DATASET/SPLIT/PICTURE#N, as the tables name people.")],
    sample: Annotated[int, typer.Argument(min=0, help="Which of the person's hypotheses; 0 is that of zero noise.")],
    generation: Annotated[
        str, typer.Option("--generation", metavar="KEY", help="Beginning of its key.", show_default="the newest")
    ] = "",
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write it as .npz instead.")] = None,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    changes: options.Changes = None,
) -> None:
    """Make one hypothesis again, as the policy drew it: from its own noise, whether its row was kept or not."""
    quiet_start()
    opened = options.open_store(store)
    config = options.choices(file, profile, None, None, changes).configured().config
    import json

    import numpy as np

    from tasks.regenerate import generation_of
    from tasks.regenerate import regenerate as make

    made = make(opened, generation_of(opened, instance, generation), instance, sample, config.body)
    key, policy = made.generation.stage_key, made.generation.models[0]
    if to is None:
        about = {"instance_id": instance, "sample_index": sample, "generation_id": key, "policy": policy}
        arrays = (("uvd", made.uvd), ("twist", made.twist), ("betas", made.betas))
        plain = {name: np.asarray(values, float).tolist() for name, values in arrays}
        typer.echo(json.dumps({**about, **plain, "root_depth_m": made.root_depth_m}))
    else:
        np.savez(to, uvd=made.uvd, twist=made.twist, betas=made.betas, root_depth_m=made.root_depth_m)
    said = f"hypothesis {sample} of {instance}, drawn by policy {policy[:12]} in {key[:12]}: its row is {made.row}"
    if made.row == "differs":
        said += f" in the last digits; it was made on {made.generation.device}, by another version of torch or machine"
    typer.echo(visible(said), err=True)
