"""The protocols by which the literature takes parts of clips away, and how a run in training is told one of them.

A protocol is a row of points; a point has a masking of msabench.data.missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

from msabench.contract import MODALITIES
from msabench.data.missing import (
    COMPLETE,
    SUBSETS,
    Masking,
    OwnFrames,
    alike,
    each,
    frames,
    moments,
    only,
    own_frames,
    slots,
    spans,
)
from msabench.errors import UsageError, closest
from msabench.shown import brief


@dataclass(frozen=True)
class Point:
    label: str
    masking: Masking
    rate: float | None = None  # where it stands on a curve


@dataclass(frozen=True)
class Protocol:
    name: str
    version: int  # another one's numbers are not to be compared
    title: str
    points: tuple[Point, ...]
    summary: str  # what the one number of all points is called
    weights: tuple[float, ...]  # of the points' values in it
    source: str
    differs: str  # from its source, and why

    @property
    def id(self) -> str:
        return f"{self.name}-{self.version}"

    @property
    def maskings(self) -> list[Masking]:
        return [point.masking for point in self.points]


def trapezoid(x: Sequence[float]) -> tuple[float, ...]:
    """The weights of values at `x` in the area under the lines that join them.

    >>> trapezoid([0, 0.5, 1])
    (0.25, 0.5, 0.25)
    """
    steps = [b - a for a, b in pairwise(x)]
    return tuple((left + right) / 2 for left, right in zip([0, *steps], [*steps, 0], strict=True))


def even(n: int) -> tuple[float, ...]:
    """The weights of n values in their mean."""
    return (1 / n,) * n


def curve(masking: Callable[[float], Masking], rates: Sequence[float]) -> tuple[Point, ...]:
    return tuple(Point(f"{r:g}", masking(r), r) for r in rates)


RATES = tuple(i / 10 for i in range(11))
FRAMES = curve(frames, RATES)
UNEVEN = [dict(zip(MODALITIES, rates, strict=True)) for rates in permutations((0.1, 0.5, 0.7))]

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "tfr",
            1,
            "frames, TFR-Net and EMT-DLFR",
            FRAMES,
            "AUILC",
            trapezoid(RATES),
            source="thuiar/TFR-Net test.sh (r = 0 … 1) and data/load_data.py (kept where U > r; text to [UNK], but not "
            "the first and the last token; audio and visual to 0); sunlicai/EMT-DLFR data/load_data.py, the same",
            differs="there one model is trained for each r, and tested at it; one mask, the same in all runs; a "
            "sentence's length is argmin of its mask, which is 0 where it fills all positions",
        ),
        Protocol(
            "lnln",
            1,
            "frames, LNLN",
            FRAMES[:10],
            "mean",
            even(10),
            source="Haoyu-ha/LNLN robust_evaluation.py (r = 0 … 0.9, one model) and core/dataset.py (the masking is "
            "TFR-Net's)",
            differs="there checkpoints are those with the best *test* score at r = 0.5, one per metric (train.py, "
            "core/utils.py); one mask, and its seed is the same for the three modalities: sequences of equal length "
            "miss the same steps",
        ),
        Protocol(
            "rmm",
            1,
            "modalities at random, GCNet",
            curve(slots, RATES[:8]),
            "mean",
            even(8),
            source="zeroQiaoba/GCNet gcnet/train_gcnet.py, random_mask (share of missing slots, one modality kept; "
            "0.7 is 2/3 there too) and train_or_eval_model (a missing modality is 0)",
            differs="there the mask of the one test is drawn without a seed, its probabilities are cut to whole "
            "percents and it is drawn again until the share is met to 0.005; here the share is met in the mean",
        ),
        Protocol(
            "fixed",
            1,
            "the six subsets of modalities",
            tuple(Point("+".join(s), only(s)) for s in sorted(SUBSETS[1:], key=len)),
            "mean",
            even(6),
            source="the fixed missing patterns of IMDer (Wang, Li and Cui, NeurIPS 2023)",
            differs="mdswyz/IMDer trains and tests a model for each rate and draws what is missing once for a whole "
            "batch, without a seed (trains/singleTask/IMDER.py, model/imder.py); here every clip keeps the subset",
        ),
        Protocol(
            "imbalanced",
            1,
            "modalities at uneven rates",
            tuple(Point(" ".join(f"{m[0]}{r:g}" for m, r in rates.items()), each(rates)) for rates in UNEVEN),
            "mean",
            even(6),
            source="the question is MissBench's (arXiv 2603.09874: modalities that are missing at rates of their own); "
            "the rates, 0.1, 0.5 and 0.7 in each order, are ours",
            differs="a clip that would lose all three is drawn again, so that no clip is empty",
        ),
        Protocol(
            "cider-rmfm",
            1,
            "frames at own rates, CIDer",
            curve(own_frames, RATES),
            "AUILC",
            trapezoid(RATES),
            source='gw-zhong/CIDer bert_dataloader.py, generate_m, RMFM: frames at "different missing rates for each '
            'modality"; main_eval.py (r = 0 … 1, AUILC)',
            differs="there the words are not what the code does: in a test all steps have the one rate r, which is "
            "tfr (as is RMFM_same), and in training each step has a rate of its own, which is tfr at 0.5; here each "
            "clip's modalities have rates of their own, of mean r, and how far they spread is ours",
        ),
        Protocol(
            "cider-rmm",
            1,
            "modalities at random, CIDer",
            curve(alike, RATES),
            "AUILC",
            trapezoid(RATES),
            source="gw-zhong/CIDer bert_dataloader.py, generate_m, RMM: each modality of each clip at rate r; "
            "main_eval.py (r = 0 … 1, AUILC)",
            differs="there a clip may lose all three, and at r = 1 every clip does; here such a clip is drawn again, "
            "and at r = 1 one modality is kept",
        ),
        Protocol(
            "cider-tmfm",
            1,
            "moments, CIDer",
            curve(moments, RATES),
            "AUILC",
            trapezoid(RATES),
            source="gw-zhong/CIDer bert_dataloader.py, generate_m, TMFM: a token with its audio and visual at rate r; "
            "main_eval.py (r = 0 … 1, AUILC)",
            differs="there for aligned data alone; here a clip's time has as many parts as its text has tokens, and a "
            "step goes where its middle does, so that of aligned data the same steps are missing; audio and visual "
            "are missing at [CLS] and [SEP] too",
        ),
        Protocol(
            "cider-stmfm",
            1,
            "a span of time, CIDer",
            curve(spans, RATES),
            "AUILC",
            trapezoid(RATES),
            source="gw-zhong/CIDer bert_dataloader.py, generate_m, STMFM: consecutive tokens, a share r, with their "
            "audio and visual; main_eval.py (r = 0 … 1, AUILC)",
            differs="there for aligned data alone, and the span is a whole number of tokens; here it is a share of the "
            "clip's time, and a step is missing where its middle is",
        ),
    )
}


def chosen(names: Sequence[str]) -> list[Protocol]:
    """The protocols of these names, each once. Raises UsageError for a name that is none."""
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(f"unknown protocol {name!r}.{closest(name, PROTOCOLS)}  Known: {', '.join(PROTOCOLS)}.")
    return [PROTOCOLS[name] for name in dict.fromkeys(names)]


# ---- in training

LNLN = OwnFrames(0, 1, whole=0.5)  # core/dataset.py, __init_mosi: rates uniform in [0, 1], half of them set to 0
AT_RATE: dict[str, tuple[Callable[[float], Masking], float]] = {  # and the highest rate
    "tfr": (frames, 1.0),
    "rmm": (slots, 0.7),  # from 2/3 on one modality is kept: GCNet's last
    "cider-rmfm": (own_frames, 1.0),
    "cider-rmm": (alike, 1.0),
    "cider-tmfm": (moments, 1.0),
    "cider-stmfm": (spans, 1.0),
}
TRAINING = "tfr:0.3, lnln, rmm:0.5, imbalanced:t0.1/a0.5/v0.7, " + ", ".join(f"{n}:0.5" for n in [*AT_RATE][2:])


def in_training(said: str) -> Masking | None:
    """What is missing of the train split's clips by the setting train_missing; None: nothing.

    `lnln` takes no rate: it is drawn for each clip and modality. Raises UsageError for anything else than TRAINING
    lists.
    """
    if not said:
        return None
    name, colon, rate = said.partition(":")
    if name == "imbalanced":
        found = _uneven(said, rate)
    elif name == "lnln" and not colon:
        found = LNLN
    elif name == "lnln":
        raise _refused(said, "lnln draws the rates itself. One rate for all:  --train-missing tfr:0.3")
    elif name == "fixed":
        raise _refused(said, "clips that all lack the same are trained by  --modalities text,audio")
    elif name in AT_RATE:
        masking, highest = AT_RATE[name]
        found = masking(_rate(said, rate, highest))
    else:
        known = [*AT_RATE, "lnln", "imbalanced"]
        raise _refused(said, f"{brief(name)!r} is no protocol for training.{closest(name, known)}")
    return None if found in (COMPLETE, slots(0)) else found


def _uneven(said: str, rates: str) -> Masking:
    parts = re.fullmatch("t([^/]*)/a([^/]*)/v([^/]*)", rates)
    if parts is None:
        raise _refused(said, "expected a rate of text, audio and visual, in this order:  imbalanced:t0.1/a0.5/v0.7")
    found = {m: _rate(said, part, 1) for m, part in zip(MODALITIES, parts.groups(), strict=True)}
    if min(found.values()) == 1:
        raise _refused(said, "at three rates of 1 nothing is left of any clip.")
    return each(found)


def _rate(said: str, text: str, highest: float) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) > highest:
        raise _refused(said, f"expected a rate from 0 to {highest:g}, got {brief(text)!r}.")
    return float(text)


def _refused(said: str, why: str) -> UsageError:
    return UsageError(f"train_missing {brief(said)!r}: {why}\n  One of:  {TRAINING}")
