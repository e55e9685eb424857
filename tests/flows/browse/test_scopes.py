"""What belongs to a round: the stages of all its legs, of each its pairs and its control's."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from flows.browse.app import make_app
from flows.browse.child import Child
from flows.browse.desk import Desk
from flows.browse.scopes import Leg, Scope, scopes
from infra import rounds
from infra.listing import Listing
from infra.sealed import sealed_json
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.digests import digest
from schemas.ids import ModelDigest, StageKey
from schemas.tables import build
from tasks.review.verdicts import Frozen, ReviewedSet, asked_path, frozen_path
from tests.flows.browse.conftest import PORT

PEOPLE = [f"wild/train/{number:08d}#0" for number in range(6)]


class Round:
    """A round whose stages hold nothing but what scopes go by, and pairs."""

    def __init__(self, store: Store, number: int, began: str) -> None:
        self.store, self.number, self.policy, self.began = store, number, began, began
        self.legs: list[Leg] = []
        rounds.open_round(store, "c", number, "dpo round")

    def stage(self, name: str, reads: Sequence[str] = (), *models: str, **about: object) -> StageSpec:
        reads_, used = tuple(map(StageKey, reads)), tuple(map(ModelDigest, models))
        return StageSpec(name, 1, about, reads=reads_, models=used, campaign="c", in_round=self.number)

    def pairs(self, drawn: StageSpec, scored: StageSpec, people: Sequence[str], strategy: str) -> str:
        spec = self.stage("pair", (drawn.key, scored.key), pair={"strategy": strategy})
        payload = {"uvd": np.zeros((len(people), 87)), "twist": np.zeros((len(people), 46))}
        columns = {
            "pair_set": spec.key,
            "instance_id": list(people),
            "generation_id": drawn.key,
            "winner": 1,
            "loser": 2,
            "margin": np.arange(len(people)) / 10,
            "strategy": strategy,
            **{f"{end}_{name}": values for end in ("winner", "loser") for name, values in payload.items()},
            **{f"{end}_betas": np.zeros((len(people), 10)) for end in ("winner", "loser")},
            "dataset": "wild",
            "round": self.number,
            "stage_key": spec.key,
        }
        commit_rows(self.store, spec, {"pairs": build("pairs", columns)})
        return spec.key

    def leg(self, people: Sequence[str], *, trained: bool = True, earlier: Sequence[str] = ()) -> None:
        """Draws by the policy that the leg before has made, and trains that further, on `earlier` pairs, too."""
        drawn = self.stage("draw", (), self.policy, people=people)
        scored = self.stage("score", (drawn.key,))
        for spec in (drawn, scored):
            columns = {"generation_id": drawn.key, "instance_id": list(people), "sample_index": 0, "scorer": "s"}
            rows = {**columns, "score": 1.0, "round": self.number, "stage_key": spec.key}
            commit_rows(self.store, spec, {"scores": build("scores", rows)} if spec is scored else {})
        chosen, control = (self.pairs(drawn, scored, people, how) for how in ("top_bottom", "random"))
        self.legs.append(Leg(drawn.key, scored.key, chosen, chosen, control))
        if trained:
            self.train("control of ", control, *earlier)
            self.policy = self.train("", chosen, *earlier)

    def train(self, words: str, *pairs: str) -> str:
        made = f"{words}{self.policy}, round {self.number} leg {len(self.legs)}"
        spec = self.stage("align", pairs, self.policy, "reference")
        about = {"digest": made, "kind": "policy", "uri": "x", "config_digest": "0", "config_json": "{}"}
        more = {"parents": [[self.policy]], "stage_key": spec.key, "created_at": datetime.now(UTC)}
        commit_rows(self.store, spec, {"models": build("models", {**about, **more})})
        return made

    def decide(self) -> str:
        """The policy that is current then."""
        keys = []
        for which in (self.began, self.policy):
            spec = self.stage("evaluate", (), which, "scorer", generate={"hypotheses": 2})
            commit_rows(self.store, spec, {})
            keys.append(spec.key)
        compared = self.stage("compare", keys)
        commit_rows(self.store, compared, {})
        rounds.promote(self.store, "c", self.number, self.policy, "all gates hold", compared.key)
        rounds.close_round(self.store, "c", self.number)
        return self.policy


def of(store: Store, number: int, campaign: str = "c") -> Scope:
    return next(one for one in scopes(store) if one.name == f"{campaign}/{number}")


@contextmanager
def browsing(store: Store, folder: Path) -> Iterator[TestClient]:
    """Somebody who is logged in."""
    (folder / "lists").mkdir()
    app, desk = make_app(Listing(store, folder / "lists"), "t", PORT, "tiny", "procrustes")
    client = TestClient(app, base_url=f"http://127.0.0.1:{PORT}")
    client.get("/", params={"token": "t"})
    with closing(desk):
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "store")
    rounds.begin(made, "c", "base")
    return made


def test_a_round_has_the_pairs_of_all_its_legs_and_of_no_other_round(store: Store) -> None:
    first = Round(store, 1, "base")
    first.leg(PEOPLE)
    second = Round(store, 2, first.decide())
    second.leg(PEOPLE[:2])
    second.leg(PEOPLE[2:])
    assert of(store, 2).legs == tuple(second.legs), "while it is open"
    second.decide()
    assert of(store, 1).legs == tuple(first.legs)
    assert of(store, 2).legs == tuple(second.legs)
    third = Round(store, 3, second.policy)
    third.leg(PEOPLE[:2])
    third.leg(PEOPLE[2:], trained=False)
    assert of(store, 3).legs == tuple(third.legs)


def test_pairs_of_earlier_rounds_that_were_trained_on_are_the_policys_too(store: Store, tmp_path: Path) -> None:
    first = Round(store, 1, "base")
    first.leg(PEOPLE[:4])
    second = Round(store, 2, first.decide())
    before = first.legs[0]
    assert before.pairs is not None
    second.leg(PEOPLE[4:], earlier=[before.pairs])
    for when in ("trained", "decided"):
        if when == "decided":
            second.decide()
        scope = of(store, 2)
        assert scope.pairs == (second.legs[0].pairs, before.pairs), when
        assert (scope.legs, scope.judged) == (tuple(second.legs), (second.legs[0].judged,)), when
    with browsing(store, tmp_path) as client:
        page = client.get("/pairs", params={"scope": "c/2"}).text
        assert "of 6 pairs" in page
        assert f"scope=c%2F2&amp;drawing={second.legs[0].drawn}" in page
        assert f"scope=c%2F2&amp;drawing={before.drawn}" not in page, "a person of an earlier round is shown as it drew"
        assert page.count(f"drawing={before.drawn}") == 4
        assert "of 2 pairs" in client.get("/pairs", params={"scope": "c/2", "kind": "scorer"}).text


def test_a_leg_that_changed_nothing_is_no_endless_round(store: Store) -> None:
    only = Round(store, 1, "base")
    only.leg(PEOPLE)
    spec = only.stage("align", (only.legs[0].pairs or "",), only.policy, "reference", again=True)
    about = {"digest": only.policy, "kind": "policy", "uri": "x", "config_digest": "0", "config_json": "{}"}
    more = {"parents": [[only.policy]], "stage_key": spec.key, "created_at": datetime.now(UTC)}
    commit_rows(store, spec, {"models": build("models", {**about, **more})})
    only.decide()
    assert of(store, 1).pairs == (only.legs[0].pairs,)


def test_a_round_that_found_its_pairs_made_by_another_campaign_shows_them(store: Store) -> None:
    first = Round(store, 1, "base")
    first.leg(PEOPLE)
    first.decide()
    (leg,) = first.legs
    pairs = StageKey(leg.pairs or "")
    rounds.begin(store, "other", "base")
    rounds.open_round(store, "other", 1, "dpo round")
    store.atomic_write(asked_path("other", 1), sealed_json({"pairs": pairs}))
    newest = scopes(store)[0]
    assert (newest.name, newest.outcome) == ("other/1", "open"), "what was opened last is the newest"
    assert newest.legs == (Leg(leg.drawn, leg.scored, pairs, pairs),)

    said = {"someone": {"anna": "swap"}}
    keys = []
    for each in (said, {}):
        spec = first.stage("review", (pairs,), reviews=digest(each))
        commit_rows(store, spec, {})
        keys.append(spec.key)
    frozen = Frozen(ReviewedSet(pairs, 1, said), "keep")
    store.atomic_write(frozen_path("other", 1), frozen.to_bytes())
    assert of(store, 1, "other").legs == (Leg(leg.drawn, leg.scored, keys[0], pairs),)
    assert of(store, 1).legs == tuple(first.legs)


def test_what_a_round_asks_for_is_seen_though_no_table_changes(store: Store, tmp_path: Path) -> None:
    """It stands in files, which are no commits."""
    first = Round(store, 1, "base")
    first.leg(PEOPLE)
    first.decide()
    pairs = StageKey(first.legs[0].pairs or "")
    said = {"someone": {"anna": "swap"}}
    reviewed = first.stage("review", (pairs,), reviews=digest(said))
    commit_rows(store, reviewed, {})
    rounds.begin(store, "other", "base")
    rounds.open_round(store, "other", 1, "dpo round")
    (tmp_path / "lists").mkdir()
    with closing(Desk(Listing(store, tmp_path / "lists"), "tiny", "procrustes")) as desk:
        assert desk.scope("other/1").judged == ()
        assert desk.scopes() is desk.scopes(), "they are kept"
        store.atomic_write(asked_path("other", 1), sealed_json({"pairs": pairs}))
        assert (desk.scope("other/1").judged, desk.scope("other/1").pairs) == ((pairs,), (pairs,))
        store.atomic_write(frozen_path("other", 1), Frozen(ReviewedSet(pairs, 1, said), "keep").to_bytes())
        assert desk.scope("other/1").pairs == (reviewed.key,)


def test_pages_show_the_people_and_pairs_of_all_legs(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Child, "begin", lambda child: None)  # nothing is drawn here
    opened = Round(store, 1, "base")
    opened.leg(PEOPLE[:2])
    opened.leg(PEOPLE[2:])
    with browsing(store, tmp_path) as client:
        own = {"Origin": f"http://127.0.0.1:{PORT}"}
        for kind, count in (("", 6), ("control", 6), ("both", 12), ("scorer", 6)):
            page = client.get("/pairs", params={"scope": "c/1", "kind": kind}).text
            assert f"of {count} pairs" in page, kind
            assert page.count('class="say"') == (0 if kind == "control" else 6), "each of the scorer's can be judged"
        client.post("/judge/name", data={"reviewer": "anna"}, headers=own)
        assert (
            "Pair 1 of 6" in client.get("/judge", params={"scope": "c/1", "sampling": "uncertain", "count": "20"}).text
        )
