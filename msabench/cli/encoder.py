"""`msabench encoder fetch NAME`: the only command that downloads."""

from __future__ import annotations

import argparse


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("encoder", help="fetch a text encoder")
    actions = command.add_subparsers(metavar="ACTION", required=True)
    fetch = actions.add_parser(
        "fetch", help="download a text encoder from the Hugging Face hub, e.g. bert-base-uncased"
    )
    fetch.add_argument("name")
    fetch.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from msabench.text import encoders

    print(encoders.fetch(args.name))
    return 0
