"""MFM beside MMSA's: the same function of the same weights, and where MMSA's is another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.contract import MODALITIES, Batch, State
from msabench.literature.presets import build
from msabench.models.layers import Rates
from msabench.models.mfm import MFM

if TYPE_CHECKING:
    from conftest import Peer

STEPS = dict.fromkeys(MODALITIES, 6)
NAMES = [
    (r"^encoder_([lav])\.lstm\.(\w+)$", r"codes.{\1}.lstm.\2_l0"),
    (r"^encoder_([lav])\.fc1\.", r"codes.{\1}.linear."),
    (r"^decoder_([lav])\.lstm\.", r"decode.{\1}.cell."),
    (r"^decoder_([lav])\.fc1\.", r"decode.{\1}.linear."),
    (r"^mfn_encoder\.lstm_([lav])\.", r"fuse.cells.{\1}."),
    (r"^mfn_encoder\.att1_fc", "fuse.attend.fc"),
    (r"^mfn_encoder\.att2_fc", "fuse.propose.fc"),
    (r"^mfn_encoder\.gamma1_fc", "fuse.keep.fc"),
    (r"^mfn_encoder\.gamma2_fc", "fuse.write.fc"),
    (r"^mfn_encoder\.out_.*", ""),  # MFN's own head: no loss reads it
    (r"^last_to_zy_fc1\.", "code."),
    (r"^zy_to_fy_", "factor.0."),
    (r"^z([lav])_to_f\1_", r"factors.{\1}.0."),
    (r"^fy_to_y_", "head."),
    (r"\.fc1\.", ".0."),
    (r"\.fc2\.", ".3."),
]
NO_DROPOUT = {"dropout_f": Rates(0.0, 0.0, 0.0)} | {
    f"dropout_{name}": 0.0 for name in ("attention", "candidate", "keep", "write", "f_y", "head")
}


def pair(peer: Peer, dataset: str = "mosi") -> tuple[nn.Module, MFM]:
    """MMSA's model and ours with its weights, neither with dropout."""
    config = peer.config("mfm", dataset)
    ours = MFM(replace(build("mfm", dataset, preset="mmsa").hparams, **NO_DROPOUT), peer.data(config))
    theirs = peer.no_dropout(peer.build(config))
    peer.carry(theirs, ours, NAMES)
    return theirs, ours


