from __future__ import annotations

import io
import os
import pickle
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from msabench.config import RunConfig
from msabench.contract import Batch, Output, State, registry
from msabench.data.batching import Prepared
from msabench.errors import MsabenchError, StoreError
from msabench.literature import presets
from msabench.train import checkpoint
from msabench.train.loop import Result, Trainer, build_model, half_precision, train

CPU = torch.device("cpu")


class Memory:
    """A recorder that keeps what it is told, and can do something after an epoch."""

    def __init__(self, after: Any = None) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.files: dict[str, bytes] = {}
        self.after = after

    def log(self, values: dict[str, float], epoch: int) -> None:
        self.rows[epoch] = values
        if self.after:
            self.after(epoch)

    def artifact(self, name: str, content: bytes) -> None:
        self.files[name] = content

    def digits(self) -> dict[int, dict[str, float]]:
        return {e: {k: v for k, v in row.items() if k != "seconds"} for e, row in self.rows.items()}


def run_config(model: str = "mcer", *overrides: str, epochs: int = 4, seed: int = 0) -> RunConfig:
    small = ("batch_size=8", f"max_epochs={epochs}", "text_mode=features", "lr_bert=1e-3") if model == "mcer" else ()
    return presets.build(model, "tiny", seed=seed, preset="default", overrides=[*small, *overrides])


def run(data: Prepared, workdir: Path, config: RunConfig | None = None, **options: Any) -> tuple[Result, Memory]:
    memory = Memory(options.pop("after", None))
    config = config or run_config()
    result = train(config, data, device=CPU, workdir=workdir, recorder=memory, progress=False, **options)
    return result, memory


def same_predictions(a: Result, b: Result) -> bool:
    return all(
        np.array_equal(a.predictions[s]["prediction"], b.predictions[s]["prediction"]) for s in ("valid", "test")
    )


def test_one_seed_gives_one_set_of_digits(tiny: Prepared, tmp_path: Path) -> None:
    (a, logged_a), (b, logged_b) = run(tiny, tmp_path / "a"), run(tiny, tmp_path / "b")
    assert same_predictions(a, b)
    assert logged_a.digits() == logged_b.digits()
    assert a.test == b.test


def test_another_seed_gives_others(tiny: Prepared, tmp_path: Path) -> None:
    (a, _), (b, _) = run(tiny, tmp_path / "a"), run(tiny, tmp_path / "b", run_config(seed=1))
    assert not same_predictions(a, b)


class Killed(BaseException):
    pass


def kill_after(epoch: int) -> Any:
    def act(now: int) -> None:
        if now == epoch:
            raise Killed

    return act


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_run_resumes_to_the_same_digits(tiny: Prepared, tmp_path: Path, epoch: int) -> None:
    """The kill strikes between an epoch's record and its checkpoint, the worst moment: that epoch is run again."""
    whole, logged = run(tiny, tmp_path / "whole")
    with pytest.raises(Killed):
        run(tiny, tmp_path / "cut", after=kill_after(epoch))
    resumed, rest = run(tiny, tmp_path / "cut", resume=True)
    assert min(rest.rows) == epoch
    assert same_predictions(whole, resumed)
    assert resumed.test == whole.test
    assert resumed.best_epoch == whole.best_epoch
    assert rest.digits() == {e: row for e, row in logged.digits().items() if e >= epoch}


def test_resume_without_a_checkpoint_starts_anew(tiny: Prepared, tmp_path: Path) -> None:
    whole, _ = run(tiny, tmp_path / "a")
    resumed, logged = run(tiny, tmp_path / "b", resume=True)
    assert min(logged.rows) == 1
    assert same_predictions(whole, resumed)


def test_test_labels_cannot_influence_a_run(tiny: Prepared, tmp_path: Path) -> None:
    """Permute them: all that is logged, chosen and predicted stays bit-equal; only the test metrics change."""
    permuted = tiny.with_labels("test", np.random.default_rng(0).permutation(tiny.labels("test")))
    (a, logged_a), (b, logged_b) = run(tiny, tmp_path / "a"), run(permuted, tmp_path / "b")
    assert same_predictions(a, b)
    assert logged_a.digits() == logged_b.digits()
    assert logged_a.files == logged_b.files
    assert (a.valid, a.best_epoch, a.epochs) == (b.valid, b.best_epoch, b.epochs)
    assert a.test != b.test


def test_the_best_validation_epoch_is_evaluated(tiny: Prepared, tmp_path: Path) -> None:
    result, logged = run(tiny, tmp_path, run_config(epochs=6))
    best = min(logged.rows, key=lambda e: logged.rows[e]["valid.mae"])
    assert result.best_epoch == best
    assert result.valid["mae"] == logged.rows[best]["valid.mae"]


def test_patience_ends_training(tiny: Prepared, tmp_path: Path) -> None:
    config = run_config("mcer", "patience=2", "lr_other=0.3", epochs=50)
    result, logged = run(tiny, tmp_path, config)
    assert result.stopped == "patience"
    assert result.epochs == result.best_epoch + 2 == max(logged.rows)


