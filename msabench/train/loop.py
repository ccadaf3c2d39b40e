"""One training loop for all models.

A run is a function of (config, data): every epoch reseeds its random streams from the root seed, so that a run
resumed at an epoch's start continues to the same digits. The test split is read once, after training, and its labels
are opened when the model has had its last say; in a run for validation only, never.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from msabench import metrics
from msabench.bars import tqdm
from msabench.config import RunConfig
from msabench.contract import Batch, Model, Output, State, checked_output, checked_scalars, faults, registry
from msabench.data import partial
from msabench.data.batching import Prepared
from msabench.data.fitted import Fitted
from msabench.errors import ModelError, MsabenchError
from msabench.seeds import derive, stream
from msabench.train import checkpoint, gradients, kernels, signals
from msabench.train.memory import peak_memory_mib
from msabench.train.optim import Schedule, make_optimiser
from msabench.train.progress import Progress
from msabench.train.repeatable import repeatable

log = logging.getLogger("msabench")


class Recorder(Protocol):
    def log(self, values: dict[str, float], epoch: int) -> None:
        """Stores an epoch's scalars; durable when it returns."""

    def artifact(self, name: str, content: bytes) -> None: ...


@dataclass(frozen=True)
class Result:
    test: dict[str, float]  # {} where the run was for validation only
    valid: dict[str, float]
    best_epoch: int
    epochs: int
    stopped: str  # "patience", "max_epochs", "closed form" or "interrupted"
    predictions: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)  # split -> ids, prediction, label
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    parameters: int = 0  # trainable

    @property
    def interrupted(self) -> bool:
        return self.stopped == "interrupted"


@dataclass
class Best:
    """Early stopping: the best epoch by validation MAE."""

    mae: float = math.inf
    epoch: int = 0

    def update(self, mae: float, epoch: int) -> bool:
        if mae < self.mae:
            self.mae, self.epoch = mae, epoch
            return True
        return False


def train(
    config: RunConfig,
    data: Prepared,
    *,
    device: torch.device,
    workdir: Path,
    recorder: Recorder,
    resume: bool = False,
    progress: bool = True,
    amp: bool = True,
) -> Result:
    """Trains one model with one seed and evaluates its best epoch by validation MAE.

    workdir: where `last.pt` (every epoch) and `best.pt` stand. resume: go on from `last.pt` when it is there.
    Raises MsabenchError when a loss is not finite, ModelError for whatever the model's own code raises or wrongly
    answers, StoreError when a checkpoint cannot be written.
    """
    with faults.named(registry.get(config.model).model), kernels.fastest(device), repeatable(device):
        return _train(config, data, device, workdir, recorder, resume, progress, amp)


def _train(
    config: RunConfig,
    data: Prepared,
    device: torch.device,
    workdir: Path,
    recorder: Recorder,
    resume: bool,
    progress: bool,
    amp: bool,
) -> Result:
    started = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    splits = ("valid",) if config.validation_only else ("valid", "test")
    model = build_model(config, data).to(device)
    for line in partial.told(data):
        log.info("%s", line)
    in_one = type(model).fit is not Model.fit  # for others an epoch's text need not be encoded to ask them
    if in_one and model.fit(partial.for_epoch(data, config.seed, 1, progress=progress).for_fit()):
        _keep(workdir, model, data, epoch=0)
        return _finish(model, data, device, splits, Best(epoch=0), epochs=0, stopped="closed form", started=started)

    data = data.on(device)
    trainer = Trainer(config, data, model, device, amp, progress)
    best, first, before = Best(), 1, 0.0
    if resume and (workdir / "last.pt").is_file():
        state = checkpoint.load(workdir / "last.pt", device)
        trainer.load_state_dict(state["trainer"])
        best, first, before = Best(**state["best"]), state["epoch"] + 1, state["seconds"]
        log.info("resumed after epoch %d (best validation MAE %.4f at epoch %d)", first - 1, best.mae, best.epoch)

    hparams = config.hparams
    title = f"{config.model} {data.name} seed {config.seed}"
    epoch = first - 1
    with Progress(title, trainer.batches_per_epoch, show=progress) as bar, stop_signals() as stop:
        while epoch < hparams.max_epochs and epoch - best.epoch < hparams.patience:
            epoch += 1
            bar.start_epoch(epoch, min(hparams.max_epochs, best.epoch + hparams.patience), best.mae, best.epoch)
            clock = time.perf_counter()
            logged = trainer.epoch(epoch, bar, stop)
            if stop:  # this epoch's part is dropped: resumed, it begins anew
                seconds = before + time.perf_counter() - started
                return Result({}, {}, best.epoch, epoch - 1, "interrupted", seconds=seconds)
            valid = evaluate(predict(model, data, "valid", device), data, "valid")
            improved = best.update(valid["mae"], epoch)
            trainer.schedule.epoch(valid["mae"])
            logged |= {f"valid.{name}": value for name, value in valid.items()}
            logged["seconds"] = time.perf_counter() - clock
            log.info(
                "epoch %3d  loss %.4f  valid MAE %.4f%s  %.1f s",
                *(epoch, logged["train.loss"], valid["mae"], " *" if improved else "  ", logged["seconds"]),
            )
            arrays = _arrays(model.after_epoch(State(epoch, trainer.step, config.seed)))
            if arrays:  # with what a case study needs to name a sample: MCER's table VI
                samples = {"id": np.array(data.splits["train"].ids), "label": data.splits["train"].labels}
                recorder.artifact(f"epoch-{epoch:03d}.npz", _npz(samples | arrays))
            if improved:
                _keep(workdir, model, data, epoch)
            recorder.log(logged, epoch)
            seconds = before + time.perf_counter() - started
            state = {"trainer": trainer.state_dict(), "best": vars(best), "epoch": epoch, "seconds": seconds}
            checkpoint.save(workdir / "last.pt", state)
            if stop:
                return Result({}, {}, best.epoch, epoch, "interrupted", seconds=seconds)
    stopped = "patience" if epoch - best.epoch >= hparams.patience else "max_epochs"
    model.load_state_dict(checkpoint.load(workdir / "best.pt", device)["model"])
    return _finish(model, data, device, splits, best, epochs=epoch, stopped=stopped, started=started - before)


