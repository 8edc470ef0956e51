"""The command `zoo-bench throughput`. Everything heavy is imported when it runs."""

import argparse
import json
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Time training (zoo.fit's own steps), encoding, sampling and importance-weighted evaluation of every variant that takes the data,
at batch 128 and at the batch from which doubling gains no more. A few minutes. Models are untrained, with default settings.

With --against pythae: pythae's own networks, an MLP and convolutions for MNIST, trained by its trainer, by a plain loop and by
the zoo, and its get_nll beside the zoo's bound, in blocks that take turns. It is an extra, never a dependency:
pip install -e '.[bench]'. Numbers to quote are of real MNIST; without --data the embedded digits are enlarged.

Writes RESULTS/throughput/<device>.json, and README.md with the tables of all devices beside it.
"""
EXAMPLES = """\
examples:
  zoo-bench throughput                                            every variant on the embedded digits
  zoo-bench throughput vae '*vamp*' --data mnist:dynamic --data-root data
  zoo-bench throughput --against pythae --data mnist --data-root data

exit status: 0 all timed; 1 something failed, and the record says what; 2 the command is wrong, or files are missing
"""


def add(commands: Any) -> None:
    """Enter the command."""
    top = commands.add_parser("throughput", help="time every variant on this machine, or the zoo against pythae",
                              description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = top.add_mutually_exclusive_group()
    what.add_argument("variants", metavar="VARIANT", nargs="*", default=["*"], help="only these; names or patterns")
    what.add_argument("--against", choices=("pythae",), help="train the same networks in this library, too")
    top.add_argument("--data", metavar="NAME", help="a data set of `zoo list --data` (digits)")
    top.add_argument("--data-root", metavar="FOLDER", help="the data folder; else $ZOO_DATA, else ./data")
    top.add_argument("--engines", type=lambda text: text.split(","), default=["eager"], metavar="A,B",
                     help="of zoo.fit, each timed by itself (eager)")
    top.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1")
    top.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="the results folder (%(default)s)")
    top.add_argument("--json", action="store_true", help="print what was measured instead of tables")
    top.set_defaults(do=_throughput)


def _throughput(args: argparse.Namespace) -> int:
    from . import against, throughput, throughput_table
    if args.against:
        part = against.run(args.against, args.data, args.data_root, args.engines, args.device, args.out)
        text = throughput_table.against(args.against, part)
    else:
        dataset = args.data or "digits"
        part = throughput.run(args.variants, dataset, args.data_root, args.engines, args.device, args.out)
        text = throughput_table.variants(dataset, part)
    print(json.dumps(part) if args.json else text)
    return int(any("error" in row for row in part.get("rows", [])))
