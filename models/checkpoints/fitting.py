"""Do weights fit a network? One table of what is missing, unknown or misshapen; nothing is skipped in silence."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from schemas.errors import DataError

State = Mapping[str, Tensor]
SHOWN = 8
"""Rows of the table in an error; `Fit.table` has them all."""


@dataclass(frozen=True)
class Difference:
    """One weight that is not in both, or not of one shape in both."""

    kind: Literal["missing", "unknown", "shape"]
    name: str
    in_file: tuple[int, ...] | None
    """Shape in the file."""
    in_network: tuple[int, ...] | None
    """Shape in the network."""
    optional: bool = False
    """The file need not have it, or the network has no use for it, by the rules of the published code."""

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"missing   {self.name} {self.in_network}"
        if self.kind == "unknown":
            return f"unknown   {self.name} {self.in_file}"
        return f"shape     {self.name} is {self.in_file}, expected {self.in_network}"


@dataclass(frozen=True)
class Fit:
    """How a file's weights compare with a network's."""

    network: str
    wanted: int
    """Weights of the network."""
    matched: int
    """Those of them that the file has in the same shape."""
    differences: tuple[Difference, ...]

    @property
    def problems(self) -> tuple[Difference, ...]:
        """Differences that keep the weights from being loaded."""
        return tuple(row for row in self.differences if not row.optional)

    @property
    def optional(self) -> tuple[Difference, ...]:
        """Differences that the published code allows: missing weights keep their values, unknown ones are left out."""
        return tuple(row for row in self.differences if row.optional)

    def table(self, limit: int | None = None) -> str:
        """The problems, one a line, at most `limit` of them."""
        rows = [str(row) for row in self.problems]
        more = [f"... and {len(rows) - limit} more"] if limit is not None and len(rows) > limit else []
        return "\n".join(f"  {row}" for row in rows[:limit] + more)

    def allowed(self) -> str:
        """The optional differences in one line, counted by the first part of their names; empty if there are none."""
        counts = Counter((row.kind, row.name.partition(".")[0]) for row in self.optional)
        return ", ".join(f"{kind} {name} ({count})" for (kind, name), count in counts.items())


def compare(module: nn.Module, state: State, optional: Sequence[str] = ()) -> Fit:
    """Compare weights with those of `module`.

    `optional` are patterns at the beginning of names: a difference of such a name is no problem, unless it is one of
    shape.
    """
    ours = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in state.items()}

    def allowed(name: str) -> bool:
        return any(re.match(pattern, name) for pattern in optional)

    rows = [
        Difference("missing", name, None, shape, allowed(name)) for name, shape in ours.items() if name not in theirs
    ]
    rows += [
        Difference("unknown", name, shape, None, allowed(name)) for name, shape in theirs.items() if name not in ours
    ]
    rows += [
        Difference("shape", name, theirs[name], shape)
        for name, shape in ours.items()
        if name in theirs and theirs[name] != shape
    ]
    matched = sum(theirs.get(name) == shape for name, shape in ours.items())
    return Fit(type(module).__name__, len(ours), matched, tuple(rows))


def check_fit(fit: Fit, where: str) -> None:
    """DataError with the table if there are problems."""
    if fit.problems:
        raise DataError(
            f"{where} does not fit {fit.network} as configured (differences: {len(fit.problems)}, matching weights: "
            f"{fit.matched} of {fit.wanted}); give the configuration that it was trained with, or another file:\n"
            + fit.table(SHOWN)
        )


def check_finite(state: State, where: str, names: Iterable[str] | None = None) -> None:
    """DataError that names the weights with NaN or infinity; `names` limits the search."""
    weights = state if names is None else {name: state[name] for name in names if name in state}
    bad = [name for name, value in weights.items() if value.is_floating_point() and not _is_finite(value)]
    if bad:
        raise DataError(
            f"{where} holds NaN or infinity in {len(bad)} of {len(weights)} weights, the first: {', '.join(bad[:3])}. "
            "A training that diverged can't be used; take an earlier model."
        )


def _is_finite(value: Tensor) -> bool:
    """The sum of what is finite is mostly finite too, never where one number isn't, and is taken ten times sooner."""
    if value.element_size() == 1:  # no arithmetic has all forms of eight bits
        value = value.float()
    return bool(value.sum().isfinite()) or bool(torch.isfinite(value).all())


def load_into(module: nn.Module, state: State, where: str = "the checkpoint", optional: Sequence[str] = ()) -> Fit:
    """Load weights that must fit but for the `optional` names (see `compare`).

    DataError that lists missing, unknown and misshapen ones, or names those with NaN; the module is then unchanged.
    """
    fit = compare(module, state, optional)
    check_fit(fit, where)
    names = module.state_dict().keys()
    check_finite(state, where, names)
    module.load_state_dict({name: state[name] for name in names if name in state}, strict=False)
    return fit
