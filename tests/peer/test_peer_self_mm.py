"""SELF-MM beside MMSA's SELF_MM: the same function, losses, gradients, labels and steps; where MMSA's are others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from msabench.models.label_generation import LabelMemory
from msabench.models.self_mm import SelfMM, SelfMMConfig
from msabench.text.encoders import TextEncoder
from msabench.text.sources import EncoderSource, resolve
from msabench.train.optim import make_optimiser

if TYPE_CHECKING:
    from conftest import Peer

N, SEEN = 12, np.array([2, 3, 5, 6, 7, 8])  # samples; [CLS] [SEP] a good bad film
STEPS = {"text": 7, "audio": 9, "visual": 5}
WORDS = "text.model.embeddings.word_embeddings.seen"
NAMES = [
    (r"^text_model\.model\.pooler\..*", ""),  # theirs has it and never reads it
    (r"^text_model\.", "text."),
    (r"embeddings\.word_embeddings\.weight$", "embeddings.word_embeddings.seen"),
    (r"^(audio|video)_model\.rnn\.", r"\1.lstm."),
    (r"^(audio|video)_model\.linear_1\.", r"\1.linear."),
    (r"^post_fusion_", "multimodal."),
    (r"^post_(text|audio|video)_", r"unimodal.\1."),
    (r"layer_1\.", "represent.1."),
    (r"layer_2\.", "predict.0."),
    (r"layer_3\.", "predict.2."),
    (r"(^|\.)video\.", r"\1visual."),
]
CONFIG = {  # our names of its values
    **{f"lr_{ours}": f"learning_rate_{theirs}" for ours, theirs in
       (("bert", "bert"), ("audio", "audio"), ("visual", "video"), ("other", "other"))},
    **{f"weight_decay_{ours}": f"weight_decay_{theirs}" for ours, theirs in
       (("bert", "bert"), ("audio", "audio"), ("visual", "video"), ("other", "other"))},
    "lstm_audio": "a_lstm_hidden_size", "lstm_visual": "v_lstm_hidden_size",
    "out_audio": "audio_out", "out_visual": "video_out",
    **{f"d_{ours}": f"post_{theirs}_dim" for ours, theirs in
       (("f", "fusion"), ("text", "text"), ("audio", "audio"), ("visual", "video"))},
    **{f"dropout_{ours}": f"post_{theirs}_dropout" for ours, theirs in
       (("f", "fusion"), ("text", "text"), ("audio", "audio"), ("visual", "video"))},
    "batch_size": "batch_size", "accumulate": "update_epochs", "patience": "early_stop",
}  # fmt: skip


@pytest.fixture
def encoder(tmp_path: Path, save_tiny_encoder: Callable[..., Path]) -> EncoderSource:
    return resolve(str(save_tiny_encoder(tmp_path / "bert")))


class Pair:
    """MMSA's model and trainer, and our model with its weights."""

    def __init__(self, peer: Peer, encoder: EncoderSource, dataset: str = "mosi", **changes: Any) -> None:
        self.peer, self.dataset = peer, dataset
        self.args = peer.config("self_mm", dataset, pretrained=str(encoder.path), text_out=8, train_samples=N)
        self.args.feature_dims = [8, *self.args.feature_dims[1:]]
        self.args.update(changes)
        self.amio = peer.module("models").AMIO(self.args).double()
        self.theirs = peer.no_dropout(self.amio.Model)
        self.trainer = peer.module("trains.multiTask.SELF_MM").SELF_MM(self.args)
        data = peer.data(self.args, n_train=N, make_text_encoder=lambda: TextEncoder(encoder, SEEN))
        config = SelfMMConfig(**{ours: self.args[theirs] for ours, theirs in CONFIG.items()})
        self.ours = peer.no_dropout(SelfMM(config, data).double())
        own = {name: value for name, value in self.ours.state_dict().items() if name.startswith("memory.")}
        self.ours.load_state_dict(self.renamed(self.theirs.state_dict()) | own)

    def renamed(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors under our names, of the word embeddings the rows that we train."""
        renamed = self.peer.rename(named, NAMES)
        return renamed | {WORDS: renamed[WORDS][torch.from_numpy(SEEN)]}

    def run(self, batch: Batch) -> dict[str, Tensor]:
        return self.theirs(text_for(batch), *(as_theirs(batch[m]) for m in ("audio", "visual")))

    def terms(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """What their trainer adds up."""
        names = {"m_task": "M", "text_task": "T", "audio_task": "A", "visual_task": "V"}
        trainer, index = self.trainer, batch.index
        return {
            ours: trainer.weighted_loss(outputs[m], trainer.label_map[key][index], indexes=index, mode=key)
            for ours, m in names.items()
            if (key := trainer.name_map[m])
        }


def text_for(batch: Batch) -> Tensor:
    """(B, 3, T): ids, mask, segments."""
    mask = batch.text.mask.double()
    return torch.stack([batch.text.values.double(), mask, torch.zeros_like(mask)], 1)


def as_theirs(x: Sequence) -> tuple[Tensor, Tensor]:
    return x.values.masked_fill(~x.mask.unsqueeze(-1), 0.0), x.lengths


def samples(pair: Pair, ragged: bool) -> Batch:
    """All N of a train split; every word is one of SEEN."""
    batch = pair.peer.batch(pair.peer.data(pair.args), STEPS, N)
    draw = torch.Generator().manual_seed(1)
    ids = torch.from_numpy(SEEN[2:])[torch.randint(4, batch.text.mask.shape, generator=draw)]
    text = Sequence(ids, batch.text.mask)
    sequences = {"text": text, "audio": batch.audio, "visual": batch.visual}
    if ragged:
        for m, x in sequences.items():
            lengths = torch.randint(2, STEPS[m] + 1, (N, 1), generator=draw)
            lengths[0] = STEPS[m]
            mask = torch.arange(STEPS[m]) < lengths
            sequences[m] = Sequence(x.values * (mask if m == "text" else mask.unsqueeze(-1)), mask)
    return synthetic.replace(batch, sequences)


def batches(whole: Batch, epoch: int, size: int = 4) -> Iterator[Batch]:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(epoch))
    return (synthetic.take(whole, rows.tolist()) for rows in order.split(size))


def start(trainer: Any, whole: Batch) -> None:
    trainer.init_labels(whole.index, whole.label)


def step(pair: Pair, batch: Batch, epoch: int) -> None:
    """Their label generation and ours after one batch, of equal weights; no weight moves."""
    outputs = pair.run(batch)
    features = [outputs[f"Feature_{m}"].detach() for m in "ftav"]
    if epoch > 1:
        pair.trainer.update_labels(*features, epoch, batch.index, outputs)
    pair.trainer.update_features(*features, batch.index)
    pair.trainer.update_centers()
    output = pair.ours(batch)
    pair.ours.loss(output, batch, State(epoch, 1, 0))
    pair.ours.after_batch(output, batch, State(epoch, 1, 0))


def their_labels(pair: Pair) -> Tensor:
    return torch.stack([pair.trainer.label_map[key] for key in ("fusion", "text", "audio", "vision")], 1)  # (N, 4)


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_predictions_losses_and_gradients_are_equal(
    peer: Peer, encoder: EncoderSource, dataset: str, ragged: bool
) -> None:
    """With labels as they stand in the third epoch; MMSA's SELF-MM reads lengths, so ragged batches are equal too."""
    pair = Pair(peer, encoder, dataset)
    whole = samples(pair, ragged)
    start(pair.trainer, whole)
    for epoch in (1, 2):
        for batch in batches(whole, epoch):
            step(pair, batch, epoch)
    pair.ours.memory.generated.copy_(their_labels(pair))
    assert_close(predict(pair.ours, whole), pair.run(whole)["M"].squeeze(-1), rtol=0, atol=1e-10)
    output, outputs = pair.ours.train()(whole), pair.run(whole)
    single = torch.cat([outputs[m] for m in "TAV"], -1)
    assert_close(output.prediction, outputs["M"].squeeze(-1), rtol=0, atol=1e-10)
    assert_close(output.extra["predictions"], single, rtol=0, atol=1e-10)
    terms, expected = pair.ours.loss(output, whole, State(3, 7, 0)), pair.terms(outputs, whole)
    for name, term in terms.items():
        assert float(term.detach()) > 0
        assert_close(term, expected[name], rtol=0, atol=1e-10, msg=name)
    sum(terms.values(), start=torch.zeros(())).backward()
    sum(expected.values(), start=torch.zeros(())).backward()
    gradients = pair.renamed(peer.gradients(pair.theirs))
    for name, gradient in peer.gradients(pair.ours).items():
        assert_close(gradient, gradients.pop(name), rtol=0, atol=1e-10, msg=name)
    assert not gradients


def test_generated_labels_are_equal_over_three_epochs(peer: Peer, encoder: EncoderSource) -> None:
    """From the second epoch on all samples have been seen, and the centres are the same means."""
    pair = Pair(peer, encoder)
    whole = samples(pair, ragged=True)
    start(pair.trainer, whole)
    moved = 0.0
    for epoch in (1, 2, 3):
        for batch in batches(whole, epoch):
            step(pair, batch, epoch)
        assert_close(pair.ours.memory.generated, their_labels(pair), rtol=0, atol=1e-5)
        moved = float((pair.ours.memory.generated[:, 1:] - whole.label.unsqueeze(1)).abs().max())
        assert (moved > 0.1) == (epoch > 1)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_three_epochs_of_training_are_equal(
    peer: Peer, encoder: EncoderSource, accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MMSA's own trainer from its first line to its last beside our groups and steps: weights and labels.

    Adam goes the same way with a sum of gradients (theirs) and with their mean and a divided decay (ours), except for
    its eps, which is divided here alone: of gradients as small as these it makes 1e-4 of a label.
    """
    pair = Pair(peer, encoder, update_epochs=accumulate, early_stop=2, model_save_path=str(tmp_path / "best.pt"))
    whole = samples(pair, ragged=True)

    class Loader:
        """The first pass reads the labels; the next ones are epochs 1, 2, 3."""

        passes = 0

        def __iter__(self) -> Iterator[dict[str, Any]]:
            self.passes += 1
            for batch in batches(whole, max(1, self.passes - 1)):
                (audio, audio_lengths), (vision, vision_lengths) = as_theirs(batch.audio), as_theirs(batch.visual)
                yield {
                    "text": text_for(batch), "audio": audio, "vision": vision, "index": batch.index,
                    "audio_lengths": audio_lengths, "vision_lengths": vision_lengths,
                    "id": [str(i) for i in batch.index.tolist()], "labels": {"M": batch.label},
                }  # fmt: skip

        def __len__(self) -> int:
            return N // 4

    validation = iter([{"Loss": 1.0}, {"Loss": 2.0}, {"Loss": 3.0}])  # best in epoch 1, patience 2
    monkeypatch.setattr(pair.trainer, "do_test", lambda *_, **__: next(validation))
    rows = pair.theirs.text_model.model.get_input_embeddings().weight
    before = rows.detach().clone()
    pair.trainer.do_train(pair.amio, {"train": Loader(), "valid": None})

    optimiser = make_optimiser(pair.ours)
    for group in optimiser.param_groups:
        group["eps"] /= accumulate
    for epoch in (1, 2, 3):
        for number, batch in enumerate(batches(whole, epoch), start=1):
            output = pair.ours(batch)
            terms = pair.ours.loss(output, batch, State(epoch, number, 0))
            (sum(terms.values(), start=torch.zeros(())) / accumulate).backward()
            if number % accumulate == 0:
                optimiser.step()
                optimiser.zero_grad()
            pair.ours.after_batch(output, batch, State(epoch, number, 0))
    assert_close(pair.ours.memory.generated, their_labels(pair), rtol=0, atol=1e-6)
    weights = pair.renamed(pair.theirs.state_dict())
    steps = 3 * (N // 4) // accumulate
    for name, parameter in pair.ours.named_parameters():
        assert_close(parameter.detach(), weights[name], rtol=0, atol=1e-8, msg=name)
    # Pinned: a word that training never shows has no gradient but its own decay, which Adam turns into whole steps.
    unseen = np.setdiff1d(np.arange(1, len(before)), SEEN)
    shrunk = before[unseen].abs() - rows.detach()[unseen].abs()
    assert float(shrunk.median()) == pytest.approx(steps * pair.args.learning_rate_bert, rel=0.1)


def test_pinned_in_the_first_epoch_their_unseen_samples_count_as_zeros(peer: Peer, encoder: EncoderSource) -> None:
    """After one of three batches their centres are sums of four samples divided by the number of all twelve's side."""
    pair = Pair(peer, encoder)
    whole = samples(pair, ragged=False)
    start(pair.trainer, whole)
    first = next(batches(whole, 1))
    step(pair, first, epoch=1)
    memory, theirs = pair.ours.memory, pair.trainer.center_map["text"]["pos"]
    ours = memory.sums[0] / memory.counts[0][memory.owner]
    seen, all_ = int((first.label > 0).sum()), int((whole.label > 0).sum())
    assert seen < all_
    text = slice(pair.args.post_fusion_dim, pair.args.post_fusion_dim + pair.args.post_text_dim)
    assert_close(ours[text] * seen / all_, theirs, rtol=0, atol=1e-6)


def test_pinned_where_one_side_is_empty_theirs_is_not_a_number(peer: Peer, encoder: EncoderSource) -> None:
    pair = Pair(peer, encoder)
    whole = samples(pair, ragged=False)
    whole.label.abs_()
    start(pair.trainer, whole)
    for epoch in (1, 2):
        for batch in batches(whole, epoch):
            step(pair, batch, epoch)
    assert their_labels(pair)[:, 1:].isnan().all()
    assert_close(pair.ours.memory.generated, whole.label.unsqueeze(1).expand(-1, 4), rtol=0, atol=1e-6)


def test_pinned_just_closer_to_the_negative_centre_theirs_has_the_wrong_sign(peer: Peer) -> None:
    """α_m = 0 and -2e-9 between centres -1 and 1, with y_m = 1 and α_s = 2: the formula goes to +∞ and -∞, both cut
    at 3. Theirs divides by α_m + 1e-8 > 0, ours by α_m's own sign."""
    args = peer.config("self_mm", train_samples=4, **{f"post_{m}_dim": 1 for m in ("fusion", "text", "audio", "video")})
    trainer = peer.module("trains.multiTask.SELF_MM").SELF_MM(args)
    memory = LabelMemory(4, dict.fromkeys(("m", "text", "audio", "visual"), 1)).double()
    fused, single = torch.tensor([[-1.0], [1.0], [0.0], [1e-9]]), torch.tensor([[0.0], [4.0], [1.0], [1.0]])
    labels = torch.tensor([1.0, -1.0])
    trainer.init_labels(torch.arange(2), labels)
    trainer.update_features(fused[:2], *(single[:2],) * 3, torch.arange(2))
    trainer.update_centers()
    memory.store(torch.cat([fused, *(single,) * 3], 1)[:2], labels.unsqueeze(1).expand(2, 4), torch.arange(2))
    index, y_m = torch.tensor([2, 3]), torch.ones(2)
    trainer.init_labels(index, y_m)
    trainer.update_labels(fused[2:], *(single[2:],) * 3, 2, index, None)
    ours, _ = memory.next_labels(torch.cat([fused, *(single,) * 3], 1)[2:], memory.labels(y_m, index), 2)
    assert_close(trainer.label_map["text"][2:], torch.tensor([1 / 3 + 2, 1 / 3 + 2]))
    assert_close(ours[:, 1], torch.tensor([1 / 3 + 2, 1 / 3 - 2]))


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_the_preset_mmsa_is_their_configuration(peer: Peer, dataset: str) -> None:
    theirs, ours = peer.config("self_mm", dataset), build("self_mm", dataset, preset="mmsa").hparams
    assert {name: getattr(ours, name) for name in CONFIG} == {name: theirs[value] for name, value in CONFIG.items()}
    assert ours.standardise == theirs.need_normalized
    assert (theirs.a_lstm_dropout, theirs.v_lstm_dropout, theirs.excludeZero, theirs.H) == (0, 0, True, 3.0)


def test_padding_moves_no_prediction_of_ours(peer: Peer, encoder: EncoderSource) -> None:
    pair = Pair(peer, encoder)
    whole = samples(pair, ragged=True)
    padded = synthetic.pad(whole, 4, ("text", "audio", "visual"))
    assert_close(predict(pair.ours, padded), predict(pair.ours, whole), rtol=0, atol=1e-12)
