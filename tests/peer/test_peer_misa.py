"""MISA beside MMSA's MISA: the same function of the same weights, the same loss terms, and where MMSA's is another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.contract import Batch, Sequence, State
from msabench.literature.presets import build
from msabench.models.misa import MISA, MISAConfig, cmd

if TYPE_CHECKING:
    from conftest import Peer

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # MMSA's transformer

N_TOKENS = 11
STEPS = {"text": 7, "audio": 7, "visual": 7}  # theirs reads as many frames as there are tokens
NAMES = [
    (r"^bertmodel\.", "text."),
    (r"^([va])rnn1\.", r"recurrent.{\1}.first."),
    (r"^([va])rnn2\.", r"recurrent.{\1}.second."),
    (r"(first|second)\.(.*)_reverse$", r"\1.back.\2"),
    (r"(first|second)\.(weight|bias)", r"\1.ahead.\2"),
    (r"^([va])layer_norm\.", r"recurrent.{\1}.norm."),
    (r"^project_([tva])\.\w+_layer_norm\.", r"project.{\1}.2."),
    (r"^(project|private)_([tva])\.\w+\.", r"\1.{\2}.0."),
    (r"^recon_([tva])\.\w+\.", r"reconstruct.{\1}."),
    (r"^shared\.\w+\.", "shared.0."),
    (r"^transformer_encoder\.layers\.0\.", "transformer."),
    (r"^fusion\.fusion_layer_1\.", "fuse.0."),
    (r"^fusion\.fusion_layer_3\.", "fuse.3."),
    (r"^(tlayer_norm|sp_discriminator|discriminator)\..*", ""),
]


class Words(nn.Module):
    """A text encoder for both: a table 768 wide, the width that MMSA's MISA has written in."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(N_TOKENS, 768)

    def forward(self, text: Tensor | Sequence) -> Tensor:
        """Ours: token ids in a Sequence; theirs: (B, 3, T), token ids first."""
        return self.table(text.values if isinstance(text, Sequence) else text[:, 0].long())


@pytest.fixture(autouse=True)
def _words_for_bert(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer.module("models.singleTask.MISA"), "BertTextEncoder", Words)


def pair(peer: Peer, dataset: str = "mosi", **changes: Any) -> tuple[Any, nn.Module, MISA]:
    """MMSA's configuration, its model and ours with its weights."""
    config = peer.config("misa", dataset, **changes)
    theirs = peer.build(config)
    weights = {"diff": config.diff_weight, "sim": config.sim_weight, "recon": config.recon_weight}
    ours = MISA(
        MISAConfig(d=config.hidden_size, dropout=0.0, **{f"weight_{name}": w for name, w in weights.items()}),
        peer.data(config, make_text_encoder=Words),
    )
    peer.carry(theirs, ours, NAMES)
    return config, theirs, ours


def batch_of(peer: Peer, config: Any, steps: dict[str, int] = STEPS) -> Batch:
    batch = peer.batch(peer.data(config), steps)
    ids = torch.randint(N_TOKENS, batch.text.mask.shape, generator=torch.Generator().manual_seed(1))
    return synthetic.replace(batch, {"text": Sequence(ids, batch.text.mask)})


def run(theirs: nn.Module, batch: Batch) -> Tensor:
    mask = batch.text.mask.to(batch.label.dtype)
    text = torch.stack([batch.text.values, mask, torch.zeros_like(mask)], 1)  # (B, 3, T)
    return theirs(text, batch.audio.values, batch.visual.values)["M"].squeeze(-1)


