"""LMF beside MMSA's: the same function of the same weights, and where MMSA's is another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from msabench.checks import checks, synthetic
from msabench.contract import Batch, State
from msabench.literature.presets import build
from msabench.models.layers import Rates
from msabench.models.lmf import LMF
from msabench.train.optim import make_optimiser

if TYPE_CHECKING:
    from conftest import Peer

STEPS = {"text": 7, "audio": 5, "visual": 4}
NAMES = [
    (r"^video_", "visual_"),
    (r"^(audio|visual)_subnet\.norm\.", r"subnets.\1.0."),
    (r"^(audio|visual)_subnet\.linear_1\.", r"subnets.\1.2."),
    (r"^(audio|visual)_subnet\.linear_2\.", r"subnets.\1.4."),
    (r"^(audio|visual)_subnet\.linear_3\.", r"subnets.\1.6."),
    (r"^text_subnet\.rnn\.", "subnets.text.lstm."),
    (r"^text_subnet\.linear_1\.", "subnets.text.linear."),
    (r"^(text|audio|visual)_factor$", r"factors.\1"),
    (r"^fusion_(weights|bias)$", r"\1"),
]


def pair(peer: Peer, dataset: str = "mosi") -> tuple[nn.Module, LMF]:
    """MMSA's model and ours with its weights, neither with dropout."""
    theirs = peer.config("lmf", dataset, dropouts=[0.0] * 4)
    hparams = replace(build("lmf", dataset, preset="mmsa").hparams, dropout=Rates(0.0, 0.0, 0.0))
    model, ours = peer.build(theirs), LMF(hparams, peer.data(theirs))
    with torch.no_grad():
        model.fusion_bias.fill_(0.3)  # they start and, with their optimiser, stay at 0
    peer.carry(model, ours, NAMES)
    return model, ours


def given(batch: Batch) -> dict[str, Tensor]:
    """As MMSA's data loader does, audio and visual are averaged over all steps."""
    audio, visual = (batch[m].values.mean(1, keepdim=True) for m in ("audio", "visual"))
    return {"text": batch.text.values, "audio": audio, "vision": visual}


def run(theirs: nn.Module, batch: Batch) -> Tensor:
    return theirs(*given(batch).values())["M"].squeeze(-1)


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_predictions_loss_and_gradients_are_equal(peer: Peer, dataset: str) -> None:
    theirs, ours = pair(peer, dataset)
    batch = peer.batch(peer.data(peer.config("lmf", dataset)), STEPS)
    output, expected = ours.train()(batch), run(theirs.train(), batch)
    assert_close(output.prediction, expected, rtol=0, atol=1e-10)
    loss, loss_expected = ours.loss(output, batch, State(1, 1, 0))["task"], F.l1_loss(expected, batch.label)
    assert_close(loss, loss_expected, rtol=0, atol=1e-10)
    loss.backward()
    loss_expected.backward()
    peer.assert_same_gradients(theirs, ours, NAMES)
    # The batch's statistics, kept by that pass, are what evaluation normalises with.
    assert_close(ours.eval()(batch).prediction, run(theirs.eval(), batch), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dataset", "count"), [("mosi", 505_071), ("mosei", 508_475)])
def test_the_preset_mmsa_is_their_configuration(peer: Peer, dataset: str, count: int) -> None:
    theirs = peer.config("lmf", dataset)
    ours = build("lmf", dataset, preset="mmsa").hparams
    assert (ours.hidden.text, ours.hidden.audio, ours.hidden.visual) == tuple(theirs.hidden_dims)
    assert [ours.dropout.audio, ours.dropout.visual] == theirs.dropouts[:2]
    assert (ours.text_out, ours.rank) == (theirs.hidden_dims[0] // 2, theirs.rank)
    assert (ours.lr, ours.lr_factors) == (theirs.learning_rate, theirs.factor_lr)
    assert (ours.batch_size, ours.weight_decay) == (theirs.batch_size, theirs.weight_decay)
    assert (ours.patience, ours.standardise) == (theirs.early_stop, False)
    assert sum(p.numel() for p in LMF(ours, peer.data(theirs)).parameters()) == count
    assert sum(p.numel() for p in peer.build(theirs).parameters()) == count


def test_they_never_train_the_ranks_weights_and_the_bias_and_we_do(peer: Peer, tmp_path: Path) -> None:
    theirs, ours = pair(peer)
    batch = peer.batch(peer.data(peer.config("lmf")), STEPS)
    before = {name: p.detach().clone() for name, p in theirs.named_parameters()}
    peer.train_once(peer.config("lmf"), theirs, given(batch), batch.label, tmp_path)
    checks.epoch(ours, make_optimiser(ours), [batch], 1)
    untouched = {name for name, p in theirs.named_parameters() if torch.equal(p, before[name])}
    assert untouched == {"fusion_weights", "fusion_bias"}
    before = peer.rename(before, NAMES)
    assert not [name for name, p in ours.named_parameters() if torch.equal(p, before[name])]


def test_one_step_of_their_optimiser_is_one_of_ours_but_for_those(peer: Peer, tmp_path: Path) -> None:
    """Two rates, and weight decay on all."""
    theirs, ours = pair(peer)
    batch = peer.batch(peer.data(peer.config("lmf")), STEPS)
    peer.train_once(peer.config("lmf"), theirs, given(batch), batch.label, tmp_path)
    checks.epoch(ours, make_optimiser(ours), [batch], 1)
    expected = peer.rename(dict(theirs.named_parameters()), NAMES)
    for name, parameter in ours.named_parameters():
        if name not in ("weights", "bias"):
            assert_close(parameter, expected[name], rtol=0, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("modality", STEPS)
def test_their_prediction_changes_with_padding_and_ours_does_not(peer: Peer, modality: str) -> None:
    theirs, ours = pair(peer)
    batch = peer.batch(peer.data(peer.config("lmf")), STEPS)
    short = batch[modality]
    zeros = replace(short, values=F.pad(short.values, (0, 0, 0, 3)), mask=F.pad(short.mask, (0, 3)))
    longer = synthetic.replace(batch, {modality: zeros})
    with torch.no_grad():
        assert_close(ours.eval()(longer).prediction, ours(batch).prediction, rtol=0, atol=1e-10)
        assert (run(theirs.eval(), longer) - run(theirs, batch)).abs().min() > 1e-6
