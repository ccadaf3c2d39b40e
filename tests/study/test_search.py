"""Random search: draws are those of one seed, nothing of it sees the test split, the winner is told from the store."""

from __future__ import annotations

import builtins
import re
import time
from pathlib import Path
from typing import Any

import pytest
from run_stores import run_document

from msabench.__main__ import main, parser
from msabench.contract import configure
from msabench.errors import UsageError
from msabench.literature import ranges
from msabench.runs import provenance
from msabench.runs.run import ready
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.study.drive import DRAW_FAILED, drive
from msabench.study.engine import Need, Outcome
from msabench.study.file import Study
from msabench.study.plan import Cell, State, states
from msabench.study.search import SearchPlanner, planner
from msabench.study.space import draws
from msabench.text.sources import EncoderSource

SPACE = {name: ranges.parse(said) for name, said in (("lr", {"log": [1e-5, 1e-2]}), ("layers", {"int": [1, 5]}))}
SPACE |= {"hidden": ranges.parse([{"text": 8}, {"text": 16}]), "d, heads": ranges.parse([[40, 8], [30, 6]])}


@pytest.fixture
def store(tmp_path: Path) -> SqliteRunStore:
    return SqliteRunStore(tmp_path / "runs.db")


def study(data_dir: Path, *, search: Any = None, **content: Any) -> Study:
    said = {"models": ["ridge_audio"], "datasets": ["mosi"], "data_dir": str(data_dir), "modalities": [["audio"]]}
    search = {"trials": 4, "seeds": "10-11", "space": {"ridge_audio": {"lr": {"log": [1e-4, 1e-1]}}}} | (search or {})
    return Study.model_validate(said | content | {"search": search})


def laid(data_dir: Path, **content: Any) -> SearchPlanner:
    found = planner(study(data_dir, **content), [])
    assert isinstance(found, SearchPlanner)
    return found


def store_run(store: SqliteRunStore, cell: Cell, mae: float | None) -> None:
    """A draw that came to this; None: that failed."""
    document = run_document(model=cell.model, dataset=cell.dataset, seed=cell.seed, key=cell.key)
    assert cell.config is not None
    run_id = store.begin(document | {"config": cell.config.to_dict()})
    if mae is None:
        store.fail(run_id, "FAILED", ["the loss is not finite"])
    else:
        store.finish(run_id, {"test": {}, "valid": {"mae": mae}})


def won(plan: SearchPlanner, store: SqliteRunStore) -> list[Cell]:
    return plan.winners(states(plan.cells(), store), store)


# ---- draws


def test_the_first_fifty_of_five_hundred_draws_are_the_fifty_and_another_seed_s_are_others() -> None:
    many = draws(SPACE, 500, 0)
    assert draws(SPACE, 50, 0) == many[:50]
    assert draws(SPACE, 50, 1) != many[:50]


def test_a_draw_is_one_of_what_its_ranges_hold_in_digits_that_people_type() -> None:
    for drawn in draws(SPACE, 200, 0):
        assert drawn.keys() == {"lr", "layers", "hidden.text", "d", "heads"}
        assert 1e-5 <= drawn["lr"] <= 1e-2
        assert drawn["lr"] == float(f"{drawn['lr']:.3g}")
        assert drawn["layers"] in range(1, 6)
        assert (drawn["d"], drawn["heads"]) in ((40, 8), (30, 6))
    assert {drawn["layers"] for drawn in draws(SPACE, 200, 0)} == {1, 2, 3, 4, 5}


def test_a_log_range_is_drawn_from_evenly_in_its_logarithm() -> None:
    low = sum(drawn["lr"] < 3.16e-4 for drawn in draws(SPACE, 500, 0))
    assert 200 < low < 300


def test_without_optuna_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "optuna":
            raise ModuleNotFoundError(name)
        return whole(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r'pip install "msabench\[search\]"'):
        draws(SPACE, 1, 0)


def test_what_the_study_sets_is_not_drawn_and_its_own_ranges_take_the_place_of_the_literature_s(
    data_dir: Path,
) -> None:
    space = {"mult": {"heads": [1, 2], "lr": None, "lr_bert": {"log": [1e-5, 1e-4]}}}
    found = study(data_dir, models=["mult"], set={"batch_size": 8}, search={"space": space})
    assert found.search is not None
    drawn = found.search.ranges("mult", {"batch_size": "8"})
    assert drawn["heads"] == ranges.Choice((1, 2))
    assert {"lr_bert", "layers", "kernel_text"} < drawn.keys()
    assert not {"d, heads", "lr", "batch_size"} & drawn.keys()
    (first, *_) = SearchPlanner(found, found.search).contests[0].points
    assert first.settings["batch_size"] == "8"


