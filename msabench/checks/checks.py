"""What every model must keep to, as checks that say what is wrong.

They run on small synthetic batches and need neither data nor a text encoder: over every registered model in the
tests, and over a user's own file.  `for check in CHECKS.values(): check(entry)`
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch

from msabench.checks.honesty import check_fit, check_honesty, check_search
from msabench.checks.rehearsal import (
    SEED,
    batches,
    build,
    distance,
    epoch,
    furthest,
    loss,
    loss_terms,
    predict,
    train,
    trained,
)
from msabench.checks.synthetic import Split, pad, samples, shuffle, take, without
from msabench.contract import MODALITIES, Batch, Model, State, checked_output
from msabench.contract.registry import Entry
from msabench.errors import ModelError, UsageError
from msabench.train.optim import make_optimiser

if TYPE_CHECKING:
    from msabench.data.batching import Prepared

TOLERANCE = 1e-4  # of float32 sums taken in another order, relative to values above 1
EXTRA = 7  # padded steps added
OVERFIT_SAMPLES, OVERFIT_STEPS, OVERFIT_LR, OVERFIT_SHARE = 32, 400, 3e-3, 0.3


class Skipped(Exception):
    """A check that cannot run here; the message is the reason."""


def check_output(entry: Entry) -> None:
    """`prediction` is a finite float (B,), in train and in eval mode."""
    model, batch = build(entry), samples(6)
    for training in (True, False):
        prediction = checked_output(model.train(training)(batch), batch, training).prediction
        if not prediction.isfinite().all():
            mode = "train" if training else "eval"
            raise ModelError(f"the prediction in {mode} mode is not finite: {prediction.tolist()}.")


def check_padding(entry: Entry) -> None:
    """A padded step is not there: neither the prediction nor a loss term sees it."""
    model, batch = trained(entry), samples(6)
    expected = predict(model, batch)
    for m in MODALITIES:
        row, moved = furthest(predict(model, pad(batch, EXTRA, (m,))), expected)
        if moved > TOLERANCE:
            raise ModelError(
                f"padding changes the prediction: sample {row} moves by {moved:.2g} when {EXTRA} padded {m} steps "
                f"are added. Let batch.{m}.mask decide what counts, in every mean, attention and recurrence."
            )
    terms = loss_terms(model, batch)
    for name, value in loss_terms(trained(entry), pad(batch, EXTRA, MODALITIES)).items():
        moved = distance(value, terms[name])
        if moved > TOLERANCE:
            raise ModelError(
                f"padding changes the loss term {name!r} in train mode, dropout 0: it moves by {moved:.2g} when "
                f"{EXTRA} padded steps are added to every sequence."
            )


def check_neighbours(entry: Entry) -> None:
    """A sample's prediction in eval mode does not depend on the other samples of its batch."""
    model, batch = trained(entry), samples(6)
    together = predict(model, batch)
    alone = torch.cat([predict(model, take(batch, [i])) for i in range(len(batch))])
    row, moved = furthest(alone, together)
    if moved > TOLERANCE:
        raise ModelError(
            f"neighbours change the prediction: sample {row} alone is {moved:.2g} away from itself in a batch of "
            f"{len(batch)}. In eval mode nothing may be computed over the batch (statistics, sorting, attention)."
        )


def check_determinism(entry: Entry) -> None:
    """The same seed gives the same digits, and evaluation draws no random numbers."""
    first, second, batch = trained(entry), trained(entry), samples(6)
    if not torch.equal(predict(first, batch), predict(second, batch)):
        raise ModelError("two trainings with one seed predict differently: draw from torch's own or State's seed.")
    before = loss_terms(first, batch)
    for name, value in loss_terms(second, batch).items():
        if not torch.equal(value, before[name]):
            raise ModelError(f"two trainings with one seed differ in the loss term {name!r}.")
    if not torch.equal(predict(first, batch, seed=1), predict(first, batch, seed=2)):
        raise ModelError("the prediction in eval mode is random: take the mean instead of drawing a sample.")


def check_gradients(entry: Entry) -> None:
    """Every trainable parameter gets a finite gradient in epoch 3 or stands in unused_parameters()."""
    model = build(entry)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    unused = model.unused_parameters()
    unknown = sorted(unused - trainable.keys())
    if unknown:
        raise ModelError(f"unused_parameters() names what is not a trainable parameter: {', '.join(unknown)}.")
    if not trainable:
        return
    train(model, epochs=2)
    model.train()
    model.before_epoch(State(3, 4, SEED))
    for step, batch in enumerate(batches(), start=5):
        sum(loss(model, batch, State(3, step, SEED))[1].values(), start=torch.zeros(())).backward()
    missing = [n for n, p in trainable.items() if n not in unused and (p.grad is None or not p.grad.any())]
    if missing:
        raise ModelError(
            f"no gradient in epoch 3 for {_list(missing)}. Use them, delete them, or name them in unused_parameters()."
        )
    bad = [n for n, p in trainable.items() if p.grad is not None and not p.grad.isfinite().all()]
    if bad:
        raise ModelError(f"the gradient is not finite for {_list(bad)}.")


def check_groups(entry: Entry) -> None:
    """Every trainable parameter is in exactly one optimiser group, and every group has a learning rate."""
    model = build(entry)
    for number, group in enumerate(model.parameter_groups()):
        if "lr" not in group:
            raise ModelError(f"parameter_groups(): group {number} has no 'lr'; it has {', '.join(group)}.")
    if any(p.requires_grad for p in model.parameters()):
        make_optimiser(model)


