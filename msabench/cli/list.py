"""`msabench list models|datasets|runs`."""

from __future__ import annotations

import argparse

from msabench.cli.options import add_data_dir, add_store


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("list", help="list models, datasets or runs")
    what = command.add_subparsers(metavar="WHAT", required=True)
    models = what.add_parser("models", help="the models, their papers and published results")
    models.set_defaults(handler=list_models)
    datasets = what.add_parser("datasets", help="the datasets and where they are")
    add_data_dir(datasets)
    datasets.set_defaults(handler=list_datasets)
    runs = what.add_parser("runs", help="stored runs, e.g. list runs model=mcer status=completed")
    runs.add_argument("filters", metavar="FIELD=VALUE", nargs="*", help="model, dataset, status, seed")
    add_store(runs)
    runs.set_defaults(handler=list_runs)


def list_models(args: argparse.Namespace) -> int:
    from msabench import catalogue

    print(catalogue.table())
    return 0


def list_datasets(args: argparse.Namespace) -> int:
    from msabench.cli.data import list_

    return list_(args)


def list_runs(args: argparse.Namespace) -> int:
    from msabench.cli.show import list_runs as show_runs

    return show_runs(args)