# ---- cells


def test_a_draw_is_an_ordinary_run_for_validation_only(data_dir: Path, tiny: EncoderSource) -> None:
    content = {"models": ["tfn"], "text_encoder": str(tiny.path), "modalities": [], "set": {"max_tokens": 8}}
    cells = laid(data_dir, search={"trials": 3, "space": {}}, **content).cells()
    assert [cell.named for cell in cells] == ["draw 1", "draw 2", "draw 3"]
    for cell in cells:
        args = parser().parse_args(cell.command)
        assert args.validation_only
        config, data = ready(args.model, args.dataset, seed=0, overrides=args.overrides, data_dir=args.data_dir)
        assert cell.config is not None
        assert cell.config.validation_only
        assert (cell.config.hparams, cell.config.data) == (config.hparams, config.data)
        assert cell.key == cell.config.key(data.identity, provenance.model_code("tfn"))
        assert cell.key != config.key(data.identity, provenance.model_code("tfn"))


def test_a_thousand_cells_are_planned_in_two_seconds(data_dir: Path, tiny: EncoderSource) -> None:
    plan = laid(
        data_dir,
        models=["tfn", "lmf"],
        text_encoder=str(tiny.path),
        modalities=[],
        set={"max_tokens": 8},
        search={"trials": 500, "space": {}},
    )
    draws(SPACE, 1, 0)  # imports Optuna
    begun = time.process_time()
    cells = plan.cells()
    assert time.process_time() - begun < 2
    assert sum(len(contest.cells) for contest in plan.contests) == 1000
    assert 950 < len(cells) < 1000, "what is drawn twice is one run"


# ---- winners


def test_winners_wait_for_every_draw_and_the_best_by_validation_wins(data_dir: Path, store: SqliteRunStore) -> None:
    plan = laid(data_dir, search={"winners": 2})
    cells = plan.cells()
    for cell, mae in zip(cells[:3], (0.9, 0.7, 0.8), strict=True):
        store_run(store, cell, mae)
    assert won(plan, store) == []
    assert (
        "3 of 4 draws done; the best so far is draw 2, validation MAE 0.700"
        in plan.outlook(states(cells, store), store)[0]
    )
    store_run(store, cells[3], 1.0)
    found = won(plan, store)
    drawn = [plan.contests[0].points[i].settings["lr"] for i in (1, 1, 2, 2)]
    assert [str(cell.config.hparams.lr) for cell in found if cell.config] == drawn
    assert [cell.seed for cell in found] == [10, 11, 10, 11]
    assert [cell.named for cell in found] == ["search: best of 4"] * 2 + ["search: number 2 of 4"] * 2
    for cell in found:
        args = parser().parse_args(cell.command)
        assert not args.validation_only
        assert cell.config is not None
        assert configure.chosen(args.chosen) == cell.config.chosen
        assert cell.config.chosen is not None
        assert (cell.config.chosen.trials, cell.config.chosen.names) == (4, ("lr",))


def test_failed_draws_are_out_and_of_equals_the_first_that_was_drawn_wins(
    data_dir: Path, store: SqliteRunStore
) -> None:
    plan = laid(data_dir)
    for cell, mae in zip(plan.cells(), (None, 0.8, float("nan"), 0.8), strict=True):
        store_run(store, cell, mae)
    first = plan.contests[0].points[1].settings["lr"]
    assert {str(cell.config.hparams.lr) for cell in won(plan, store) if cell.config} == {first}
    assert "2 of 4 draws done, 1 failed" in plan.outlook(states(plan.cells(), store), store)[0]


def test_where_all_draws_failed_nobody_wins(data_dir: Path, store: SqliteRunStore) -> None:
    plan = laid(data_dir)
    for cell in plan.cells():
        store_run(store, cell, None)
    assert won(plan, store) == []
    assert plan.outlook(states(plan.cells(), store), store)[0].endswith("there is no winner")


def test_draws_that_cannot_run_have_not_failed(data_dir: Path, store: SqliteRunStore) -> None:
    plan = laid(data_dir)
    told = plan.outlook({cell.key: State.CANNOT for cell in plan.cells()}, store)[0]
    assert "0 of 4 draws done, 4 cannot run: there is no winner" in told