def run(theirs: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction (B,), weighted reconstruction, unweighted discrepancy; the same noise in every call."""
    torch.manual_seed(3)
    prediction, reconstruction, mmd, _ = theirs(*(batch[m].values for m in MODALITIES))
    return prediction.squeeze(-1), reconstruction, mmd


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_predictions_loss_terms_and_gradients_are_equal(peer: Peer, dataset: str) -> None:
    config = peer.config("mfm", dataset)
    theirs, ours = pair(peer, dataset)
    batch = peer.batch(peer.data(config), STEPS)
    assert_close(ours.eval()(batch).prediction, run(theirs.eval(), batch)[0], rtol=0, atol=1e-10)
    expected, reconstruction, mmd = run(theirs.train(), batch)
    torch.manual_seed(3)
    output = ours.train()(batch)
    assert_close(output.prediction, expected, rtol=0, atol=1e-10)
    terms = ours.loss(output, batch, State(1, 1, 0))
    assert_close(terms["task"], F.l1_loss(expected, batch.label), rtol=0, atol=1e-10)
    assert_close(sum(terms[f"reconstruction_{m}"] for m in MODALITIES), reconstruction, rtol=0, atol=1e-10)
    assert_close(terms["mmd"], config.lda_mmd * mmd, rtol=0, atol=1e-10)
    sum(terms.values()).backward()
    (F.l1_loss(expected, batch.label) + reconstruction + config.lda_mmd * mmd).backward()
    peer.assert_same_gradients(theirs, ours, NAMES)


@pytest.mark.parametrize(("dataset", "count"), [("mosi", 1_416_123), ("mosei", 5_996_541)])
def test_the_preset_mmsa_is_their_configuration(peer: Peer, dataset: str, count: int) -> None:
    c = peer.config("mfm", dataset)
    ours = build("mfm", dataset, preset="mmsa").hparams

    def by_modality(values: Any) -> list[Any]:
        return [getattr(values, m) for m in MODALITIES]

    assert by_modality(ours.hidden) == c.hidden_dims
    assert [ours.z_y, *by_modality(ours.z)] == [c.zy_size, c.zl_size, c.za_size, c.zv_size]
    assert [ours.f_y, *by_modality(ours.f)] == [c.fy_size, c.fl_size, c.fa_size, c.fv_size]
    dropouts = [c.zy_to_fy_dropout, c.zl_to_fl_dropout, c.za_to_fa_dropout, c.zv_to_fv_dropout, c.fy_to_y_dropout]
    assert [ours.dropout_f_y, *by_modality(ours.dropout_f), ours.dropout_head] == dropouts
    assert [ours.mmd, *by_modality(ours.reconstruction)] == [c.lda_mmd, c.lda_xl, c.lda_xa, c.lda_xv]
    assert (ours.memory, c.windowsize) == (c.memsize, 2)
    networks = [c.NN1Config, c.NN2Config, c.gamma1Config, c.gamma2Config]
    assert [ours.attention, ours.candidate, ours.keep, ours.write] == [n["shapes"] for n in networks]
    names = ("attention", "candidate", "keep", "write")
    assert [getattr(ours, f"dropout_{name}") for name in names] == [n["drop"] for n in networks]
    assert (ours.batch_size, ours.weight_decay, ours.patience) == (c.batch_size, c.weight_decay, c.early_stop)
    assert not ours.standardise
    theirs = peer.build(c)
    head = sum(p.numel() for name, p in theirs.named_parameters() if name.startswith("mfn_encoder.out_"))
    assert sum(p.numel() for p in theirs.parameters()) == count
    assert sum(p.numel() for p in MFM(ours, peer.data(c)).parameters()) == count - head


def test_their_learning_rate_is_adams_whatever_their_configuration_says(peer: Peer, tmp_path: Path) -> None:
    config = peer.config("mfm", learning_rate=0.5)
    theirs, _ = pair(peer)
    batch = peer.batch(peer.data(config), STEPS)
    before = {name: p.detach().clone() for name, p in theirs.named_parameters()}
    inputs = {"text": batch.text.values, "audio": batch.audio.values, "vision": batch.visual.values}
    peer.train_once(config, theirs, inputs, batch.label, tmp_path)
    step = max(float((p - before[name]).abs().max().detach()) for name, p in theirs.named_parameters())
    assert step == pytest.approx(1e-3, rel=1e-3) == build("mfm", "mosi", preset="mmsa").hparams.lr


def test_no_loss_reads_the_head_of_their_mfn(peer: Peer) -> None:
    theirs, _ = pair(peer)
    sum(term.sum() for term in run(theirs, peer.batch(peer.data(peer.config("mfm")), STEPS))).backward()
    unused = {name for name, gradient in peer.gradients(theirs).items() if not gradient.any()}
    assert unused == {f"mfn_encoder.out_{part}" for part in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")}


def test_theirs_changes_with_padding_and_ours_does_not(peer: Peer) -> None:
    theirs, ours = pair(peer)
    batch = peer.batch(peer.data(peer.config("mfm")), STEPS)
    padded = {
        m: replace(batch[m], values=F.pad(batch[m].values, (0, 0, 0, 3)), mask=F.pad(batch[m].mask, (0, 3)))
        for m in MODALITIES
    }
    longer = synthetic.replace(batch, padded)
    with torch.no_grad():
        assert_close(ours.eval()(longer).prediction, ours(batch).prediction, rtol=0, atol=1e-10)
        assert (run(theirs, longer)[0] - run(theirs, batch)[0]).abs().min() > 1e-6
        terms = []
        for one in (batch, longer):
            torch.manual_seed(3)
            terms.append(ours.loss(ours.train()(one), one, State(1, 1, 0)))
        for name, value in terms[0].items():
            assert_close(terms[1][name], value, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        assert (run(theirs, longer)[1] - run(theirs, batch)[1]).abs() > 1e-6
