"""The training loop. `msabench.train(…)` is msabench.api.train: one model, one seed, nothing stored."""
