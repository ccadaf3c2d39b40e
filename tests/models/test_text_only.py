"""The head of the text-only floor; what every model keeps to is in tests/contracts."""

import torch

from msabench.checks import checks, synthetic
from msabench.contract import Sequence
from msabench.models.text_only import TextOnly, TextOnlyConfig


def test_the_encoder_has_a_learning_rate_of_its_own() -> None:
    config = TextOnlyConfig(lr=1e-3, lr_bert=1e-5)
    encoder, head = TextOnly(config, synthetic.data_spec()).parameter_groups()
    assert (encoder["lr"], head["lr"]) == (1e-5, 1e-3)
    assert sum(p.numel() for p in head["params"]) == synthetic.WIDTHS["text"] + 1


def test_the_head_reads_the_state_at_cls() -> None:
    """Given features, only step 0 of the text counts."""
    model = TextOnly(TextOnlyConfig(), synthetic.data_spec(absent="text"))  # an encoder that returns what it gets
    batch = synthetic.without(synthetic.samples(4), "text")
    text = Sequence(torch.randn(4, 3, 1), torch.ones(4, 3, dtype=torch.bool))
    later = torch.cat([text.values[:, :1], torch.randn(4, 2, 1)], 1)

    def predict(values: torch.Tensor) -> torch.Tensor:
        return checks.predict(model, synthetic.replace(batch, {"text": Sequence(values, text.mask)}))

    assert torch.equal(predict(text.values), predict(later))
    assert not torch.equal(predict(text.values), predict(-text.values))
