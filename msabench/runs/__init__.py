"""One run: trained, stored, read again. `msabench.runs(…)` is msabench.api.runs: the stored runs as a DataFrame."""
