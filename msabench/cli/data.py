"""`msabench data info|verify|add|simulate|list|convert`."""

from __future__ import annotations

import argparse

from msabench.cli.options import add_data_dir, to_path

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
    info_.add_argument("name", metavar="NAME", help="see: msabench data list")
    add_data_dir(info_)
    info_.add_argument("--alignment", choices=("auto", "aligned", "unaligned"), default="auto")
    info_.set_defaults(handler=info)

    verify_ = actions.add_parser(
        "verify", help="compare a dataset's file with the field's known checksums, and read it"
    )
    verify_.add_argument("name", metavar="NAME")
    add_data_dir(verify_)
    verify_.add_argument("--alignment", choices=("auto", "aligned", "unaligned"), default="auto")
    verify_.set_defaults(handler=verify)

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
    add_.add_argument("--replace", action="store_true", help="also where the name is taken by other data of yours")
    add_data_dir(add_)
    add_.set_defaults(handler=add)

    simulate_ = actions.add_parser("simulate", help="write a simulated twin as a pickle in MMSA's layout")
    simulate_.add_argument("name", metavar="NAME", help="mosi-sim or mosei-sim")
    simulate_.add_argument("out_dir", metavar="OUT_DIR", type=to_path)
    simulate_.add_argument("--defects", action="store_true", help="with what is wrong in real files")
    simulate_.add_argument("--seed", type=int, default=0)
    simulate_.set_defaults(handler=simulate)

    list_parser = actions.add_parser("list", help="the datasets, and where they are")
    add_data_dir(list_parser)
    list_parser.set_defaults(handler=list_)

    convert_ = actions.add_parser("convert", help="rewrite a pickle of foreign classes as plain data")
    convert_.add_argument("file", metavar="FILE", type=to_path)
    convert_.add_argument("--trust", action="store_true", help="run whatever the file asks for: you know its maker")
    convert_.add_argument("-o", "--output", metavar="FILE", type=to_path, help="(FILE with .clean before its suffix)")
    convert_.set_defaults(handler=convert)


def info(args: argparse.Namespace) -> int:
    from msabench.data import find, load
    from msabench.data.inspect import describe

    dataset = load(args.name, args.data_dir, alignment=args.alignment)
    print(describe(dataset, find.card(dataset.name, args.data_dir)))
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
    if args.name in cards.own(root) and not args.replace:
        raise UsageError(f"{args.name} is registered already, in {root / args.name}. Another name, or --replace.")
    card = cards.preview(args.name, path, args.card)
    dataset = load_file(path, card)
    outside = max(float(abs(split.labels).max()) for split in dataset.splits.values())
    if outside > card.label_range + 1e-4:
        raise DataError(
            f"{path}: labels reach {outside:g}, beyond {card.label_range:g} on either side of 0.\n"
            "  A score is negative, 0 or positive: take the middle of your scale away, and say in a card how far it "
            "reaches:\n    label_range: 5\n  and give it with --card FILE."
        )
    place = cards.add(args.name, path, root, args.card)
    where = f" --data-dir '{args.data_dir}'" if args.data_dir else ""
    print(describe(dataset, card))
    print(f"\n{place}: registered as {args.name}. Run on it:  python -m msabench run ridge_all {args.name}{where}")
    return 0


def verify(args: argparse.Namespace) -> int:
    """0: a file of the field, byte for byte. 1: readable, but not known."""
    from msabench.data import cache, find
    from msabench.data.loading import load_file
    from msabench.errors import UsageError

    card = find.card(args.name, args.data_dir)
    if card.simulated:
        raise UsageError(f"{card.name} is made from a seed; there is no file to verify.")
    root, named = find.place(args.data_dir)
    path = find.find(card, root, args.alignment)
    if path is None:
        raise find.missing(card, root, named, args.alignment)
    dataset = load_file(path, card)
    found, alignment = cache.hash_file(path), find.alignment_of(card, path)
    expected = card.sha256.get(alignment)
    print(f"{path}\n  sha256    {found}")
    if found == expected:
        print(f"  known     {card.title}, {alignment}, as in {card.where}")
    else:
        print(
            f"  expected  {expected or 'none known'} ({card.title}, {alignment}, {card.where})\n  differs: another copy"
        )
    for note in dataset.notes:
        print(f"  - {note}")
    return 0 if found == expected else 1


def simulate(args: argparse.Namespace) -> int:
    from msabench.data import find
    from msabench.data.export import with_token_ids, write_mmsa
    from msabench.data.twins.simulate import simulate as make
    from msabench.errors import UsageError

    if not find.card(args.name).simulated:
        raise UsageError(f"{args.name} is no simulated dataset. Did you mean {args.name + '-sim'!r}?")
    dataset = make(args.name, defects=args.defects, seed=args.seed)
    real = find.card(args.name.removesuffix("-sim"))
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
    from msabench.data.readers import convert as converting
    from msabench.data.readers import unpickle
    from msabench.errors import UsageError

    files.check_file(args.file)
    target = args.output or args.file.with_suffix(f".clean{args.file.suffix}")
    if files.kind(target) == "a folder":
        raise UsageError(
            f"{target} is a folder. Give the name of the file to be written:  -o {target / args.file.name}"
        )
    if files.kind(target) and target.samefile(args.file):
        raise UsageError(f"{target} is the file to be converted. Give another name:  -o FILE")
    if not args.trust:
        unpickle.read(args.file)  # says what it refuses, and how to go on
        raise UsageError(f"{args.file} is plain data already: nothing to convert. (--trust rewrites it all the same.)")
    converting.convert(args.file, target)
    unpickle.read(target)
    print(f"{target}: plain data now; put it where {args.file.name} was looked for.")
    return 0
