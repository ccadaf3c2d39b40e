"""tqdm's bar for where we are: a widget in a notebook that has widgets, else text."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # without widgets tqdm warns that it cannot show one, and shows text
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
