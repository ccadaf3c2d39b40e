"""A sum of what each modality says by itself; what every model keeps to is in tests/contracts."""

from itertools import combinations

import torch

from msabench.checks import checks, synthetic
from msabench.contract import MODALITIES
from msabench.models.late_fusion import LateFusion, LateFusionConfig


def test_what_a_modality_adds_does_not_depend_on_the_others() -> None:
    """The mixed second difference of a sum is 0: of any clip's words and any other's voice."""
    model = LateFusion(LateFusionConfig(), synthetic.data_spec())

    def predict(*others: str) -> torch.Tensor:
        """With other clips' sequences of these modalities."""
        batch = synthetic.samples(4)
        for modality in others:
            batch = synthetic.shuffle(batch, modality)
        return checks.predict(model, batch)

    for first, second in combinations(MODALITIES, 2):
        assert not torch.allclose(predict(first), predict())
        torch.testing.assert_close(predict(first, second) - predict(first), predict(second) - predict())


def test_the_encoder_has_a_learning_rate_of_its_own() -> None:
    encoder, rest = LateFusion(LateFusionConfig(lr=1e-3, lr_bert=1e-5), synthetic.data_spec()).parameter_groups()
    assert (encoder["lr"], rest["lr"]) == (1e-5, 1e-3)