def test_a_full_run_s_validation_score_is_no_draw_s(data_dir: Path, store: SqliteRunStore) -> None:
    plan = laid(data_dir)
    for cell in plan.cells():
        store.finish(store.begin(run_document(key=cell.key)), {"test": {"mae": 0.1}, "valid": {"mae": 0.1}})
    assert won(plan, store) == []


class Engine:
    """Stores what it is told to, by key; all else fails."""

    def __init__(self, store: SqliteRunStore, maes: dict[str, float]) -> None:
        self.store, self.maes = store, maes
        self.submitted: list[list[str]] = []

    def submit(self, cells: Any, need: Need) -> Any:
        self.submitted.append([str(cell) for cell in cells])
        for cell in cells:
            mae = self.maes.get(cell.key) if cell.draw else 0.5
            store_run(self.store, cell, mae)
            yield Outcome(cell.key, "failed" if mae is None else "ran")

    def stop(self) -> None: ...


class Silent:
    def __init__(self) -> None:
        self.more: list[Cell] = []

    def ended(self, cell: Cell, outcome: Any) -> None: ...
    def planned(self, cells: Any) -> None:
        self.more += cells

    def stopping(self, again: bool) -> None: ...


def test_one_command_runs_the_draws_then_the_winners_and_a_draw_that_diverged_is_no_failure(
    data_dir: Path, store: SqliteRunStore
) -> None:
    plan, view = laid(data_dir), Silent()
    cells = plan.cells()
    engine = Engine(store, {cell.key: 0.9 - 0.1 * i for i, cell in enumerate(cells[1:])})
    known = states(cells, store)
    tally = drive(cells, known, engine=engine, store=store, need=Need(), view=view, then=lambda: won(plan, store))
    assert [len(part) for part in engine.submitted] == [4, 2]
    assert len(view.more) == 2
    assert engine.submitted[1] == [f"ridge_audio mosi seed {n} · search: best of 4" for n in (10, 11)]
    assert (tally.ended["ran"], tally.ended[DRAW_FAILED], tally.exit_code) == (5, 1, 0)
    again = drive(cells, states(cells, store), engine=engine, store=store, need=Need(), view=view)
    assert (again.ended[State.DONE], again.ended[DRAW_FAILED], again.exit_code) == (3, 1, 0)


def test_a_search_without_one_draw_that_ended_well_has_failed(data_dir: Path, store: SqliteRunStore) -> None:
    plan = laid(data_dir)
    cells = plan.cells()
    tally = drive(cells, states(cells, store), engine=Engine(store, {}), store=store, need=Need(), view=Silent())
    assert (tally.ended[DRAW_FAILED], tally.exit_code) == (4, 1)


# ---- the command


def test_a_draw_that_is_tried_again_may_yet_win_so_that_winners_wait_for_it(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "search.yaml").write_text(
        f"models: ridge_audio\ndatasets: mosi\nmodalities: [[audio]]\ndata_dir: '{data_dir}'\n"
        "search: {trials: 4, seeds: 10-11, space: {ridge_audio: {lr: {log: [1e-4, 1e-1]}}}}\n"
    )
    (tmp_path / "results").mkdir()
    store = SqliteRunStore(tmp_path / "results" / "runs.db")
    for cell, mae in zip(laid(data_dir).cells(), (None, 0.8, 0.7, 0.9), strict=True):
        store_run(store, cell, mae)
    words = ["study", str(tmp_path / "search.yaml"), "--results", str(tmp_path / "results"), "--dry-run", "--no-timing"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "6 cells: 3 done, 1 failed, 2 waiting" in out
    assert len(re.findall("ridge_audio +mosi +1[01] +search: best of 4 +waiting", out)) == 2
    assert "3 of 4 draws done, 1 failed; the best is draw 3, validation MAE 0.700" in out
    assert main([*words, "--retry-failed"]) == 0
    assert "4 cells: 3 done, 1 failed" in capsys.readouterr().out


def test_runs_that_were_not_tested_are_listed_as_such(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    store = SqliteRunStore(tmp_path / "results" / "runs.db")
    store_run(store, laid(data_dir).cells()[0], 0.8)
    assert main(["list", "runs", "validation_only=true", "--results", str(tmp_path / "results")]) == 0
    assert re.search(r"COMPLETED +ridge_audio \(not tested\) .* – ", capsys.readouterr().out)
    assert main(["show", "1", "--results", str(tmp_path / "results")]) == 0
    assert "validation_only" in capsys.readouterr().out
