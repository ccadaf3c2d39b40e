"""Tables of a store's runs. `msabench.report(…)` is msabench.api.report."""
