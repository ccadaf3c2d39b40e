"""The plan: keys are those that runs get, states are what the store says, and what is expensive is done once."""

from __future__ import annotations

import os
import platform
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from run_stores import key_of, run_document

from msabench.errors import UsageError
from msabench.literature import published
from msabench.runs import provenance
from msabench.runs.run import ready
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.study import plan
from msabench.study.file import Study
from msabench.study.plan import Cell, Planner, State, only, seconds, state_of, states
from msabench.text.sources import EncoderSource


@pytest.fixture
def store(tmp_path: Path) -> SqliteRunStore:
    return SqliteRunStore(tmp_path / "runs.db")


def study(data_dir: Path, **content: Any) -> Study:
    said = {"models": ["mean"], "datasets": ["mosi"], "data_dir": str(data_dir), "set": {"max_tokens": 8}} | content
    return Study.model_validate(said)


@pytest.mark.parametrize(
    "content",
    [
        {"models": ["mcer"], "variants": {"": {}, "no mi": {"without": ["mi"]}, "none": {"cross_modal": []}}},
        {"models": ["mag-bert", "tfn"], "presets": ["paper", "mmsa"], "set": {"max_tokens": 8, "clip_norm": None}},
        {"models": ["tfn"], "text_mode": "frozen", "grid": {"lr": [1e-3, 2.5e-05], "hidden": [{"text": 8}]}},
        {"models": ["lmf"], "modalities": [["audio", "visual"], ["text", "audio"], ["visual"]]},
        {"models": ["mean"], "grid": {"statistic": ["mean", "median"], "standardise": [True, False]}},
    ],
    ids=lambda content: " ".join(map(str, content)),
)
def test_a_cell_s_key_is_that_of_the_run_that_its_command_makes(
    content: dict[str, Any], data_dir: Path, tiny: EncoderSource
) -> None:
    from msabench.__main__ import parser

    cells = Planner(study(data_dir, text_encoder=str(tiny.path), seeds="0,3", **content)).cells()
    assert cells
    for cell in (cell for cell in cells if cell.seed == 3 and not cell.fault):
        args = parser().parse_args(cell.command)
        overrides = args.overrides
        config, data = ready(
            args.model, args.dataset, seed=3, preset=args.preset, overrides=overrides, data_dir=args.data_dir
        )
        assert cell.key == config.key(data.identity, provenance.model_code(config.model))
        assert cell.text == f"{data.setting['text_encoder']} {data.setting['text_mode']}"
    assert len({cell.key for cell in cells}) == len(cells)


def test_the_outline_of_data_is_what_preparing_it_tells_a_model(data_dir: Path, tiny: EncoderSource) -> None:
    from msabench.config import DataConfig
    from msabench.data import load
    from msabench.data.batching import encoder_of, prepare

    content = load("mosi", data_dir)
    for options in (
        DataConfig(text_encoder=str(tiny.path), max_tokens=8),
        DataConfig(text_encoder=str(tiny.path), max_tokens=8, text_mode="frozen"),
        DataConfig(modalities=("audio",)),
        DataConfig(text_encoder=str(tiny.path), max_tokens=8, modalities=("text", "visual")),
    ):
        ours, true = plan.outline(content, options, encoder_of(options)), prepare(content, options, standardise=True)
        assert (ours.widths, ours.n_train) == (true.spec.widths, true.spec.n_train)
        assert ours.label_range == true.spec.label_range
        assert all(ours.max_steps[m] >= true.spec.max_steps[m] for m in ours.max_steps)


def test_a_cell_that_cannot_run_says_why_before_it_is_tried(data_dir: Path, tiny: EncoderSource) -> None:
    content = {"models": ["mag_bert", "mcer", "tfn"], "datasets": ["mosi", "sims"], "text_encoder": str(tiny.path)}
    cells = Planner(
        study(data_dir, text_mode="frozen", variants={"": {}, "no mi": {"without": ["mi"]}}, **content)
    ).cells()
    faults = {(c.model, c.dataset, c.variant): c.fault for c in cells}
    assert "changes what a text encoder's first layer reads" in faults["mag_bert", "mosi", ""]
    assert "tfn has no setting 'without'" in faults["tfn", "mosi", "no mi"]
    assert "sims: not found in" in faults["mcer", "sims", ""]
    assert faults["mcer", "mosi", ""] == faults["mcer", "mosi", "no mi"] == faults["tfn", "mosi", ""] == ""


def test_data_that_is_missing_is_a_reason_too(tmp_path: Path) -> None:
    (cell,) = Planner(study(tmp_path / "nowhere")).cells()
    assert "there is no folder" in cell.fault
    planner = Planner(Study.model_validate({"models": ["mean"], "datasets": ["mosi", "mosi-sim"]}))
    (cell,) = planner.cells()  # a twin stands in for the one: the same run as the other's
    assert (cell.dataset, cell.fault) == ("mosi-sim", "")
    assert "NOT FOUND" in planner.said[0]


def test_missing_data_and_a_missing_encoder_are_told_together(tmp_path: Path) -> None:
    (cell,) = Planner(study(tmp_path / "nowhere", text_encoder="berrt")).cells()
    assert "mosi: there is no folder" in cell.fault
    assert "\n  text encoder 'berrt' is no directory" in cell.fault


def test_the_text_encoder_is_said_once_before_anything_is_trained(data_dir: Path, tiny: EncoderSource) -> None:
    planner = Planner(study(data_dir, text_encoder=str(tiny.path), models=["mean", "lmf"], seeds="0-1"))
    assert len(planner.cells()) == 4
    assert planner.said == [f"text encoder: {tiny.name}"]