def _keep(workdir: Path, model: Model, data: Prepared, epoch: int) -> None:
    """The weights so far the best, with all that new clips need beside them: `msabench.runs.predict` reads both."""
    content = {"model": model.state_dict(), "epoch": epoch, "data": Fitted.of(data).to_dict()}
    checkpoint.save(workdir / "best.pt", content)


def build_model(config: RunConfig, data: Prepared) -> Model:
    """The model of a run, initialised from the run's seed."""
    torch.manual_seed(derive(config.seed, "init"))
    return registry.get(config.model).model(config.hparams, data.spec)


@torch.inference_mode()
def predict(model: Model, data: Prepared, split: str, device: torch.device, *, progress: bool = False) -> np.ndarray:
    """(N,) float64 predictions in the split's own order, made without its labels.

    Raises ModelError for what is no prediction per sample, and for one that is not finite.
    """
    model.eval()
    predictions = np.full(data.n(split), np.nan)
    # Evaluation keeps no activations: larger batches than in training cost nothing.
    batches = data.unlabelled(split, batch_size=128)
    total = data.n_batches(split, 128)
    for rows, batch in tqdm(batches, desc=f"predicting {split}", total=total, delay=2, disable=not progress):
        output = checked_output(model(batch.to(device)), batch, training=False)
        predictions[rows] = output.prediction.double().cpu().numpy()
    if bad := int((~np.isfinite(predictions)).sum()):
        raise ModelError(
            f"{bad} of {len(predictions)} predictions on {split} are not finite. "
            "In evaluation batch.label is NaN: a prediction may not depend on it."
        )
    return predictions


def evaluate(prediction: np.ndarray, data: Prepared, split: str) -> dict[str, float]:
    """The metrics of a split, by the dataset's protocol."""
    return metrics.evaluate(prediction, data.labels(split), data.protocol)


