"""What a model's training must compute, and what a device can: the two sides of model FLOPs utilisation.

Padding is no part of it, so that utilisation falls by what padding costs.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from msabench.config import RunConfig
from msabench.contract import MODALITIES, Batch, State
from msabench.contract.collate import pad
from msabench.data.batching import Prepared
from msabench.train.loop import build_model

# Dense bfloat16 of a card, FLOP/s, by what its name holds; the first that fits. As in torchtitan's get_peak_flops
# (pytorch/torchtitan 0258167, torchtitan/tools/utils.py), which halves NVIDIA's figures with sparsity.
PEAKS = {
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2.25e15,
    "A100": 312e12,
    "L40S": 362e12,
}
SAMPLES = 8  # of the train split, the middles of as many equal parts by length, whose mean stands for all
aten = torch.ops.aten


def epoch_flops(config: RunConfig, data: Prepared) -> float:
    """Floating-point operations of one epoch's forward and backward passes on real steps, a product being two.

    Counted on the CPU, sample by sample, so that none is padded; twice each, for a BatchNorm needs two. Products,
    convolutions, attention and recurrences count, what is done number by number does not, nor does the optimiser.
    """
    model = build_model(config, data).train()
    train = data.splits["train"]
    middles = (np.arange(SAMPLES) + 0.5) / SAMPLES * len(train)
    chosen = np.argsort(train.steps, kind="stable")[middles.astype(int)]
    total = 0
    for row in chosen:
        index = np.array([row, row])
        batch = Batch(
            **{m: pad(train[m], index, data.scales.get(m)) for m in MODALITIES},
            label=torch.from_numpy(train.labels[index]),
            index=torch.from_numpy(index),
        )
        with FlopCounterMode(display=False, custom_mapping=OTHERS) as counter:
            output = model(batch)
            terms = model.loss(output, batch, State(3, 1, config.seed))  # from epoch 3 on all tasks are at work
            torch.stack([term.float() for term in terms.values()]).sum().backward()
        total += counter.get_total_flops()
    return total / 2 / len(chosen) * len(train)


def now() -> float:
    """Seconds: the processor's with one thread, which others on the machine disturb less, the clock's with more."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def peak(device: torch.device) -> tuple[float, str]:
    """FLOP/s at most, and where the figure is from: of a known card dense bfloat16, else a large product, timed here,
    in bfloat16 on a card and in float32 on a CPU."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, figure in PEAKS.items():
            if known in name:
                return figure, "its data sheet, bfloat16"
    n, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = (torch.rand(n, n, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(8):
        wait(device)
        start = now()
        torch.mm(a, b)
        wait(device)
        seconds.append(now() - start)
    return 2 * n**3 / min(seconds), f"a product of {n} x {n}, {str(dtype).removeprefix('torch.')}"


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _lstm(x: torch.Size, w_in: torch.Size, w_state: torch.Size, *others: object, **named: object) -> int:
    return 2 * x[0] * x[1] * (w_in[0] * w_in[1] + w_state[0] * w_state[1])


def _attention(q: torch.Size, k: torch.Size, v: torch.Size, *others: object, **named: object) -> int:
    return sdpa_flop_count(q, k, v)


def _attention_backward(
    grad: torch.Size, q: torch.Size, k: torch.Size, v: torch.Size, *others: object, **named: object
) -> int:
    return sdpa_backward_flop_count(grad, q, k, v)


OTHERS = {  # what torch's counter does not know: an LSTM's and attention's kernels on a CPU
    aten.mkldnn_rnn_layer: _lstm,
    aten.mkldnn_rnn_layer_backward: lambda *args, **named: 2 * _lstm(*args, **named),
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
