"""What `adhmr campaign` prints at its end: a line for each round, and the campaign as a whole."""

import shlex
from collections.abc import Sequence

from flows.order.campaign import Course, Ended
from flows.process.terminal import TextConsole
from flows.run.campaign.course import LEGEND, course_of, measured_on, table
from infra import rounds
from infra.store import Store
from schemas.config.engine import EngineConfig


def print_course(store: Store, config: EngineConfig, course: Course, said: Sequence[str] = ()) -> None:
    """The rounds of a campaign in one screen. `said` are the options that the next commands need as well."""
    out = TextConsole()
    name = config.campaign
    on, drift = measured_on(store, name)
    out.print()
    out.print(f"Campaign {name} ends: {course.ended.why}.", markup=False, soft_wrap=True)
    out.print(f"On held-out {on}, drift on {drift}:", markup=False, soft_wrap=True)
    for line in table(course_of(store, name, course.compared)):
        out.print(line, markup=False, soft_wrap=True)
    for line in LEGEND:
        out.print(line, markup=False, soft_wrap=True)
    policy = rounds.state(store, name).policy or "none"
    out.print(f"policy: {policy[:12]} is current", markup=False)
    out.print(f"next:   {_what_next(config, course.ended, said)}", markup=False, soft_wrap=True)


def _what_next(config: EngineConfig, ended: Ended, said: Sequence[str]) -> str:
    """The commands that may come next."""
    again = ["adhmr", "campaign", *said]
    if ended.how == "waiting":
        return f"`adhmr review` judges its pairs, then `{shlex.join(again)}`"
    if ended.how == "refused":
        more = shlex.join([*again, "--set", f"rounds.stop_after={config.rounds.stop_after + 1}"])
        return f"the reports say why; with other settings, `{more}` tries once more"
    return f"`{shlex.join([*again, '--rounds', str(config.rounds.count + 1)])}` for another round"
