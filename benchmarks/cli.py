"""The command `zoo-bench`. Everything heavy is imported inside the commands: `--help` answers at once."""

import argparse
import json
import os
import sys
from pathlib import Path

SUITES = Path(__file__).parent / "suites"
EXAMPLES = """\
examples:
  zoo-bench list                                        suites, metrics and feature spaces
  zoo-bench run quick                                   a few minutes on two cores, no download
  zoo-bench run mnist --data-root data --seeds 0        with this seed in place of the suite's
  zoo-bench run mnist --variants 'vae,*_vae' --device cuda
  zoo-bench run my.toml --out /tmp/results              a suite of your own
  zoo-bench tune vae --data digits                      how many latents? cross-validated
  zoo-bench report quick                                README.md and index.html again, from the records

Interrupt `run` whenever you like: the same command goes on where it stopped, and never runs a finished trial again.
"""
RUN = """\
Train and measure every trial of a suite: data set x variant x seed. Each writes one JSON record,
RESULTS/<suite>/<data set>/<variant>/<seed>-<device>.json, and at the end the report RESULTS/<suite>/index.html is built.

A finished trial is not run again; an interrupted one is resumed from its checkpoint; one that fails is recorded with its
traceback, the others go on, the exit status is 1, and the next run tries it again. If the suite has changed since a record
was written, the command says what changed and stops: --rerun replaces the record, --out keeps it. The models stay in
RESULTS/<suite>/models: after a change of what is measured, --remeasure needs no training.
"""
TUNE = """\
Choose a variant's settings by cross-validation: training and validation split are parted into folds, a model is trained without
each fold in turn, and the settings are valued by its mean ELBO there, in nats. The test split is never read: measure the choice
on it once, at the end. Chosen are the fewest latents that fall behind the best by no more than one standard error.

Lists (latent_dim=2,4,8) are tried in all combinations; ranges (latent_dim=2:64, beta=0.5:4.0) are searched by Optuna, which the
extra `tune` installs: pip install 'vae-zoo[tune]'. All trials are kept under RESULTS/tune/<data set>-<variant>/; interrupt the
command whenever you like, the same command goes on, and more --trials continue a search. There too: trials.json, and value.png,
the value against the first setting that was searched.
"""
TUNE_EXAMPLES = """\
examples:
  zoo-bench tune vae --data digits                      2 to 64 latents, 20 trials of 5 folds
  zoo-bench tune vae --data digits --search latent_dim=2,4,8,16,32 --folds 3 --steps 500
  zoo-bench tune beta_vae --data digits --search latent_dim=2:32 --search beta=0.5:4.0 --trials 40 --set hidden=128
  zoo-bench tune vrae --data digit_rows --json > tuned.json
"""
STATUS = "exit status: 0 all trials ok; 1 some failed; 2 the command or the suite is wrong, or files are missing"


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="zoo-bench", epilog=EXAMPLES + STATUS, formatter_class=raw,
                                  description="The benchmark harness of the VAE zoo: one protocol, one table.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    known = ", ".join(sorted(path.stem for path in SUITES.glob("*.toml")))

    run = commands.add_parser("run", help="train and measure what a suite names", description=RUN, formatter_class=raw,
                              epilog=EXAMPLES + STATUS)
    run.add_argument("suite", metavar="SUITE", help=f"{known}, or the path of a .toml file")
    run.add_argument("--variants", type=_names, default=[], metavar="A,B",
                     help="only these, names or patterns such as '*vae'; or any other variant by its name")
    run.add_argument("--datasets", type=_names, default=[], metavar="A,B", help="only these; names or patterns")
    run.add_argument("--seeds", type=_integers, default=[], metavar="0,1", help="in place of the suite's")
    run.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1")
    run.add_argument("--data-root", metavar="FOLDER", help="the data folder; else $ZOO_DATA, else ./data")
    run.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="the results folder (%(default)s)")
    again = run.add_mutually_exclusive_group()
    again.add_argument("--rerun", action="store_true", help="train and measure finished trials again")
    again.add_argument("--remeasure", action="store_true", help="measure finished trials again, with the models that were kept")
    run.add_argument("--json", action="store_true", help="print the records, one JSON object a line, instead of tables")
    run.set_defaults(do=_run)

    report = commands.add_parser("report", help="build README.md and index.html from the records", formatter_class=raw,
                                 description="Build RESULTS/<suite>/README.md, its figures, and one self-contained index.html.")
    report.add_argument("suite", metavar="SUITE", help="a suite that has been run")
    report.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="the results folder (%(default)s)")
    report.set_defaults(do=_report)

    tune = commands.add_parser("tune", help="choose latent_dim, and other settings, by cross-validation", description=TUNE,
                               formatter_class=raw, epilog=TUNE_EXAMPLES)
    tune.add_argument("variant", metavar="VARIANT", help="a name of `zoo list`")
    tune.add_argument("--data", required=True, metavar="NAME", help="a data set of `zoo list --data`")
    tune.add_argument("--data-root", metavar="FOLDER", help="the data folder; else $ZOO_DATA, else ./data")
    tune.add_argument("--search", action="append", default=[], metavar="KEY=WHERE",
                      help="LOW:HIGH or A,B,C; repeatable (latent_dim=2:64)")
    tune.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting that stays; repeatable")
    tune.add_argument("--trials", type=_positive, default=20, help="in all, of ranges (%(default)s)")
    tune.add_argument("--folds", type=_positive, default=5, help="models a trial (%(default)s)")
    tune.add_argument("--steps", type=_positive, default=1000, help="of training a model (%(default)s)")
    tune.add_argument("--batch-size", type=_positive, default=128, help="(%(default)s)")
    tune.add_argument("--lr", type=float, default=1e-3, help="learning rate, on a cosine to a tenth of it (%(default)s)")
    tune.add_argument("--warmup", type=int, default=0, help="steps in which the KL's weight rises to 1 (%(default)s)")
    tune.add_argument("--seed", type=int, default=0, help="of folds, weights, training and proposals (%(default)s)")
    tune.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1")
    tune.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="the results folder (%(default)s)")
    tune.add_argument("--json", action="store_true", help="print trials.json instead of a table")
    tune.set_defaults(do=_tune)

    listing = commands.add_parser("list", help="suites, metrics and feature spaces", formatter_class=raw,
                                  description="What can be run, and what is measured.")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    listing.set_defaults(do=_list)
    return top


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        return args.do(args)
    except (LookupError, ValueError, OSError) as error:
        print(f"zoo-bench: {error.args[0] if isinstance(error, LookupError) else error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nzoo-bench: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")     # threads that spin are 15 times slower on a busy machine
    from . import harness, report, suite, table
    chosen = suite.load(args.suite, datasets=args.datasets, variants=args.variants, seeds=args.seeds)
    records = harness.run(chosen, device=args.device, data_root=args.data_root, out=args.out, rerun=args.rerun,
                          remeasure=args.remeasure)
    if args.json:
        for record in records:
            print(json.dumps(record))
    else:
        print("\n\n".join(table.terminal(t) for t in table.build(records)))
    failed = [f"{r['dataset']} {r['variant']} seed {r['seed']}" for r in records if r["status"] == "failed"]
    for what in failed:
        print(f"failed: {what}; its record holds the traceback", file=sys.stderr)
    if records:
        print(f"\nreport: {report.build(chosen.name, args.out)}", file=sys.stderr)
    return 1 if failed else 0


