"""Runs as a store gives them, made up: a number in a fixture is nobody's result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from msabench import metrics
from msabench.errors import StoreError
from msabench.literature.published import PublishedResult
from msabench.report.build import Plan, build
from msabench.report.rows import Asked
from msabench.report.table import Report
from msabench.store.protocol import RunRecord

SETTING = {
    "text_encoder": "minilm",
    "text_mode": "finetune",
    "max_tokens": 50,
    "alignment": "unaligned",
    "modalities": ["text", "audio", "visual"],
}
STANDARD = {"train": 1284, "valid": 229, "test": 686}


@pytest.fixture
def run() -> Callable[..., RunRecord]:
    """run("mcer", mae=0.7, seed=1, lr=1e-4, ...): a completed run; what is no field of it is a hyper-parameter."""
    ids = count(1)

    def make(
        model: str = "mcer",
        *,
        mae: float = 0.7,
        seed: int = 0,
        dataset: str = "mosi",
        status: str = "COMPLETED",
        preset: str = "paper",
        notes: tuple[str, ...] = (),
        setting: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        test: dict[str, float] | None = None,
        code: str = "c0de" * 16,
        protocol: int = 1,
        scoring: str = metrics.version(),
        changed: dict[str, Any] | None = None,
        train_missing: str = "",
        **hparams: Any,
    ) -> RunRecord:
        number = next(ids)
        trained = {"train_missing": train_missing} if train_missing else {}
        shares = {"acc_7": 0.45, "acc_2_has0": 0.82, "acc_2_non0": 0.84, "f1_has0": 0.81, "f1_non0": 0.83}
        scores = {"mae": mae, "corr": 1.5 - mae, **shares, **(test or {})}
        result = {"test": scores, "valid": {"mae": mae + 0.11}, "best_epoch": 4, "epochs": 12, "seconds": 240.0}
        return RunRecord(
            id=number,
            uuid=f"{number:08x}-0000-4000-8000-000000000000",
            key=f"{number:016x}",
            status=status,
            model=model,
            dataset=dataset,
            seed=seed,
            config={"preset": preset, "hparams": {"lr": 1e-3, "batch_size": 32, **hparams}, "data": trained},
            setting={**SETTING, **(setting or {}), **trained},
            result=result if status == "COMPLETED" else None,
            notes=notes,
            data={"fingerprint": "c0ffee" * 10, "source": "unaligned_50.pkl", "splits": STANDARD, **(data or {})},
            code=code,
            protocol=protocol,
            scoring=scoring,
            changed=changed,
        )

    return make


@pytest.fixture
def published() -> Callable[[str], list[PublishedResult]]:
    """What msabench.literature.published.results gives, by dataset."""

    def row(model: str, mae: float, **settings: Any) -> PublishedResult:
        variant = ",".join(f"{key}=[{', '.join(value)}]" for key, value in settings.items())
        return PublishedResult("mosi", model, {"mae": mae, "acc_2_non0": 0.8674}, "a paper, table I", variant, settings)

    rows = [row("mcer", 0.1), row("tfn", 0.901), row("mcer", 0.724, without=["m"]), row("mcer", 0.72, without=["mi"])]

    def results(dataset: str) -> list[PublishedResult]:
        return [result for result in rows if result.dataset == dataset]

    return results


@pytest.fixture
def report(run: Callable[..., RunRecord], published: Callable[[str], list[PublishedResult]]) -> Report:
    """Three measured models, clearly apart (one with an awkward name in a note), a setting that is not chosen, a
    failed run, published rows, learning curves."""
    odd = ("5 % of A&B's <frames> are NaN ± 1",)
    records = [
        *(run("mcer", seed=seed, mae=0.70 + 0.01 * seed) for seed in range(3)),
        run("mcer", mae=0.75, hidden_size={"text|audio": 8}),
        *(run("tfn", seed=seed, mae=0.9 + 0.01 * seed, notes=odd) for seed in range(3)),
        *(run("lmf", seed=seed, mae=0.8 + 0.01 * seed) for seed in range(3)),
        run("tfn", seed=3, status="FAILED"),
    ]
    curve = [(epoch, 1.0 / epoch) for epoch in range(1, 6)]
    plan = Plan(Asked(curve=lambda record: curve), published=published, predictions=lambda run: predicted(run, records))
    return build(records, plan)


def predicted(run: int, records: list[RunRecord]) -> list[tuple[str, float, float]]:
    """Predictions that are the worse the higher the run's MAE: (id, prediction, label) of 200 samples."""
    mae = next(record.result["test"]["mae"] for record in records if record.id == run and record.result)
    labels = np.random.default_rng(0).uniform(-3, 3, 200)
    errors = np.random.default_rng(run).normal(0, mae**4, 200)
    return [(f"s{i}", float(y + e), float(y)) for i, (y, e) in enumerate(zip(labels, errors, strict=True))]


@dataclass
class MemoryStore:
    """A RunStore for readers, over a list."""

    records: list[RunRecord]
    predictions: dict[int, str] = field(default_factory=dict)
    files: dict[tuple[int, str], bytes] = field(default_factory=dict)  # other artifacts, by run and name
    sources: dict[int, dict[str, bytes]] = field(default_factory=dict)
    url: str = "memory://"

    def find(self) -> list[RunRecord]:
        return self.records

    def curves(self, name: str) -> dict[int, list[tuple[int, float]]]:
        return {record.id: [(1, 1.0), (2, 0.8)] for record in self.records}

    def metrics(self, run_id: int) -> dict[str, list[tuple[int, float]]]:
        return {"valid.mae": [(1, 1.0), (2, 0.8)]}

    def document(self, run_id: int) -> dict[str, Any]:
        return {"captured_out": "epoch 1\n"}

    def artifacts(self, run_id: int) -> list[str]:
        return [name for run, name in self.files if run == run_id]

    def copy(self, run_id: int) -> SimpleNamespace:
        return SimpleNamespace(sources=self.sources.get(run_id, {}))

    def artifact(self, run_id: int, name: str) -> bytes:
        if (run_id, name) in self.files:
            return self.files[run_id, name]
        if run_id not in self.predictions:
            raise StoreError(f"run {run_id} has no {name}")
        return self.predictions[run_id].encode()

    def close(self) -> None:
        self.records = []


def as_csv(rows: list[tuple[str, float, float]]) -> str:
    return "id,label,prediction\n" + "".join(f"{id},{label},{prediction}\n" for id, prediction, label in rows)


@pytest.fixture
def stored(memory_store: type[MemoryStore]) -> Callable[[list[RunRecord]], MemoryStore]:
    """A store of these runs, with predictions that are the worse the higher their MAE, and scores that are theirs."""

    def make(records: list[RunRecord]) -> MemoryStore:
        found = {record.id: predicted(record.id, records) for record in records if record.result}
        for record in records:
            if record.result:
                _, p, y = zip(*found[record.id], strict=True)
                record.result["test"] = metrics.evaluate(p, y)
        return memory_store(records, {id: as_csv(rows) for id, rows in found.items()})

    return make


@pytest.fixture
def memory_store() -> type[MemoryStore]:
    return MemoryStore
