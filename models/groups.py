"""Optimiser groups that models with a fine-tuned BERT share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def bert_groups(module: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """A module's trainable parameters in two groups: with weight decay, and biases and LayerNorms without it."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (plain if name.endswith("bias") or "norm" in name.lower() else decayed).append(parameter)
    return [
        {"params": decayed, "lr": lr, "weight_decay": weight_decay},
        {"params": plain, "lr": lr, "weight_decay": 0.0},
    ]


def encoder_groups(
    model: nn.Module, lr: Mapping[str, float], weight_decay: Mapping[str, float]
) -> list[dict[str, Any]]:
    """SELF-MM's groups: `bert_groups` of model.text, model.audio, model.visual, everything else.

    lr and weight_decay: by bert, audio, visual and other.
    """
    parts: dict[str, list[nn.Parameter]] = {"audio": [], "visual": [], "other": []}
    for name, child in model.named_children():
        if name != "text":
            parts[name if name in parts else "other"] += [p for p in child.parameters() if p.requires_grad]
    return bert_groups(model.get_submodule("text"), lr["bert"], weight_decay["bert"]) + [
        {"params": group, "lr": lr[part], "weight_decay": weight_decay[part]} for part, group in parts.items()
    ]
