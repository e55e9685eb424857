"""What commands print that look around: plan, doctor, vacuum and repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.cli.show.costs import print_estimate
from flows.process.terminal import TextConsole, escape, plain_table

if TYPE_CHECKING:
    from flows.cli.plan import Plan
    from infra.deep import Finding
    from infra.repair import Finding as RepairFinding
    from infra.vacuum import VacuumReport

_MARKS = {"good": "[green]good[/green]   ", "note": "[yellow]note[/yellow]   ", "problem": "[red]PROBLEM[/red]"}
_VERDICTS = {"reuse": "[green]reuse[/green]", "resume": "[yellow]resume[/yellow]", "run": "[bold]run[/bold]"}


def print_plan(plan: Plan) -> None:
    """What the next round would do."""
    out = TextConsole()
    out.print(f"[bold]round {plan.number}[/bold] {'goes on' if plan.resumed else 'would begin'}")
    table = plain_table("stage", "", "why", "key")
    for look in plan.looks:
        table.add_row(escape(look.title), _VERDICTS[look.verdict], escape(look.why), look.key[:12] if look.key else "?")
    out.print(table)
    for note in plan.notes:
        out.print(f"note: {escape(note)}")
    if plan.estimate.stages:
        print_estimate(plan.estimate)
    counts = {verdict: sum(look.verdict == verdict for look in plan.looks) for verdict in _VERDICTS}
    out.print(", ".join(f"{count} to {verdict}" for verdict, count in counts.items()))


def print_finding(finding: Finding) -> None:
    """A finding of the doctor; a list in it has lines of its own."""
    text = "\n".join(map(escape, finding.text.split("\n")))
    TextConsole().print(f"{_MARKS[finding.level]} {finding.what}: {text}", soft_wrap=True)


def print_vacuum(report: VacuumReport) -> None:
    """What vacuum removed, or would remove."""
    out = TextConsole()
    for path, reason in report.removed:
        out.print(f"{escape(path)}  [dim]{escape(reason)}[/dim]", soft_wrap=True)
    size = f"{len(report.removed)} files, {report.bytes / 1e6:.1f} MB"
    out.print(f"{size} could go: add --delete to remove them" if report.dry_run else f"{size} removed")


def print_repairs(findings: list[RepairFinding], dry_run: bool) -> None:
    """What repair did or would do, and what it left."""
    out = TextConsole()
    marks = {"done": "[green]would do[/green]" if dry_run else "[green]done[/green]", "left": "[yellow]left[/yellow]"}
    for finding in findings:
        out.print(f"{marks[finding.outcome]}  {escape(finding.text)}", soft_wrap=True)
    if not findings:
        out.print("Nothing to repair: all logs can be read, all finished stages have their rows.")
