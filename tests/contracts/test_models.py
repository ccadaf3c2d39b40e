"""Every model of models/ keeps the model contract; a new file there is under test by being there."""

import pytest

from msabench.checks.checks import CHECKS, Skipped
from msabench.contract.registry import Entry, entries


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.name)
def test_model_keeps_the_contract(entry: Entry, check: str) -> None:
    try:
        CHECKS[check](entry)
    except Skipped as reason:
        pytest.skip(str(reason))
