"""msabench: a benchmark harness for multimodal sentiment analysis."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout `models/` stands beside this folder, where a researcher looks for it; it is imported as
# `msabench.models` all the same. A wheel carries it inside the package and needs no help.
if not (Path(__file__).parent / "models").is_dir():
    __path__.append(str(Path(__file__).parent.parent))
