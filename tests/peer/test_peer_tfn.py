"""TFN beside MMSA's: the same function of the same weights, and where MMSA's is another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.contract import Batch, State
from msabench.literature.presets import build
from msabench.models.layers import Rates
from msabench.models.tfn import TFN

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
    (r"^post_fusion_layer_1\.", "infer.1."),
    (r"^post_fusion_layer_2\.", "infer.3."),
    (r"^post_fusion_layer_3\.", "infer.5."),
    (r"^output_(range|shift)$", ""),
]


def pair(peer: Peer, dataset: str = "mosi") -> tuple[nn.Module, TFN]:
    """MMSA's model and ours with its weights, neither with dropout."""
    theirs = peer.config("tfn", dataset, dropouts=[0.0] * 4)
    hparams = replace(build("tfn", dataset, preset="mmsa").hparams, dropout=Rates(0.0, 0.0, 0.0), dropout_fusion=0.0)
    model, ours = peer.build(theirs), TFN(hparams, peer.data(theirs))
    peer.carry(model, ours, NAMES)
    return model, ours


def run(theirs: nn.Module, batch: Batch) -> Tensor:
    """As MMSA's data loader does, audio and visual are averaged over all steps."""
    audio, visual = (batch[m].values.mean(1, keepdim=True) for m in ("audio", "visual"))
    return theirs(batch.text.values, audio, visual)["M"].squeeze(-1)


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_predictions_loss_and_gradients_are_equal(peer: Peer, dataset: str) -> None:
    theirs, ours = pair(peer, dataset)
    batch = peer.batch(peer.data(peer.config("tfn", dataset)), STEPS)
    output, expected = ours.train()(batch), run(theirs.train(), batch)
    assert_close(output.prediction, expected, rtol=0, atol=1e-10)
    loss, loss_expected = ours.loss(output, batch, State(1, 1, 0))["task"], F.l1_loss(expected, batch.label)
    assert_close(loss, loss_expected, rtol=0, atol=1e-10)
    loss.backward()
    loss_expected.backward()
    peer.assert_same_gradients(theirs, ours, NAMES)
    # The batch's statistics, kept by that pass, are what evaluation normalises with.
    assert_close(ours.eval()(batch).prediction, run(theirs.eval(), batch), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dataset", "count"), [("mosi", 9_497_043), ("mosei", 5_042_539)])
def test_the_preset_mmsa_is_their_configuration(peer: Peer, dataset: str, count: int) -> None:
    theirs = peer.config("tfn", dataset)
    ours = build("tfn", dataset, preset="mmsa").hparams
    assert (ours.hidden.text, ours.hidden.audio, ours.hidden.visual) == tuple(theirs.hidden_dims)
    audio, visual, _, fusion = theirs.dropouts
    assert (ours.dropout.audio, ours.dropout.visual, ours.dropout_fusion) == (audio, visual, fusion)
    assert (ours.text_out, ours.post_fusion) == (theirs.text_out, theirs.post_fusion_dim)
    assert (ours.batch_size, ours.lr, ours.patience) == (theirs.batch_size, theirs.learning_rate, theirs.early_stop)
    assert not ours.standardise
    assert sum(p.numel() for p in TFN(ours, peer.data(theirs)).parameters()) == count
    trained = sum(p.numel() for p in peer.build(theirs).parameters() if p.requires_grad)
    assert trained == count


def test_their_text_has_no_dropout_whatever_their_configuration_says(peer: Peer) -> None:
    config = peer.config("tfn")
    assert config.dropouts[2] == 0.3
    assert peer.build(config).text_subnet.dropout.p == 0.0 == build("tfn", "mosi", preset="mmsa").hparams.dropout.text


@pytest.mark.parametrize("modality", STEPS)
def test_their_prediction_changes_with_padding_and_ours_does_not(peer: Peer, modality: str) -> None:
    theirs, ours = pair(peer)
    batch = peer.batch(peer.data(peer.config("tfn")), STEPS)
    given = batch[modality]
    zeros = replace(given, values=F.pad(given.values, (0, 0, 0, 3)), mask=F.pad(given.mask, (0, 3)))
    longer = synthetic.replace(batch, {modality: zeros})
    with torch.no_grad():
        assert_close(ours.eval()(longer).prediction, ours(batch).prediction, rtol=0, atol=1e-10)
        assert (run(theirs.eval(), longer) - run(theirs, batch)).abs().min() > 1e-6
