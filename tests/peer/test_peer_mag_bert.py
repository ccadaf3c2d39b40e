"""MAG-BERT beside MMSA's BERT_MAG: the same function, loss and gradients, and a step of its trainer's optimiser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.checks.checks import predict
from msabench.contract import Batch, Sequence, State
from msabench.literature.presets import build
from msabench.models.mag_bert import MAGBert, MAGBertConfig, along_tokens
from msabench.text.encoders import TextEncoder
from msabench.text.sources import EncoderSource, resolve
from msabench.train.optim import make_optimiser

if TYPE_CHECKING:
    from conftest import Peer

SEEN = np.array([2, 3, 5, 6, 7, 8])  # [CLS] [SEP] a good bad film
TOKENS = 8
WORDS = "text.model.embeddings.word_embeddings.seen"
NAMES = [
    (r"^model\.bert\.MAG\.W_h([av])\.", r"gate.gates.{\1}."),
    (r"^model\.bert\.MAG\.W_([av])\.", r"gate.shifts.{\1}."),
    (r"^model\.bert\.MAG\.LayerNorm\.", "gate.norm."),
    (r"^model\.bert\.pooler\.dense\.", "pool.0."),
    (r"^model\.bert\.", "text.model."),
    (r"^model\.classifier\.", "head."),
    (r"embeddings\.word_embeddings\.weight$", "embeddings.word_embeddings.seen"),
    (r".*_ids$", ""),  # position numbers
]
CONFIG = {"lr": "learning_rate", "batch_size": "batch_size", "patience": "early_stop",
          "weight_decay": "weight_decay", "beta": "beta_shift", "dropout": "dropout_prob"}  # fmt: skip


@pytest.fixture
def encoder(tmp_path: Path, save_tiny_encoder: Callable[..., Path]) -> EncoderSource:
    return resolve(str(save_tiny_encoder(tmp_path / "bert")))


@pytest.fixture(autouse=True)
def _theirs_on_transformers_5(peer: Peer, encoder: EncoderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its classes were written for an older transformers, its checkpoint's name into the model."""
    module = peer.module("models.singleTask.BERT_MAG")
    base, top = module.BertPreTrainedModel, module.MAG_BertForSequenceClassification

    def init_weights(self: Any) -> None:
        base.init_weights(self) if hasattr(self, "all_tied_weights_keys") else self.post_init()

    def mask(_: Any, tokens: Tensor, *__: Any) -> Tensor:
        return (1 - tokens[:, None, None]) * torch.finfo(tokens.dtype).min

    for cls in (module.MAG_BertModel, top):
        monkeypatch.setattr(cls, "init_weights", init_weights, raising=False)
        monkeypatch.setattr(cls, "get_head_mask", lambda _, mask, layers: [None] * layers, raising=False)
        monkeypatch.setattr(cls, "get_extended_attention_mask", mask, raising=False)
    load = top.from_pretrained
    monkeypatch.setattr(top, "from_pretrained", lambda _, **others: load(str(encoder.path), **others))


