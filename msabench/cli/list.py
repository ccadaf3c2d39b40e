"""`msabench list models|datasets|runs`."""

from __future__ import annotations

import argparse

from msabench.cli.options import add_store


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("list", help="list models, datasets or runs")
    what = command.add_subparsers(metavar="WHAT", required=True)
    models = what.add_parser("models", help="the models, their papers and published results")
    models.set_defaults(handler=list_models)
    datasets = what.add_parser("datasets", help="the datasets and where they are")
    datasets.set_defaults(handler=list_datasets)
    runs = what.add_parser("runs", help="stored runs, e.g. list runs model=mcer status=completed")
    runs.add_argument("filters", metavar="FIELD=VALUE", nargs="*", help="model, dataset, status, seed")
    add_store(runs)
    runs.set_defaults(handler=list_runs)


def list_models(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    import msabench.published as published
    from msabench import registry

    best = {
        (result.model, result.dataset): result.metrics["mae"]
        for dataset in ("mosi", "mosei")
        for result in published.results(dataset)
        if not result.variant and "mae" in result.metrics
    }
    rows = []
    for name, entry in registry.entries().items():
        experiment = published.load(name)
        shown = [f"{best[name, d]:.3f}" if (name, d) in best else "–" for d in ("mosi", "mosei")]
        summary = (entry.model.__doc__ or "").strip().splitlines()
        title = (experiment.paper or {}).get("title") or (summary[0] if summary else "")
        rows.append([name, " ".join(entry.model.modalities), *shown, ", ".join(experiment.presets) or "–", title])
    headers = ["model", "modalities", "published MOSI MAE", "MOSEI MAE", "presets", "what"]
    print(tabulate(rows, headers=headers, disable_numparse=True, maxcolwidths=[None, None, 10, 6, None, 60]))
    return 0


def list_datasets(args: argparse.Namespace) -> int:
    from msabench.cli.data import list_

    return list_(args)


def list_runs(args: argparse.Namespace) -> int:
    from msabench.cli.show import list_runs as show_runs

    return show_runs(args)