def _report(args: argparse.Namespace) -> int:
    from . import report
    print(report.build(Path(args.suite).stem if args.suite.endswith(".toml") else args.suite, args.out))
    return 0


def _list(args: argparse.Namespace) -> int:
    from . import extractors, suite
    from .metrics import METRICS
    suites = {name: suite.load(name).title for name in suite.names()}
    metrics = {m.label: f"{m.documentation.splitlines()[0]} [{m.unit}, better: {m.better}]" for m in map(METRICS.get, METRICS)}
    spaces = {name: f"{c['architecture']}; {c['d']} features" for name in extractors.names() for c in [extractors.card(name)]}
    everything = {"suites": suites, "metrics": metrics, "extractors": spaces}
    if args.json:
        print(json.dumps(everything, indent=1))
        return 0
    for title, entries in everything.items():
        print(title)
        for name, text in entries.items():
            print(f"  {name:<32}{text}")
    return 0


def _tune(args: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import zoo

    from . import tune
    from .protocol import Budget
    budget = Budget(steps=args.steps, batch_size=args.batch_size, lr=args.lr, final_lr=args.lr / 10, warmup=args.warmup)
    axes = tuple(tune.Axis.parse(text) for text in args.search or ["latent_dim=2:64"])
    plan = tune.Plan(args.variant, axes, dict(map(tune.setting, args.set)), budget, args.folds, args.seed)
    tried = tune.search(plan, zoo.load_dataset(args.data, args.data_root), args.trials, device=args.device, out=args.out)
    found = tune.write(tried, plan, args.data, args.out)
    if args.json:
        print(json.dumps(found))
        return 0
    print(tune.terminal(tried, plan))
    chosen = " ".join(f"--set {k}={v}" for k, v in {**plan.settings, **found["chosen"]}.items())
    print(f"\nkept in {tune.folder_of(args.out, args.data, args.variant)}; to train with what was chosen:\n"
          f"  zoo train {args.variant} --data {args.data} {chosen}", file=sys.stderr)
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected an integer of at least 1")
    return int(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in _names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; expected integers such as 0,1") from None