class Pair:
    """MMSA's model and ours with its weights."""

    def __init__(self, peer: Peer, encoder: EncoderSource, dataset: str = "mosi", **changes: Any) -> None:
        self.peer = peer
        self.args = peer.config("bert_mag", dataset, need_model_aligned=False)  # inputs come aligned
        self.args.feature_dims = [8, *self.args.feature_dims[1:]]
        self.args.update(changes)
        self.theirs = peer.build(self.args)
        data = peer.data(self.args, make_text_encoder=lambda: TextEncoder(encoder, SEEN))
        config = MAGBertConfig(
            loss="l1", optimiser="adam", **{name: self.args[value] for name, value in CONFIG.items()}
        )
        self.ours = MAGBert(config, data).double()
        for part in (*self.theirs.model.bert.MAG.children(), self.theirs.model.classifier):
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.5)  # at .02 a gate hardly matters to what follows
        self.ours.load_state_dict(self.renamed(self.theirs.state_dict()))

    def renamed(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors under our names, of the word embeddings the rows that we train."""
        renamed = self.peer.rename(named, NAMES)
        return renamed | {WORDS: renamed[WORDS][torch.from_numpy(SEEN)]}

    def run(self, batch: Batch) -> Tensor:
        """Audio and visual laid beside the tokens as the official code does it: zeros at [CLS], [SEP] and padding."""
        mask = batch.text.mask.double()
        text = torch.stack([batch.text.values.double(), mask, torch.zeros_like(mask)], 1)
        audio, visual = (one_by_one(batch[m], batch.text.lengths) for m in ("audio", "visual"))
        return self.theirs(text, audio, visual)["M"].squeeze(-1)


def one_by_one(x: Sequence, tokens: Tensor) -> Tensor:
    """Step i beside token i + 1."""
    laid = torch.zeros(len(tokens), TOKENS, x.values.shape[-1])
    for row, (n, values) in enumerate(zip(tokens.tolist(), x.values, strict=True)):
        laid[row, 1 : n - 1] = values[: n - 2]
    return laid


def samples(pair: Pair, ragged: bool = False) -> Batch:
    """As many audio and visual steps as there are word-pieces; every word is one of SEEN."""
    steps = {"text": TOKENS, "audio": TOKENS - 2, "visual": TOKENS - 2}
    batch = pair.peer.batch(pair.peer.data(pair.args), steps)
    ids = torch.from_numpy(SEEN[2:])[torch.randint(4, (5, TOKENS), generator=torch.Generator().manual_seed(1))]
    lengths = torch.tensor([8, 3, 5, 8, 4] if ragged else [TOKENS] * 5).unsqueeze(1)
    sequences = {"text": Sequence(ids, torch.arange(TOKENS) < lengths)}
    for m in ("audio", "visual"):
        sequences[m] = Sequence(batch[m].values, torch.arange(TOKENS - 2) < lengths - 2)
    return synthetic.replace(batch, sequences)


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("beta", [1.0, 0.02], ids=["beta 1", "all shifts cut"])
def test_predictions_losses_and_gradients_are_equal(
    peer: Peer, encoder: EncoderSource, dataset: str, ragged: bool, beta: float
) -> None:
    """Full-length and, because BERT reads its mask, padded too."""
    pair = Pair(peer, encoder, dataset, beta_shift=beta)
    batch = samples(pair, ragged)
    theirs, ours = pair.theirs.eval(), pair.ours
    assert_close(predict(ours, batch), pair.run(batch), rtol=0, atol=1e-10)
    peer.no_dropout(theirs), peer.no_dropout(ours)
    output, prediction = ours(batch), pair.run(batch)
    assert_close(output.prediction, prediction, rtol=0, atol=1e-10)
    trainer = peer.module("trains.singleTask.BERT_MAG").BERT_MAG(pair.args)
    loss, expected = ours.loss(output, batch, State(1, 1, 0))["task"], trainer.criterion(prediction, batch.label)
    assert_close(loss, expected, rtol=0, atol=1e-10)
    loss.backward(), expected.backward()
    gradients = pair.renamed(peer.gradients(theirs))
    for name, gradient in peer.gradients(ours).items():
        assert_close(gradient, gradients.pop(name), rtol=0, atol=1e-10, msg=name)
    assert not gradients


def test_ten_steps_of_training_are_equal(peer: Peer, encoder: EncoderSource) -> None:
    """Its trainer's Adam over all parameters beside our groups, with MMSA's values."""
    pair = Pair(peer, encoder)
    peer.no_dropout(pair.theirs), peer.no_dropout(pair.ours)
    batch = samples(pair, ragged=True)
    theirs = torch.optim.Adam(pair.theirs.parameters(), lr=pair.args.learning_rate, weight_decay=pair.args.weight_decay)
    ours, start = make_optimiser(pair.ours), pair.ours.head.weight.detach().clone()
    for _ in range(10):
        theirs.zero_grad(), ours.zero_grad()
        torch.nn.functional.l1_loss(pair.run(batch), batch.label).backward()
        pair.ours.loss(pair.ours(batch), batch, State(1, 1, 0))["task"].backward()
        theirs.step(), ours.step()
    weights = pair.renamed(pair.theirs.state_dict())
    for name, parameter in pair.ours.named_parameters():
        assert_close(parameter.detach(), weights[name], rtol=0, atol=1e-9, msg=name)
    assert float((pair.ours.head.weight.detach() - start).abs().max()) > 5 * pair.args.learning_rate


def test_ours_are_the_parameters_of_theirs_but_for_words_that_are_not_trained(
    peer: Peer, encoder: EncoderSource
) -> None:
    pair = Pair(peer, encoder)
    theirs, ours = (sum(p.numel() for p in m.parameters()) for m in (pair.theirs, pair.ours))
    assert theirs - ours == 8 * (encoder.vocab_size - len(SEEN))


def test_pinned_their_alignment_mixes_steps_that_lie_far_apart(peer: Peer) -> None:
    """MMSA lays 8 steps along 4 tokens by averaging steps i and i + 4, ours by averaging neighbours (i // 2)."""
    args = peer.config("bert_mag", feature_dims=[1, 1, 1], seq_lens=[4, 8, 8])
    align = peer.module("models.subNets").AlignSubNet(args, "avg_pool")
    values = torch.arange(8.0).reshape(1, 8, 1)
    theirs = align(torch.zeros(1, 4, 1), values, values)[1]
    assert theirs.flatten().tolist() == [2, 3, 4, 5]
    six_tokens = torch.ones(1, 6, dtype=torch.bool)
    ours = along_tokens(Sequence(values, torch.ones(1, 8, dtype=torch.bool)), six_tokens)
    assert ours.flatten().tolist() == [0, 0.5, 2.5, 4.5, 6.5, 0]


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_the_preset_mmsa_is_their_configuration(peer: Peer, dataset: str) -> None:
    theirs, ours = peer.config("bert_mag", dataset), build("mag_bert", dataset, preset="mmsa").hparams
    assert {name: getattr(ours, name) for name in CONFIG} == {name: theirs[value] for name, value in CONFIG.items()}
    assert (ours.standardise, theirs.need_normalize) == (False, False)
    assert (ours.loss, ours.optimiser, ours.schedule) == ("l1", "adam", "constant")


def test_padding_moves_no_prediction_of_ours(peer: Peer, encoder: EncoderSource) -> None:
    pair = Pair(peer, encoder)
    batch = samples(pair, ragged=True)
    padded = synthetic.pad(batch, 4, ("text", "audio", "visual"))
    assert_close(predict(pair.ours, padded), predict(pair.ours, batch), rtol=0, atol=1e-12)