def check_losses(entry: Entry) -> None:
    """Loss terms and logs are finite scalars of the same names in every batch, also in one of two negative samples."""
    model, batch = build(entry), samples(12)
    closed_form = model.fit(cast("Prepared", Split(batch)))
    history = [] if closed_form else train(model, epochs=3)
    for some in (batch, take(batch, batch.label.argsort()[:2].tolist())):
        output, terms = loss(model.train(), some, State(3, len(history) + 1, SEED))
        for kind, values in (("loss term", terms), ("log", model.logs(output))):
            for name, value in values.items():
                if value.ndim != 0 or not value.isfinite():
                    raise ModelError(
                        f"the {kind} {name!r} of a batch with labels {some.label.tolist()} is {value.tolist()}; "
                        "expected a finite scalar."
                    )
        history.append(terms)
    if model.main_term and history and model.main_term not in history[0]:
        raise ModelError(f"main_term is {model.main_term!r}; expected one of the loss terms: {', '.join(history[0])}.")
    names = [sorted(terms) for terms in history]
    if other := next((n for n in names if n != names[0]), None):
        raise ModelError(f"the loss has other terms in other batches: {names[0]} and {other}.")


def check_absent(entry: Entry) -> None:
    """A modality that is left out, one zero step of width 1, harms nothing: it trains, with finite gradients.

    Or the model refuses to be built without it, by a UsageError.
    """
    for m in MODALITIES:
        try:
            model, batch = build(entry, absent=m), without(samples(6), m)
        except UsageError:
            continue
        if not model.fit(cast("Prepared", Split(batch))):
            sum(loss(model.train(), batch, State(1, 1, SEED))[1].values(), start=torch.zeros(())).backward()
        bad = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        if bad or not predict(model, batch).isfinite().all():
            raise ModelError(f"without {m} (one zero step of width 1) not finite: {_list(bad) or 'the prediction'}.")


def check_overfits(entry: Entry) -> None:
    """32 samples, whose label every modality shows, are learnt."""
    model = build(entry)
    if not model.modalities:
        raise Skipped("the model reads no modality")
    batch = samples(OVERFIT_SAMPLES, shortest=2)
    spread = float((batch.label - batch.label.median()).abs().mean())
    if model.fit(cast("Prepared", Split(batch))):
        error, steps = _mae(model, batch), 0
    else:
        optimiser = make_optimiser(model)
        for group in optimiser.param_groups:
            group["lr"] = OVERFIT_LR
        for steps in range(1, OVERFIT_STEPS + 1):
            epoch(model, optimiser, [batch], steps)
            if steps % 10 == 0 and (error := _mae(model, batch)) < OVERFIT_SHARE * spread:
                break
    if error >= OVERFIT_SHARE * spread:
        raise ModelError(
            f"{OVERFIT_SAMPLES} samples are not learnt: after {steps} steps the MAE is {error:.2f}, the labels' own "
            f"deviation {spread:.2f}; expected below {OVERFIT_SHARE:.0%} of it."
        )


def check_saved(entry: Entry) -> None:
    """state_dict() holds all that predictions and losses depend on: what is loaded gives the same digits."""
    model, batch, file = trained(entry), samples(6), io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    loaded = build(entry, seed=SEED + 1)
    try:
        loaded.load_state_dict(torch.load(file, weights_only=True))
    except RuntimeError as error:
        raise ModelError(f"what state_dict() saved cannot be loaded into a fresh model: {error}") from error
    if not torch.equal(predict(loaded, batch), predict(model, batch)):
        raise ModelError("a loaded model predicts differently: something it needs is not in state_dict().")
    expected = loss_terms(model, batch)
    for name, value in loss_terms(loaded, batch).items():
        if not torch.equal(value, expected[name]):
            raise ModelError(
                f"the loss term {name!r} is another after loading ({expected[name]:.6g}, then {value:.6g}): a resumed "
                "run would leave its path. Keep state between batches in buffers."
            )


def check_modalities(entry: Entry) -> None:
    """The prediction depends on each of the model's `modalities` and on no other."""
    model, batch = trained(entry), samples(6)
    expected = predict(model, batch)
    for m in MODALITIES:
        moved = distance(predict(model, shuffle(batch, m)), expected)
        if m in model.modalities and moved < 1e-6:
            raise ModelError(f"{m} is not used: shuffling it over the samples leaves every prediction as it is.")
        if m not in model.modalities and moved > 0:
            raise ModelError(
                f"{m} is used (shuffling it moves a prediction by {moved:.2g}), but `modalities` is {model.modalities}."
            )


def check_cuda(entry: Entry) -> None:
    """Training runs on CUDA, and a model moved there predicts as on the CPU."""
    if not torch.cuda.is_available():
        raise Skipped("no CUDA device")
    device, batch = torch.device("cuda"), samples(6)
    model = trained(entry)
    expected = predict(model, batch)
    moved = distance(predict(model.to(device), batch.to(device)).cpu(), expected)
    if moved > 1e-2:  # TF32 and other kernels' sums
        raise ModelError(f"a prediction on CUDA is {moved:.2g} away from the CPU's.")
    if any(p.requires_grad for p in model.parameters()):
        epoch(model, make_optimiser(model), [batch.to(device)], 3)


CHECKS: dict[str, Callable[[Entry], None]] = {
    "output": check_output,
    "padding": check_padding,
    "neighbours": check_neighbours,
    "honesty": check_honesty,
    "fit": check_fit,
    "search": check_search,
    "determinism": check_determinism,
    "gradients": check_gradients,
    "groups": check_groups,
    "losses": check_losses,
    "absent": check_absent,
    "overfits": check_overfits,
    "saved": check_saved,
    "modalities": check_modalities,
    "cuda": check_cuda,
}


def _mae(model: Model, batch: Batch) -> float:
    return float((predict(model, batch) - batch.label).abs().mean())


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
