"""Progress in a role: what a stage says of itself comes out under its title."""

from unittest.mock import Mock, call

from schemas.progress import InRole, SilentProgress


def test_a_stage_is_told_under_its_title_and_all_else_as_it_is() -> None:
    told = Mock(spec=SilentProgress)
    progress = InRole(told, "align", "random pairs")
    progress.begin("align", 160, "steps")
    progress.advance("align", 2, "loss 1")
    progress.end("align", "model abc")
    progress.say("align: reused, model abc")
    progress.say("alignment is a word of its own")
    progress.begin("score", 1, "people")
    assert told.mock_calls == [
        call.begin("align (random pairs)", 160, "steps"),
        call.advance("align (random pairs)", 2, "loss 1"),
        call.end("align (random pairs)", "model abc"),
        call.say("align (random pairs): reused, model abc"),
        call.say("alignment is a word of its own"),
        call.begin("score", 1, "people"),
    ]
