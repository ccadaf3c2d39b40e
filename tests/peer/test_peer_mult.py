"""MulT beside MMSA's MULT: the same function of the same weights, and where MMSA's is another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.contract import Batch, Sequence, State
from msabench.literature.presets import build
from msabench.models.mult import MulT, MulTConfig

if TYPE_CHECKING:
    from conftest import Peer

pytestmark = pytest.mark.filterwarnings("ignore:The number of elements in the out tensor")  # MMSA's positions

STEPS = {"text": 7, "audio": 12, "visual": 9}
NAMES = [
    (r"^trans_([lav])_with_([lav])\.", r"cross.{\1}_from_{\2}."),
    (r"^trans_([lav])_mem\.", r"memory.{\1}."),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn\.in_proj_", ".project."),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.layer_norms\.0\.", ".norm."),
    (r"\.layer_norms\.1\.", ".norm_feed_forward."),
    (r"\.fc1\.", ".wide."),
    (r"\.fc2\.", ".narrow."),
    (r"\.layer_norm\.", ".norm."),
    (r"^proj_([lav])\.", r"project.{\1}."),
    (r"^proj1\.", "hidden."),
    (r"^proj2\.", "residual."),
    (r"^out_layer\.", "out."),
    (r".*\.(version|_float_tensor)$", ""),
]
DROPOUTS = (
    "text_dropout attn_dropout attn_dropout_a attn_dropout_v relu_dropout embed_dropout res_dropout output_dropout"
)


@pytest.fixture(autouse=True)
def _softmax_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMSA casts attention scores to float32: float64 in its place, to compare more than 7 digits."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def config_of(theirs: Any, **changes: Any) -> MulTConfig:
    """Our configuration from theirs, without dropout."""
    d, heads = theirs.dst_feature_dim_nheads
    kernels = {f"kernel_{m}": theirs[f"conv1d_kernel_size_{m[0] if m != 'text' else 'l'}"] for m in STEPS}
    dropouts = {name: 0.0 for name in MulTConfig.__dataclass_fields__ if name.startswith("dropout")}
    return MulTConfig(d=d, heads=heads, layers=theirs.nlevels, **kernels, **dropouts, **changes)


def pair(peer: Peer, dataset: str = "mosi", positions: bool = False, **changes: Any) -> tuple[nn.Module, MulT]:
    """MMSA's model and ours with its weights. positions: switched on in MMSA's transformers, which have the code."""
    config = peer.config("mult", dataset, **dict.fromkeys(DROPOUTS.split(), 0.0), **changes)
    theirs = peer.build(config)
    if positions:
        embedding = peer.module("models.subNets.transformers_encoder.position_embedding")
        for module in theirs.modules():
            if hasattr(module, "embed_positions"):
                module.embed_positions = embedding.SinusoidalPositionalEmbedding(module.embed_dim).double()
    ours = MulT(config_of(config, positions=positions), peer.data(config))
    peer.carry(theirs, ours, NAMES)
    return theirs, ours


def run(theirs: nn.Module, batch: Batch) -> Tensor:
    return theirs(batch.text.values, batch.audio.values, batch.visual.values)["M"].squeeze(-1)


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_predictions_loss_and_gradients_are_equal(peer: Peer, dataset: str, positions: bool) -> None:
    theirs, ours = pair(peer, dataset, positions)
    batch = peer.batch(peer.data(peer.config("mult", dataset)), STEPS)
    assert_close(ours.eval()(batch).prediction, run(theirs.eval(), batch), rtol=0, atol=1e-10)
    output, expected = ours.train()(batch), run(theirs.train(), batch)
    assert_close(output.prediction, expected, rtol=0, atol=1e-10)
    loss, loss_expected = ours.loss(output, batch, State(1, 1, 0))["task"], F.l1_loss(expected, batch.label)
    assert_close(loss, loss_expected, rtol=0, atol=1e-10)
    loss.backward()
    loss_expected.backward()
    gradients = peer.rename(peer.gradients(theirs), NAMES)
    for name, gradient in peer.gradients(ours).items():
        assert_close(gradient, gradients.pop(name), rtol=0, atol=1e-10, msg=name)
    assert not gradients


@pytest.mark.parametrize(("dataset", "count"), [("mosi", 2_571_551), ("mosei", 982_951)])
def test_the_preset_mmsa_is_their_configuration(peer: Peer, dataset: str, count: int) -> None:
    theirs = peer.config("mult", dataset)
    ours = build("mult", dataset, preset="mmsa").hparams
    expected = {
        "d": theirs.dst_feature_dim_nheads[0], "heads": theirs.dst_feature_dim_nheads[1], "layers": theirs.nlevels,
        "kernel_text": theirs.conv1d_kernel_size_l, "kernel_audio": theirs.conv1d_kernel_size_a,
        "kernel_visual": theirs.conv1d_kernel_size_v, "dropout_text": theirs.text_dropout,
        "dropout_embed": theirs.embed_dropout, "dropout_attention": theirs.attn_dropout,
        "dropout_attention_audio": theirs.attn_dropout_a, "dropout_attention_visual": theirs.attn_dropout_v,
        "dropout_relu": theirs.relu_dropout, "dropout_residual": theirs.res_dropout,
        "dropout_out": theirs.output_dropout, "batch_size": theirs.batch_size, "accumulate": theirs.update_epochs,
        "clip_value": theirs.grad_clip / theirs.update_epochs, "clip_norm": None, "lr": theirs.learning_rate,
        "patience": theirs.early_stop, "schedule": "plateau", "schedule_patience": theirs.patience,
        "positions": False, "standardise": False,
    }  # fmt: skip
    assert {name: getattr(ours, name) for name in expected} == pytest.approx(expected)
    model = MulT(ours, peer.data(theirs))
    assert (
        sum(p.numel() for p in model.parameters()) == count == sum(p.numel() for p in peer.build(theirs).parameters())
    )


def test_their_prediction_changes_with_padding_and_ours_does_not(peer: Peer) -> None:
    theirs, ours = pair(peer)
    batch = peer.batch(peer.data(peer.config("mult")), STEPS)
    mask = torch.arange(STEPS["audio"]) < torch.tensor([[12], [9], [7], [5], [6]])
    audio = Sequence(batch.audio.values * mask.unsqueeze(-1), mask)
    batch = synthetic.replace(batch, {"audio": audio})
    longer = synthetic.replace(batch, {"audio": Sequence(F.pad(audio.values, (0, 0, 0, 4)), F.pad(mask, (0, 4)))})
    assert_close(ours.eval()(longer).prediction, ours(batch).prediction, rtol=0, atol=1e-10)
    assert (run(theirs.eval(), longer) - run(theirs, batch)).abs().min() > 1e-4


def test_they_cannot_read_a_sequence_shorter_than_the_kernel(peer: Peer) -> None:
    theirs, ours = pair(peer)
    batch = peer.batch(peer.data(peer.config("mult")), {**STEPS, "audio": 3})
    with pytest.raises(RuntimeError, match="Kernel size"):
        run(theirs, batch)
    assert ours(batch).prediction.isfinite().all()


def test_they_skip_the_convolution_of_a_modality_that_is_d_wide(peer: Peer) -> None:
    widths = [768, 50, 20]
    theirs, ours = pair(peer, feature_dims=widths)
    batch = peer.batch(peer.data(peer.config("mult", feature_dims=widths)), STEPS)
    F.l1_loss(run(theirs, batch), batch.label).backward()
    ours.loss(ours(batch), batch, State(1, 1, 0))["task"].backward()
    assert not peer.gradients(theirs)["proj_a.weight"].any()
    assert peer.gradients(ours)["project.audio.weight"].any()