class Trainer:
    """The part of a run that a checkpoint holds: model, optimiser, AMP scale, step count."""

    def __init__(
        self, config: RunConfig, data: Prepared, model: Model, device: torch.device, amp: bool, progress: bool = False
    ) -> None:
        self.config, self.data, self.model, self.device, self.progress = config, data, model, device, progress
        self.optimiser = make_optimiser(model)
        self.amp = half_precision(device)
        self.use_amp = amp and device.type == "cuda"  # bfloat16 on a CPU without AMX is many times slower
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.use_amp and self.amp == torch.float16)
        self.step = 0
        self.shares: dict[str, float] = {}  # of the loss terms, as last measured
        self.batches_per_epoch = data.n_batches("train", config.hparams.batch_size)
        steps_per_epoch = -(-self.batches_per_epoch // config.hparams.accumulate)
        self.schedule = Schedule(self.optimiser, config.hparams, steps_per_epoch)

    def epoch(self, epoch: int, bar: Progress, stop: list[None]) -> dict[str, float]:
        """One pass over the train split; the means of all loss parts and logs, weighted by batch size. In epochs 1, 2,
        4, 8, ... also the terms' gradients in the last full batch: see `gradients.shares`."""
        hparams, seed = self.config.hparams, self.config.seed
        data = partial.for_epoch(self.data, seed, epoch, progress=self.progress)
        torch.manual_seed(derive(seed, "train", epoch))
        self.model.train()
        self.model.before_epoch(State(epoch, self.step, seed))
        sums: dict[str, Tensor | float] = defaultdict(float)
        seen = 0
        measured = max(0, self.batches_per_epoch - 2) if gradients.due(epoch) else None
        batches = data.batches("train", hparams.batch_size, generator=stream(seed, "shuffle", epoch))
        for number, batch in enumerate(batches):
            first_of_group = number - number % hparams.accumulate
            group = min(hparams.accumulate, self.batches_per_epoch - first_of_group)
            last_of_group = number == first_of_group + group - 1
            batch = batch.to(self.device)
            state = State(epoch, self.step + 1, seed)
            output, total, parts = self._backward(batch, state, group, number == measured)
            self.step += 1
            if last_of_group:
                self._step()
            self.model.after_batch(output, batch, state)
            seen += len(batch)
            for name, value in parts.items():
                sums[name] = sums[name] + value.detach() * len(batch)
            bar.step(total, self._explain)
            if stop:
                break
        means = {f"train.{name}": float(value) / seen for name, value in sums.items()}
        return means | self.shares if measured is not None else means

    def _backward(
        self, batch: Batch, state: State, group: int, measured: bool
    ) -> tuple[Output, Tensor, dict[str, Tensor]]:
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.use_amp):
            output = checked_output(self.model(batch), batch, training=True)
            terms = checked_scalars(self.model.loss(output, batch, state), "loss term", at_least=1)
            total = torch.stack([term.float() for term in terms.values()]).sum()
        if measured:
            # Scaled, so that half precision keeps small gradients; the scale cancels.
            self.shares = gradients.shares(self.model, {name: self.scaler.scale(t) for name, t in terms.items()})
        self.scaler.scale(total / group).backward()
        self._terms = terms
        parts = {"loss": total} | {f"loss.{name}": term for name, term in terms.items()}
        return output, total, parts | checked_scalars(self.model.logs(output), "log")

    def _step(self) -> None:
        hparams = self.config.hparams
        if hparams.clip_norm or hparams.clip_value:
            self.scaler.unscale_(self.optimiser)
            parameters = [p for p in self.model.parameters() if p.grad is not None]
            if hparams.clip_norm:
                torch.nn.utils.clip_grad_norm_(parameters, hparams.clip_norm)
            if hparams.clip_value:
                torch.nn.utils.clip_grad_value_(parameters, hparams.clip_value)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)

    def _explain(self) -> MsabenchError:
        bad = [name for name, term in self._terms.items() if not torch.isfinite(term)]
        return MsabenchError(
            f"the loss is not finite after {self.step} batches (term: {', '.join(bad) or 'their sum'}). "
            "Try a smaller learning rate (--set lr=...) or a gradient clip (--set clip_norm=1)."
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]


def half_precision(device: torch.device) -> torch.dtype:
    """What AMP computes with: bfloat16, which needs no scaled loss, where the card has it, and float16 elsewhere."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16  # before Ampere torch calls bfloat16 supported too: it emulates it
    return torch.bfloat16


@contextlib.contextmanager
def stop_signals() -> Iterator[list[None]]:
    """A list that fills when the user or the system asks to stop: the loop then ends after the current batch.

    A second Ctrl-C stops at once. Outside the main thread signals cannot be handled, and the list stays empty.
    """
    received: list[None] = []

    def note() -> None:
        if received:
            raise KeyboardInterrupt
        received.append(None)  # nothing else: a handler may strike while a log line is being written

    with signals.handled({signal.SIGINT, *signals.TO_STOP}, note):
        yield received


def _finish(
    model: Model,
    data: Prepared,
    device: torch.device,
    splits: tuple[str, ...],
    best: Best,
    *,
    epochs: int,
    stopped: str,
    started: float,
) -> Result:
    """Evaluates the chosen weights on validation and, where `splits` has it, for the first and only time on test."""
    made = {split: predict(model, data, split, device) for split in splits}
    notes = _notes(model.notes(best.epoch))
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # No code of the model's runs from here on: only now are the test split's labels opened.
    scores = {split: evaluate(prediction, data, split) for split, prediction in made.items()}
    return Result(
        test=scores.get("test", {}),
        valid=scores["valid"],
        best_epoch=best.epoch,
        epochs=epochs,
        stopped=stopped,
        predictions={
            split: {"ids": data.splits[split].ids, "prediction": prediction, "label": data.labels(split)}
            for split, prediction in made.items()
        },
        notes=notes,
        seconds=time.perf_counter() - started,
        peak_memory_mib=peak_memory_mib(device),
        parameters=parameters,
    )


def _notes(answer: Any) -> tuple[str, ...]:
    if not (isinstance(answer, tuple | list) and all(isinstance(note, str) for note in answer)):
        raise ModelError(f"notes() returns {type(answer).__name__}; expected a tuple of sentences.")
    return tuple(answer)


def _arrays(answer: Any) -> dict[str, np.ndarray]:
    for name, array in answer.items() if isinstance(answer, dict) else [("", answer)]:
        if not (name and isinstance(name, str) and isinstance(array, np.ndarray)) or array.dtype.hasobject:
            found = f"{type(array).__name__} {name!r}" if name else type(answer).__name__
            raise ModelError(f"after_epoch() returns {found}; expected numpy arrays of numbers by name, a dict.")
    return answer


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
