"""Progress in a role: what a stage says of itself comes out under its title."""

from schemas.progress import InRole


class Told:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def begin(self, stage: str, total: int, unit: str) -> None:
        self.calls.append(("begin", stage, total, unit))

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        self.calls.append(("advance", stage, count, note))

    def end(self, stage: str, note: str = "") -> None:
        self.calls.append(("end", stage, note))

    def say(self, text: str) -> None:
        self.calls.append(("say", text))


def test_a_stage_is_told_under_its_title_and_all_else_as_it_is() -> None:
    told = Told()
    progress = InRole(told, "align", "random pairs")
    progress.begin("align", 160, "steps")
    progress.advance("align", 2, "loss 1")
    progress.end("align", "model abc")
    progress.say("align: reused, model abc")
    progress.say("alignment is a word of its own")
    progress.begin("score", 1, "people")
    assert told.calls == [
        ("begin", "align (random pairs)", 160, "steps"),
        ("advance", "align (random pairs)", 2, "loss 1"),
        ("end", "align (random pairs)", "model abc"),
        ("say", "align (random pairs): reused, model abc"),
        ("say", "alignment is a word of its own"),
        ("begin", "score", 1, "people"),
    ]
