"""`msabench reproduce RUN`: trains a stored run again and compares the digits."""

from __future__ import annotations

import argparse
import sys

from msabench.cli.options import add_data_dir, add_store, to_path
from msabench.errors import UsageError
from msabench.ranges import number
from msabench.shown import short

EXAMPLES = """\
examples:
  python -m msabench reproduce 7
  python -m msabench reproduce 7 --data-dir ~/data        the data lies elsewhere than it did for run 7
  python -m msabench reproduce 7 --device cpu             are the digits those of the GPU?
  python -m msabench reproduce 7 --store mongodb://host/runs      number 7 of that MongoDB, a colleague's run

Exit code 0: every test and valid metric and every prediction is equal, digit by digit; 1: not, and what differs is
said: versions, device, threads, data, text encoder, code, settings; 3: the data is missing or not the run's.
The new run is stored, too. It counts in no table: the run that it trains again does.
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "reproduce",
        help="train a stored run again: are the digits equal, and if not, what differs?",
        description="Trains a stored run again from its stored configuration and compares the digits.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("run", metavar="RUN", help="its number (msabench list runs status=completed)")
    command.add_argument("--model-path", metavar="FILE", type=to_path, help="the file that registers its model")
    add_data_dir(command)
    command.add_argument("--text-encoder", metavar="NAME", help="where its text encoder is now")
    command.add_argument("--device", metavar="D", help="cpu or cuda (default the run's)")
    command.add_argument("--anyway", action="store_true", help="also with other data or another text encoder")
    add_store(command)
    command.add_argument("--resume", action="store_true", help="go on with an interrupted reproduction")
    command.add_argument("--no-progress", action="store_true", help="no bar")
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from msabench.cli.run import log_to_stdout
    from msabench.contract import registry
    from msabench.runs.reproduce import reproduce
    from msabench.store import open_store

    run_id = number(args.run)
    if run_id is None:
        raise UsageError(f"reproduce {short(args.run)}: expected a run's number, e.g.  reproduce 7")
    log_to_stdout()
    if args.model_path is not None:
        registry.load_file(args.model_path)
    origin = open_store(args.store, args.results, read=True)
    try:
        origin.load(run_id)  # raises before a store is made where there is none
        store = open_store(args.store, args.results)
        try:
            found = reproduce(
                origin,
                run_id,
                store=store,
                results_dir=args.results,
                data_dir=args.data_dir,
                text_encoder=args.text_encoder,
                device=args.device,
                anyway=args.anyway,
                resume=args.resume,
                progress=not args.no_progress and sys.stderr.isatty(),
            )
        finally:
            store.close()
    finally:
        origin.close()
    if found is None:
        print("stopped. Go on with the same command and --resume.")
        return 130
    print(found)
    return 0 if found.equal else 1