def terms_of(peer: Peer, config: Any, theirs: nn.Module, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
    """The terms that their trainer adds up, weighted."""
    trainer = peer.module("trains.singleTask.MISA").MISA(config)
    trainer.model = SimpleNamespace(Model=theirs)
    return {
        "task": trainer.criterion(prediction, batch.label),
        "diff": config.diff_weight * trainer.get_diff_loss(),
        "sim": config.sim_weight * trainer.get_cmd_loss(),
        "recon": config.recon_weight * trainer.get_recon_loss(),
    }


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_predictions_every_loss_term_and_gradients_are_equal(peer: Peer, dataset: str) -> None:
    config, theirs, ours = pair(peer, dataset)
    batch = batch_of(peer, config)
    assert_close(ours.eval()(batch).prediction, run(theirs.eval(), batch), rtol=0, atol=1e-10)
    peer.no_dropout(ours).transformer.self_attn.dropout = 0.0
    peer.no_dropout(theirs).transformer_encoder.layers[0].self_attn.dropout = 0.0
    output, prediction = ours(batch), run(theirs, batch)
    assert_close(output.prediction, prediction, rtol=0, atol=1e-10)
    terms, expected = ours.loss(output, batch, State(1, 1, 0)), terms_of(peer, config, theirs, prediction, batch)
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert_close(term, expected[name], rtol=0, atol=1e-10, msg=name)
        theirs.zero_grad()
        ours.zero_grad()
        expected[name].backward(retain_graph=True)
        term.backward(retain_graph=True)
        gradients = peer.rename(peer.gradients(theirs), NAMES)
        for parameter, gradient in peer.gradients(ours).items():
            assert_close(gradient, gradients.pop(parameter), rtol=0, atol=1e-10, msg=f"{name}: {parameter}")
        assert not gradients


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_the_preset_mmsa_is_their_configuration(peer: Peer, dataset: str) -> None:
    theirs = peer.config("misa", dataset)
    ours = build("misa", dataset, preset="mmsa").hparams
    expected = {
        "batch_size": theirs.batch_size, "accumulate": theirs.update_epochs, "lr": theirs.learning_rate,
        "lr_bert": theirs.learning_rate, "clip_value": theirs.grad_clip / theirs.update_epochs,
        "patience": theirs.early_stop, "d": theirs.hidden_size, "dropout": theirs.dropout,
        "weight_diff": theirs.diff_weight, "weight_sim": theirs.sim_weight, "weight_recon": theirs.recon_weight,
        "standardise": False,
    }  # fmt: skip
    assert {name: getattr(ours, name) for name in expected} == pytest.approx(expected)
    model, their_model = MISA(ours, peer.data(theirs, make_text_encoder=Words)), peer.build(theirs)
    never_trained = [*their_model.tlayer_norm.parameters(), *their_model.sp_discriminator.parameters()]
    counts = [sum(p.numel() for p in parameters) for parameters in (their_model.parameters(), never_trained)]
    assert sum(p.numel() for p in model.parameters()) == counts[0] - counts[1]


def test_they_read_only_as_many_frames_as_the_text_has_tokens(peer: Peer) -> None:
    config, theirs, ours = pair(peer)
    batch = batch_of(peer, config, {"text": 5, "audio": 9, "visual": 5})
    cut = synthetic.replace(batch, {"audio": Sequence(batch.audio.values[:, :5], batch.audio.mask[:, :5])})
    assert torch.equal(run(theirs.eval(), cut), run(theirs, batch))
    assert (ours.eval()(cut).prediction - ours(batch).prediction).abs().min() > 1e-5
    assert_close(ours(cut).prediction, run(theirs, cut), rtol=0, atol=1e-10)


def test_their_prediction_changes_with_padding_and_ours_does_not(peer: Peer) -> None:
    """Audio of 4 steps beside 7 tokens: theirs reads what stands in the other 3."""
    config, theirs, ours = pair(peer)
    batch = batch_of(peer, config)
    short = batch.audio.mask & (torch.arange(7) < 4)
    zeros, junk = (
        synthetic.replace(batch, {"audio": Sequence(batch.audio.values.masked_fill(~short.unsqueeze(-1), fill), short)})
        for fill in (0.0, 9.0)
    )
    assert_close(ours.eval()(junk).prediction, ours(zeros).prediction, rtol=0, atol=1e-10)
    assert (run(theirs.eval(), junk) - run(theirs, zeros)).abs().min() > 1e-5
    assert (ours(zeros).prediction - run(theirs, zeros)).abs().min() > 1e-5


def test_their_cmd_has_no_gradient_where_two_means_coincide_and_ours_has(peer: Peer) -> None:
    x = torch.rand(4, 6, requires_grad=True)
    y = torch.rand(4, 6)
    theirs = peer.module("trains.singleTask.MISA").CMD()
    (theirs(x, x, 5) + 2 * theirs(x, y, 5)).backward()
    assert x.grad.isnan().all()
    x.grad = None
    value = 3 * cmd(torch.stack([x, x, y]), 5)
    assert_close(value, 2 * theirs(x, y, 5), rtol=0, atol=1e-12)
    value.backward()
    expected = torch.autograd.grad(2 * theirs(x, y, 5), x)[0]
    assert_close(x.grad, expected, rtol=0, atol=1e-12)


def test_padded_text_is_left_out_of_the_mean_in_both(peer: Peer) -> None:
    """Text is averaged over its real tokens in both."""
    config, theirs, ours = pair(peer)
    batch = batch_of(peer, config)
    longer = Sequence(F.pad(batch.text.values, (0, 2), value=3), F.pad(batch.text.mask, (0, 2)))
    padded = synthetic.replace(batch, {"text": longer})
    assert_close(ours.eval()(padded).prediction, run(theirs.eval(), padded), rtol=0, atol=1e-10)
