"""What `adhmr study` prints: before it starts, what it will do and take; at its end the table and who wins."""

from flows.cli.documents import print_document
from flows.cli.study import StudyPlan
from flows.process.terminal import TextConsole
from infra.store import Store
from tasks.report.numbers import format_duration
from tasks.study.found import StudyFound
from tasks.study.page import document, table, verdict
from tasks.study.write import PAGE, folder_of


def print_study_plan(plan: StudyPlan) -> None:
    """On standard error, as the rest of what is said before the result."""
    out = TextConsole(stderr=True)
    study, cells = plan.study, plan.study.all_cells
    controls = sum(cell.control for cell in cells)
    out.print(
        f"study {study.name}: {len(cells) - controls} cells and {controls} controls, {len(study.seeds)} seeds, "
        f"at equal {study.equal}",
        markup=False,
        soft_wrap=True,
    )
    out.print(
        f"to do: {plan.trainings} alignments, {plan.evaluations} evaluations; of {plan.to_run + plan.reused} stages "
        f"{plan.reused} are done",
        markup=False,
        soft_wrap=True,
    )
    out.print(_duration(plan), markup=False, soft_wrap=True)
    for note in plan.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)


def _duration(plan: StudyPlan) -> str:
    least, most = (format_duration(seconds) for seconds in (plan.seconds.least, plan.seconds.most))
    if not plan.to_run:
        return "all of it is done"
    if not plan.seconds.most:
        return "how long it takes is not known: this store has not seen such work yet"
    unknown = f", and {', '.join(plan.unknown)}, whose time is not known" if plan.unknown else ""
    return f"it takes {least} to {most}{unknown}"


def print_study(store: Store, found: StudyFound, out: str | None, as_json: bool) -> None:
    """The table and the verdict, or the document."""
    if as_json:
        print_document("study", document(found))
        return
    console = TextConsole()
    seeds = ", ".join(map(str, found.study.seeds))
    console.print(f"\nStudy {found.study.name}, on {found.target}, seeds {seeds}; changes in %, 95 % t-intervals:")
    for line in table(found):
        console.print(line, markup=False, soft_wrap=True)
    console.print(verdict(found), markup=False)
    console.print(f"page:   {folder_of(store, found, out)}/{PAGE}", markup=False, soft_wrap=True)
