"""The Memory Fusion Network (MFN) without its head. Zadeh, Liang, Mazumder, Poria, Cambria, Morency, AAAI 2018.

Followed: github.com/pliang279/factorized, as MMSA has it. What does not depend on the memory is computed for all steps
at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from msabench.contract import MODALITIES, Sequence
from msabench.models.layers import Sizes, last_step
from msabench.models.recurrent import run_cell
from msabench.models.scan import Steps, earlier, lstm


class Config(Protocol):
    """Hidden sizes of the LSTMs and of the four small networks, and the dropouts of the latter."""

    hidden: Sizes
    memory: int
    attention: int
    candidate: int
    keep: int
    write: int
    dropout_attention: float
    dropout_candidate: float
    dropout_keep: float
    dropout_write: float


def mlp(d_in: int, d_hidden: int, d_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(d_hidden, d_out))


class MemoryFusion(nn.Module):
    """An LSTM per modality, attention over their cell states of two steps, a gated memory."""

    def __init__(self, widths: Mapping[str, int], config: Config) -> None:
        super().__init__()
        c, sizes = config, {m: getattr(config.hidden, m) for m in MODALITIES}
        self.memory, self.d = c.memory, sum(sizes.values())
        self.cells = nn.ModuleDict({m: nn.LSTMCell(widths[m], h) for m, h in sizes.items()})
        self.attend = mlp(2 * self.d, c.attention, 2 * self.d, c.dropout_attention)
        self.propose = mlp(2 * self.d, c.candidate, c.memory, c.dropout_candidate)
        self.keep = mlp(2 * self.d + c.memory, c.keep, c.memory, c.dropout_keep)  # γ1
        self.write = mlp(2 * self.d + c.memory, c.write, c.memory, c.dropout_write)  # γ2

    def forward(self, x: dict[str, Tensor], text: Sequence | Steps) -> Tensor:
        """x: (B, T, d_m) each, its real steps those of `text` -> (B, d + memory): hidden states and memory at the last
        real step. The same function for both: `Steps` for a CPU, a Sequence for CUDA."""
        return self._by_steps(x, text) if isinstance(text, Steps) else self._padded(x, text)

    def _by_steps(self, x: dict[str, Tensor], steps: Steps) -> Tensor:
        states = [lstm(steps.pack(values), self.cells[m].parameters(), steps.sizes) for m, values in x.items()]
        cell = torch.cat([cells for _, cells in states], dim=-1)  # (N, d)
        attended, candidates = self._propose(torch.cat([steps.before(cell), cell], dim=-1))
        parts, gates = zip(*(self._split(gate, attended) for gate in (self.keep, self.write)), strict=True)
        from_memory, rests = zip(*gates, strict=True)
        noise = [rest[1](torch.ones_like(part)) for part, rest in zip(parts, rests, strict=True)]  # dropout's
        memories = GatedScan.apply(
            *(torch.cat(tensors, dim=-1) for tensors in (parts, noise)),
            *(candidates, torch.cat(from_memory, dim=-1)),
            torch.block_diag(*(rest[2].weight.t() for rest in rests)),
            *(torch.cat([rest[2].bias for rest in rests]), steps.sizes),
        )
        return torch.cat([*(steps.last(hidden) for hidden, _ in states), steps.last(memories)], dim=-1)

    def _padded(self, x: dict[str, Tensor], text: Sequence) -> Tensor:
        states = zip(*(states_by_gates(self.cells[m], x[m]) for m in x), strict=True)
        hidden, cell = (torch.cat(of_all, dim=-1) for of_all in states)
        before = torch.cat([torch.zeros_like(cell[:, :1]), cell[:, :-1]], dim=1)
        attended, candidates = self._propose(text.pack(torch.cat([before, cell], dim=-1)))
        gates = []
        for gate in (self.keep, self.write):
            part, (from_memory, rest) = self._split(gate, attended)
            gates.append((text.unpack(part).unbind(1), from_memory, rest))
        memory, memories = attended.new_zeros(len(hidden), self.memory), []
        for t, candidate in enumerate(text.unpack(candidates).unbind(1)):
            keep, write = (rest(torch.addmm(part[t], memory, w)).sigmoid() for part, w, rest in gates)
            memory = keep * memory + write * candidate
            memories.append(memory)
        return last_step(torch.cat([hidden, torch.stack(memories, dim=1)], dim=-1), text.lengths)

    def _propose(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Cell states before and now (N, 2d) -> attended (N, 2d), candidates of the memory (N, memory)."""
        attended = self.attend(pairs).softmax(-1) * pairs
        return attended, self.propose(attended).tanh()

    def _split(self, gate: nn.Sequential, attended: Tensor) -> tuple[Tensor, tuple[Tensor, nn.Sequential]]:
        """What a gate's hidden layer reads of `attended` (N, hidden); how it reads the memory (memory, hidden), and
        what follows."""
        of_attended, of_memory = gate[0].weight.split((2 * self.d, self.memory), dim=1)
        return F.linear(attended, of_attended, gate[0].bias), (of_memory.t(), gate[1:])