def test_every_loss_part_is_logged_and_the_parts_add_up(tiny: Prepared, tmp_path: Path) -> None:
    _, logged = run(tiny, tmp_path, run_config(epochs=3))
    for row in logged.rows.values():
        parts = {k: v for k, v in row.items() if k.startswith("train.loss.")}
        assert len(parts) > 3
        assert row["train.loss"] == pytest.approx(sum(parts.values()), abs=1e-5)


def test_a_generated_label_table_is_stored_each_epoch(tiny: Prepared, tmp_path: Path) -> None:
    _, logged = run(tiny, tmp_path)
    assert sorted(logged.files) == [f"epoch-{e:03d}.npz" for e in range(1, 5)]
    last = np.load(io.BytesIO(logged.files["epoch-004.npz"]))
    assert last["id"].tolist() == tiny.splits["train"].ids
    assert {f"labels_{name}" for name in ("t", "a", "v", "m_t", "m_a", "m_v")} < set(last)
    moved = np.abs(last["labels_t"] - last["label"])
    assert 0 < moved.max() <= 6


@pytest.mark.parametrize("epoch", [2, 4])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_the_run_before_the_test_split_is_read(
    tiny: Prepared, tmp_path: Path, number: int, epoch: int
) -> None:
    """Also when it comes during the last epoch's validation or checkpoint."""
    whole, _ = run(tiny, tmp_path / "whole")
    stopped, _ = run(tiny, tmp_path / "cut", after=lambda e: e == epoch and os.kill(os.getpid(), number))
    assert stopped.interrupted
    assert stopped.test == {}
    resumed, _ = run(tiny, tmp_path / "cut", resume=True)
    assert same_predictions(whole, resumed)


def test_training_works_outside_the_main_thread(tiny: Prepared, tmp_path: Path) -> None:
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(run(tiny, tmp_path, run_config(epochs=1))[0]))
    thread.start()
    thread.join()
    assert results[0].epochs == 1


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_amp_is_bfloat16_where_a_card_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert half_precision(torch.device("cuda")) == expected
    assert half_precision(CPU) == torch.bfloat16


class NoBar:
    def step(self, loss: Tensor, explain: Any) -> None: ...


def steps_of_an_epoch(data: Prepared, batch_size: int, accumulate: int) -> list[Tensor]:
    """The gradient at each optimiser step of one epoch in which the weights stand still."""
    config = run_config(
        *("text_only", f"batch_size={batch_size}", f"accumulate={accumulate}", "dropout=0", "text_mode=features")
    )
    trainer = Trainer(config, data, build_model(config, data), CPU, amp=False)
    gradients: list[Tensor] = []

    def keep() -> None:
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]))

    trainer.scaler.step = lambda optimiser: keep()
    trainer.epoch(1, NoBar(), [])  # type: ignore[arg-type]
    return gradients


def test_accumulated_batches_step_as_one_large_batch(tiny: Prepared) -> None:
    [parts], [whole] = steps_of_an_epoch(tiny, 8, 5), steps_of_an_epoch(tiny, 40, 1)
    torch.testing.assert_close(parts, whole)


def test_the_last_incomplete_group_is_stepped_too(tiny: Prepared) -> None:
    assert len(steps_of_an_epoch(tiny, 8, 2)) == 3  # five batches: 2 + 2 + 1


def test_a_loss_that_is_not_finite_names_its_term(
    tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = registry.get("mcer").model
    loss = model.loss

    def broken(self: Any, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        return loss(self, output, batch, state) | {"mi": output.prediction.sum() * float("nan")}

    monkeypatch.setattr(model, "loss", broken)
    with pytest.raises(MsabenchError, match=r"not finite after 1 batches \(term: mi\)"):
        run(tiny, tmp_path)


DAMAGE = {
    "truncated": lambda content: content[:1000],
    "empty": lambda content: b"",
    "garbage": lambda content: b"e" * 100,
    "a pickle that runs code": lambda content: pickle.dumps(Killed),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused(tiny: Prepared, tmp_path: Path, damage: str) -> None:
    with pytest.raises(Killed):
        run(tiny, tmp_path, after=kill_after(2))
    last = tmp_path / "last.pt"
    last.write_bytes(DAMAGE[damage](last.read_bytes()))
    with pytest.raises(checkpoint.CheckpointError, match=r"damaged.*without --resume"):
        run(tiny, tmp_path, resume=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda **options: open(tmp_path / "full", "wb"))  # noqa: SIM115
    with pytest.raises(StoreError, match=r"cannot write checkpoint .*(full|No space)"):
        checkpoint.save(tmp_path / "last.pt", {"weights": torch.zeros(10_000)})
    assert not (tmp_path / "last.pt").exists()


def test_a_folder_that_cannot_be_written_is_named(tiny: Prepared, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match="cannot write checkpoint"):
        run(tiny, blocked / "work")