def test_what_is_expensive_is_done_once_for_a_thousand_cells(
    data_dir: Path, tiny: EncoderSource, store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        whole = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            return whole(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in ((plan, "load"), (plan, "encoder_of"), (plan, "outline"), (provenance, "model_code")):
        count(owner, name)
    count(store, "find")
    count(store, "document")
    read = published.parse.cache_info().misses
    grid = {"lr": [n * 1e-4 for n in range(1, 51)], "batch_size": [16, 32]}
    cells = Planner(study(data_dir, models=["tfn", "lmf"], text_encoder=str(tiny.path), seeds="0-4", grid=grid)).cells()
    assert len(cells) == 1000
    assert published.parse.cache_info().misses - read <= 2
    assert set(states(cells, store).values()) == {State.WAITING}
    assert calls == {"load": 1, "encoder_of": 1, "outline": 2, "model_code": 2, "find": 1}


# ---- states


def stored(store: SqliteRunStore, status: str, key: str = key_of(1), **changes: Any) -> int:
    now = datetime.now(UTC)
    run_id = store.begin(run_document(key=key, heartbeat=now, **changes))
    if status == "COMPLETED":
        store.finish(run_id, {"test": {"mae": 0.7}, "seconds": 10.0})
    elif status != "RUNNING":
        store.update(run_id, {"status": status, "stop_time": now})
    return run_id


def running(process: int, host: str = platform.node()) -> dict[str, Any]:
    about = {"uuid": str(uuid.uuid4()), "key": key_of(1), "setting": {}, "environment": {"host": host}}
    return {"info": {"msabench": about | {"process": process}}}


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ([], State.WAITING),
        (["COMPLETED"], State.DONE),
        (["FAILED"], State.FAILED),
        (["INTERRUPTED"], State.INTERRUPTED),
        (["FAILED", "INTERRUPTED"], State.INTERRUPTED),
        (["INTERRUPTED", "FAILED"], State.FAILED),
        (["COMPLETED", "FAILED"], State.DONE),
        (["OVERWRITTEN", "COMPLETED"], State.DONE),
    ],
    ids=str,
)
def test_a_cell_s_state_is_what_the_store_says(history: list[str], state: State, store: SqliteRunStore) -> None:
    for status in history:
        stored(store, status)
    assert state_of(store, store.find(key=key_of(1))) == state


def test_a_run_is_running_while_its_process_lives(store: SqliteRunStore) -> None:
    parent, nobody = os.getppid(), 2**22 + 1
    for process, host, state in (
        (parent, platform.node(), State.RUNNING),
        (nobody, platform.node(), State.INTERRUPTED),
        (nobody, "another host", State.RUNNING),
    ):
        run_id = stored(store, "RUNNING", **running(process, host))
        assert state_of(store, store.find(key=key_of(1))) == state
        store.delete(run_id)


def test_a_cell_takes_what_stored_runs_of_its_kind_took(store: SqliteRunStore, data_dir: Path) -> None:
    cells = Planner(study(data_dir, models=["mean", "ridge_audio"], modalities=[["audio"]])).cells()
    setting = {"setting": {"text_encoder": "none", "text_mode": "finetune"}}
    for took in (10.0, 20.0, 90.0):
        document = run_document(model="mean", key=key_of(7))
        document["info"]["msabench"] |= setting
        store.finish(store.begin(document), {"test": {"mae": 0.7}, "seconds": took})
    assert seconds(cells, store) == {cells[0].key: plan.START + 20.0}


def test_a_cell_takes_no_more_epochs_than_it_has(store: SqliteRunStore, data_dir: Path) -> None:
    cells = Planner(study(data_dir, grid={"max_epochs": [2, 40]})).cells()
    for took, epochs in ((10.0, 10), (20.0, 20), (90.0, 60)):
        document = run_document(model=cells[0].model, key=key_of(7), dataset=cells[0].dataset)
        encoder, _, mode = cells[0].text.rpartition(" ")
        document["info"]["msabench"] |= {"setting": {"text_encoder": encoder, "text_mode": mode}}
        store.finish(store.begin(document), {"test": {"mae": 0.7}, "seconds": took, "epochs": epochs})
    estimates = {cell.config.hparams.max_epochs: seconds([cell], store)[cell.key] for cell in cells if cell.config}
    assert estimates == {2: plan.START + 2.0, 40: plan.START + 20.0}


# ---- --only


def chosen(cells: list[Cell], *conditions: str) -> list[tuple[str, int, str]]:
    found = dict.fromkeys((cell.key for cell in cells), State.WAITING)
    return [(cell.model, cell.seed, cell.variant) for cell in only(cells, found, conditions)]


def test_only_takes_the_conditions_of_list_runs(data_dir: Path) -> None:
    variants = {"half": {"lr": 0.5}, "a third": {"lr": 0.3}}
    cells = Planner(
        study(data_dir, models=["mean", "ridge_audio"], modalities=[["audio"]], seeds="0-2", variants=variants)
    ).cells()
    assert len(cells) == 12
    assert chosen(cells, "model=mean", "seed=1", "lr<0.4") == [("mean", 1, "a third")]
    assert len(chosen(cells, 'variant="a third" and seed>0')) == 4
    with pytest.raises(UsageError, match=r"no cell has 'modell'\. Did you mean 'model'"):
        chosen(cells, "modell=mean")
