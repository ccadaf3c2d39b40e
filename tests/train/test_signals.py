"""A worker that a model's code forks ends when its pool ends it, and says nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable

import pytest

from msabench.runs.execute import _signals_interrupt
from msabench.train.loop import stop_signals


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("handled", [_signals_interrupt, stop_signals], ids=lambda handled: handled.__name__)
def test_a_forked_worker_is_ended_by_the_signal_that_stops_a_training(handled: Callable) -> None:
    with handled():
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        worker.terminate()
        worker.join(20)
        assert worker.exitcode == -signal.SIGTERM
