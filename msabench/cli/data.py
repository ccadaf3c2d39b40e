"""`msabench data info|verify|diff|add|simulate|list|convert`."""

from __future__ import annotations

import argparse

from msabench.cli.options import add_data_dir, megabytes, to_path

CONVERTED = """\
examples:
  python -m msabench data convert mosi mosi-form --data-dir ~/data     a folder of .npy files: see docs/form.md
  python -m msabench data convert mosi-form mosi.pkl                   a pickle that MMSA reads
  python -m msabench data convert odd.pkl odd-form --trust --name mosi a pickle of foreign classes
  python -m msabench data convert odd.pkl --trust                      the same layout as plain data: odd.clean.pkl
"""
EXAMPLES = """\
examples:
  python -m msabench data add reviews ~/reviews     a folder with data.csv: id, split, text, label, audio, visual
  python -m msabench data add reviews ~/reviews --card card.yaml --data-dir ~/data
  python -m msabench run ridge_all,mcer reviews --data-dir ~/data
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("data", help="look at datasets, check files, write simulated twins")
    actions = command.add_subparsers(metavar="ACTION", required=True)

    info_ = actions.add_parser("info", help="sizes, labels, lengths, defects of a dataset")
    info_.add_argument("source", metavar="DATASET", type=_source, help="a name (see: msabench data list), or a path")
    _add_place(info_)
    info_.set_defaults(handler=info)

    verify_ = actions.add_parser(
        "verify",
        help="compare a file with the field's checksums, and say what leaks, is constant or is not as published",
        description="Exit code 0: a file of the field, byte for byte, or a folder in msabench's form that is whole.",
    )
    verify_.add_argument("source", metavar="DATASET", type=_source, help="a name, or a path")
    _add_place(verify_)
    verify_.set_defaults(handler=verify)

    diff_ = actions.add_parser(
        "diff",
        help="which clips, labels, sentences and features of two datasets differ",
        description="Clips are paired by id, whichever way it is written. Exit code 0: equal, 1: different.",
    )
    diff_.add_argument("a", metavar="A", type=_source, help="a name, or a path")
    diff_.add_argument("b", metavar="B", type=_source)
    _add_place(diff_)
    diff_.add_argument("--all", action="store_true", help="every clip that differs, not the first few")
    diff_.add_argument("--format", choices=("text", "json"), default="text")
    diff_.set_defaults(handler=diff)

    add_ = actions.add_parser(
        "add",
        help="give data of your own a name",
        description="Registers data of your own under a name: runs, tables and figures go by it. Nothing is copied.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_.add_argument("name", metavar="NAME", help="small letters, digits, '.', '_', '-'; no name of a field's set")
    add_.add_argument(
        "path", metavar="PATH", type=to_path, help="a folder with data.csv, or a file of any known layout"
    )
    add_.add_argument("--card", metavar="FILE", type=to_path, help="what is known of it, as YAML: see docs/own_data.md")
    add_.add_argument(
        "--replace",
        action="store_true",
        help="also where the name is taken by other data of yours; its card stays, unless --card gives one",
    )
    add_data_dir(add_)
    add_.set_defaults(handler=add)

    simulate_ = actions.add_parser("simulate", help="write a simulated twin as a pickle in MMSA's layout")
    simulate_.add_argument("name", metavar="NAME", help="mosi-sim, mosei-sim; :chatty, :quiet and :hard are harder")
    simulate_.add_argument("out_dir", metavar="OUT_DIR", type=to_path)
    simulate_.add_argument("--defects", action="store_true", help="with what is wrong in real files")
    simulate_.add_argument("--seed", type=int, default=0)
    simulate_.set_defaults(handler=simulate)

    list_parser = actions.add_parser("list", help="the datasets, and where they are")
    add_data_dir(list_parser)
    list_parser.set_defaults(handler=list_)

    convert_ = actions.add_parser(
        "convert",
        help="write a dataset in msabench's documented form, or for MMSA",
        epilog=CONVERTED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert_.add_argument("source", metavar="DATASET", type=_source, help="a name, or a path to any known layout")
    convert_.add_argument("out", metavar="OUT", type=to_path, nargs="?", help="a new folder, or a .pkl for MMSA")
    convert_.add_argument("--to", choices=("msabench", "mmsa"), help="(mmsa where OUT ends in .pkl)")
    _add_place(convert_)
    convert_.add_argument("--trust", action="store_true", help="run whatever a pickle asks for: you know its maker")
    convert_.add_argument(
        "-o", "--output", metavar="FILE", type=to_path, help="without OUT (FILE with .clean before its suffix)"
    )
    convert_.set_defaults(handler=convert)


def _add_place(command: argparse.ArgumentParser) -> None:
    add_data_dir(command)
    command.add_argument("--alignment", choices=("auto", "aligned", "unaligned"), default="auto")
    command.add_argument("--name", metavar="NAME", help="which dataset a path holds, where it does not say so")


def _source(text: str) -> str:
    """A name or path as typed, where it can be either."""
    to_path(text)
    return text


def info(args: argparse.Namespace) -> int:
    from msabench.data import find, load
    from msabench.data.cards import CARDS
    from msabench.data.given import given
    from msabench.data.inspect import describe

    if args.source in find.names(args.data_dir) and args.name is None:  # its twin, where it is not there
        dataset = load(args.source, args.data_dir, alignment=args.alignment)
        card = find.card(dataset.name, args.data_dir)
    else:
        chosen = given(args.source, args.data_dir, alignment=args.alignment, name=args.name)
        dataset = chosen.load()
        card = CARDS.get(dataset.name, chosen.card)
    print(describe(dataset, card))
    return 0


def add(args: argparse.Namespace) -> int:
    from msabench import files
    from msabench.data import cards, find
    from msabench.data.inspect import describe
    from msabench.data.loading import load_file
    from msabench.errors import DataError, UsageError

    root, _ = find.place(args.data_dir)
    path = files.expand(args.path)
    cards.check_name(args.name)
    about = args.card
    if args.name in cards.own(root):
        if not args.replace:
            raise UsageError(f"{args.name} is registered already, in {root / args.name}. Another name, or --replace.")
        about = about or root / args.name / cards.FILE
    card = cards.preview(args.name, path, about)
    dataset = load_file(path, card)
    outside = max(float(abs(split.labels).max()) for split in dataset.splits.values())
    if outside > card.label_range + 1e-4:
        raise DataError(
            f"{path}: labels reach {outside:g}, beyond {card.label_range:g} on either side of 0.\n"
            "  A score is negative, 0 or positive: take the middle of your scale away, and say in a card how far it "
            "reaches:\n    label_range: 5\n  and give it with --card FILE."
        )
    place = cards.add(args.name, path, root, about)
    where = f" --data-dir '{args.data_dir}'" if args.data_dir else ""
    print(describe(dataset, card))
    print(f"\n{place}: registered as {args.name}. Run on it:  python -m msabench run ridge_all {args.name}{where}")
    return 0


def verify(args: argparse.Namespace) -> int:
    """0: a file of the field, byte for byte, or a form with the fingerprint that it states. 1: readable, not known."""
    from msabench.data import cache, find, inspect
    from msabench.data.cards import simulated
    from msabench.data.given import given
    from msabench.errors import UsageError

    chosen = given(args.source, args.data_dir, alignment=args.alignment, name=args.name)
    card, path = chosen.card, chosen.path
    if path is None:
        raise UsageError(f"{card.name} is made from a seed; there is no file to verify.")
    dataset = chosen.load()
    whole = chosen.in_our_form
    print(f"{path}\n  fingerprint {dataset.fingerprint}" + (", as it states" if whole else ""))
    if path.is_file():
        found = cache.hash_file(path)
        alignment = "" if card.own else find.alignment_of(card, path)
        expected = card.sha256.get(alignment)
        whole = found == expected
        known = f"{card.title}, {alignment}, as in {card.where}"
        print(f"  sha256    {found}")
        if card.own:
            print("  expected  none known: data of your own")
        elif simulated(dataset.name):
            print(f"  expected  none known: it holds {dataset.name}, a simulated twin, and not {card.title}")
        else:
            print(
                f"  known     {known}"
                if whole
                else f"  expected  {expected or 'none known'} ({known})\n  differs: another copy"
            )
    print(f"\n{inspect.sizes(dataset, card)}\n\n{inspect.trust(dataset)}\n\n{inspect.notes(dataset)}")
    return 0 if whole else 1


def diff(args: argparse.Namespace) -> int:
    import json

    from msabench.data import diff as differing
    from msabench.data.given import given

    a, b = (
        given(source, args.data_dir, alignment=args.alignment, name=args.name).load() for source in (args.a, args.b)
    )
    found = differing.diff(a, b)
    if args.format == "json":
        print(json.dumps(differing.document(found), allow_nan=False))
    else:
        print(differing.told(found, None if args.all else 5))
    return 0 if found.equal else 1


def simulate(args: argparse.Namespace) -> int:
    from msabench.data import find
    from msabench.data.cards import original
    from msabench.data.export import with_token_ids, write_mmsa
    from msabench.data.twins.simulate import simulate as make
    from msabench.errors import UsageError

    if not find.card(args.name).simulated:
        raise UsageError(f"{args.name} is no simulated dataset. Did you mean {args.name + '-sim'!r}?")
    dataset = make(args.name, defects=args.defects, seed=args.seed)
    real = find.card(original(args.name))
    path = args.out_dir / real.folders[0] / "Processed" / real.files["unaligned"]
    try:
        written, without = with_token_ids(dataset), ""
    except UsageError as error:
        written, without = dataset, f"\n  without text_bert, which MMSA needs: {error}"
    write_mmsa(written, path)
    print(f"{path}\n  fingerprint {dataset.fingerprint}{without}")
    print(f"  read it:  msabench data info {real.name} --data-dir '{args.out_dir}'")
    return 0


def list_(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from msabench.data import find
    from msabench.errors import DataError

    root, _ = find.place(getattr(args, "data_dir", None))
    rows = []
    for name in find.names(root):
        try:
            card = find.card(name, root)
        except DataError as error:
            rows.append((name, "damaged card", "", str(error)))
            continue
        path = card.path or (None if card.simulated else find.find(card, root))
        where = card.where if card.simulated else str(path or f"not in {root}; {card.where}")
        rows.append((card.name, card.title, "/".join(map(str, card.sizes)), where))
    print(tabulate(rows, ("name", "what", "train/valid/test", "where")))
    return 0


def convert(args: argparse.Namespace) -> int:
    from msabench import files
    from msabench.data import export
    from msabench.data.given import given
    from msabench.errors import UsageError

    if args.out is None:
        return _plain(args)
    if args.output:
        raise UsageError(f"two places to write to: {args.out} and -o {args.output}. Leave one out.")
    to = args.to or ("mmsa" if args.out.suffix in export.PICKLES else "msabench")
    chosen = given(args.source, args.data_dir, alignment=args.alignment, name=args.name)
    dataset = chosen.load_trusting() if args.trust else chosen.load()
    place, missing = args.out, list[str]()
    if to == "msabench":
        export.write_form(dataset, place)
    else:
        written, missing = export.for_mmsa(dataset)
        place = export.mmsa_path(args.out, dataset)
        if files.kind(place):
            raise UsageError(f"{files.shown(place)} is there already. Give another name.")
        print(f"padded, {megabytes(export.padded_bytes(written))} of memory", flush=True)
        export.write_mmsa(written, place, tokens_added=written is not dataset)
    print(f"{place}\n  {dataset.name}, fingerprint {dataset.fingerprint}")
    for line in missing:
        print(f"  MMSA: {line}")
    if chosen.card.own:
        print(f"  read it:  msabench data add NAME '{place}'")
    else:
        print(f"  read it:  msabench data info {dataset.name.removesuffix('-sim')} --data-dir '{args.out}'")
    return 0


def _plain(args: argparse.Namespace) -> int:
    """The same layout, as plain data."""
    from msabench import files
    from msabench.data.readers import convert as converting
    from msabench.data.readers import unpickle
    from msabench.errors import UsageError

    source = files.expand(args.source)
    if args.to or args.name:
        raise UsageError(f"say where to write:  msabench data convert '{source}' OUT")
    files.check_file(source)
    target = args.output or source.with_suffix(f".clean{source.suffix}")
    if files.kind(target) == "a folder":
        raise UsageError(f"{target} is a folder. Give the name of the file to be written:  -o {target / source.name}")
    if files.kind(target) and target.samefile(source):
        raise UsageError(f"{target} is the file to be converted. Give another name:  -o FILE")
    if not args.trust:
        unpickle.read(source)  # says what it refuses, and how to go on
        raise UsageError(
            f"{source} is plain data already: nothing to convert. Another form of it:  msabench data convert "
            f"'{source}' OUT    (--trust rewrites it all the same.)"
        )
    converting.convert(source, target)
    unpickle.read(target)
    print(f"{target}: plain data now; put it where {source.name} was looked for.")
    return 0
