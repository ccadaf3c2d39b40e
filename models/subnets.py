"""What TFN and LMF share: each modality to one vector, as in Zhun Liu's code of both."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from msabench.contract import Batch, Sequence
from msabench.models.layers import Rates, Sizes, masked_mean
from msabench.models.recurrent import LSTMEncoder


class Subnets(nn.Module):
    """One vector per modality with a 1 before it, so that their product also holds the products of fewer modalities.

    Text: an LSTM's last real state, dropout, a Linear. Audio and visual: the mean over real steps, normalised over the
    batch, dropout, three Linears with ReLU.
    """

    def __init__(self, widths: Mapping[str, int], hidden: Sizes, text_out: int, dropout: Rates) -> None:
        super().__init__()
        self.text = LSTMEncoder(widths["text"], hidden.text, text_out, dropout.text)
        self.audio = _mean_subnet(widths["audio"], hidden.audio, dropout.audio)
        self.visual = _mean_subnet(widths["visual"], hidden.visual, dropout.visual)

    def forward(self, text: Tensor, batch: Batch) -> dict[str, Tensor]:
        """text (B, T, d_t), audio and visual from the batch -> (B, 1 + h_m) each, in the order audio, visual, text."""
        h = {
            "audio": self.audio(masked_mean(batch.audio.values, batch.audio.mask)),
            "visual": self.visual(masked_mean(batch.visual.values, batch.visual.mask)),
            "text": self.text.last(Sequence(text, batch.text.mask)),
        }
        return {m: F.pad(value, (1, 0), value=1.0) for m, value in h.items()}


def _mean_subnet(d_in: int, d_hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm1d(d_in),
        nn.Dropout(dropout),
        *(nn.Linear(d_in, d_hidden), nn.ReLU()),
        *(nn.Linear(d_hidden, d_hidden), nn.ReLU()),
        *(nn.Linear(d_hidden, d_hidden), nn.ReLU()),
    )