@torch.autocast("cuda", enabled=False)  # states, carried from step to step, stay precise
def states_by_gates(cell: nn.LSTMCell, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, d_in) -> hidden and cell states at every step, (B, T, h) each; nn.LSTM tells only the first, of which all
    gates follow at once: twice the products, and for CUDA one small operation a step in place of a cell's own call."""
    x = x.to(cell.weight_ih.dtype)
    hidden = run_cell(cell, x)
    before = F.pad(hidden[:, :-1], (0, 0, 1, 0))
    gates = F.linear(x, cell.weight_ih, cell.bias_ih) + F.linear(before, cell.weight_hh, cell.bias_hh)
    i, f, g, _ = gates.chunk(4, dim=-1)
    kept, added = f.sigmoid(), i.sigmoid() * g.tanh()
    state, states = torch.zeros_like(added[:, 0]), []
    for add, keep in zip(added.unbind(1), kept.unbind(1), strict=True):
        state = torch.addcmul(add, keep, state)
        states.append(state)
    return hidden, torch.stack(states, dim=1)


class GatedScan(torch.autograd.Function):
    """The memory at every step, in the order of `Steps`:

        k, w = σ(noise relu(part + m' inner) outer + bias), m = k m' + w candidate.

    Its gradient is written out, as those of `scan.py`.
    """

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # under AMP
    def forward(
        ctx: Any,
        part: Tensor,
        noise: Tensor,
        candidates: Tensor,
        inner: Tensor,
        outer: Tensor,
        bias: Tensor,
        sizes: list[int],
    ) -> Tensor:
        """part, noise (N, h), candidates (N, d), inner (d, h), outer (h, 2d), bias (2d,) -> (N, d)."""
        d = candidates.shape[1]
        read, gates, memories = part.clone(), part.new_empty(len(part), 2 * d), torch.empty_like(candidates)
        memory, parts = memories[:0], (read, noise, gates, *gates.split(d, dim=1), candidates, memories)
        for a, dropout, gate, k, w, candidate, now in zip(*(p.split(sizes) for p in parts), strict=True):
            before, memory = memory[: len(a)], now
            if len(before):
                torch.addmm(a, before, inner, out=a)
            a.relu_().mul_(dropout)
            torch.addmm(bias, a, outer, out=gate).sigmoid_()
            torch.mul(w, candidate, out=now)
            if len(before):
                now.addcmul_(k, before)
        ctx.sizes = sizes
        ctx.save_for_backward(read, noise, gates, candidates, memories, inner, outer)
        return memories

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        read, noise, gates, candidates, memories, inner, outer = ctx.saved_tensors
        sizes, d, first = ctx.sizes, candidates.shape[1], ctx.sizes[0]
        before = earlier(memories, sizes)
        k, w = gates.split(d, dim=1)
        slope = gates - gates * gates  # d m / d (gates' arguments), then the gradient there
        slope[:first, :d] = 0
        slope[first:, :d] *= before
        slope[:, d:] *= candidates
        opened, at_part, grad = noise * (read > 0), torch.empty_like(read), grad.clone()
        parts = (grad, slope.unflatten(1, (2, d)), slope, opened, at_part, k)
        later, carry = at_part[:0], k[:0]
        for at_m, by_gate, at_gate, open_, at_a, keep in zip(*(reversed(p.split(sizes)) for p in parts), strict=True):
            if len(later):
                reached = at_m[: len(later)].add_(carry)
                torch.addmm(reached, later, inner.t(), out=reached)
            by_gate.mul_(at_m.unsqueeze(1))
            torch.mm(at_gate, outer.t(), out=at_a).mul_(open_)
            later, carry = at_a, at_m * keep
        at_inner = before.t() @ at_part[first:]
        return at_part, None, grad * w, at_inner, read.t() @ slope, slope.sum(0), None
