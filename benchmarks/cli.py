"""The command `zoo-bench`. Everything heavy is imported inside the commands: `--help` answers at once."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from zoo.openmp import spin_briefly

from . import throughput_cli

SUITES = Path(__file__).parent / "suites"
EXAMPLES = """\
examples:
  zoo-bench list                                        suites, baselines, metrics and feature spaces
  zoo-bench run quick                                   a few minutes on two cores, no download
  zoo-bench run mnist --data-root data --seeds 0        with this seed in place of the suite's
  zoo-bench run mnist --variants 'vae,*_vae' --device cuda
  zoo-bench run mnist --jobs 4                          four trials at a time
  zoo-bench run my.toml --out /tmp/results              a suite of your own
  zoo-bench run mnist --engine ray --address auto --gpus-per-trial 0.25
  zoo-bench tune vae --data digits                      how many latents? cross-validated
  zoo-bench kernels                                     the fused operations against plain torch, on this machine
  zoo-bench kernels --predict                           what to expect of an H200, without one
  zoo-bench throughput                                  how fast every variant trains, encodes, samples, is evaluated
  zoo-bench report quick                                README.md and index.html again, from the records
  zoo-bench report mnist --screenshot docs/mnist.png    and a picture of the page, by a browser that is installed
  zoo-bench compare results/quick --variants vae,cvae   differences with intervals; see compare --help

Interrupt `run` whenever you like: the same command goes on where it stopped, and never runs a finished trial again.
"""
RUN = """\
Train and measure every trial of a suite: data set x variant x seed, and every baseline once, on the CPU. Each writes one
JSON record, RESULTS/<suite>/<data set>/<variant>/<seed>-<device>.json, and at the end the report RESULTS/<suite>/index.html
is built.

A finished trial is not run again; an interrupted one is resumed from its checkpoint, or where its evaluation stopped; one
that fails is recorded with its traceback, the others go on, the exit status is 1, and the next run tries it again. If the
suite has changed since a record was written, the command says what changed and stops: --rerun replaces the record, --out
keeps it. The models stay in RESULTS/<suite>/models: after a change of what is measured, --remeasure needs no training.

With --jobs N, N processes share trials and threads out; the numbers are those of one process, up to the
rounding of other numbers of threads and except for times, which are marked. A process that is killed loses what its trial did
since the last checkpoint: the trial is tried once more.

With --engine ray the trials go to a Ray cluster (pip install -e '.[ray]'), with the same records, resumed the same way. RESULTS
must be a folder that all its machines see; each needs this project, at the same commit, and the data.

With --auto-batch a trial whose training runs out of memory is tried again with half the batch, until it fits; its record has
the batch that was used, and "auto_batch" both. Such a record is finished for runs with --auto-batch, and of another protocol
for those without.
"""
COMPARE = """\
Is B better than A, or is it noise? Trials are paired by data set, variant and seed, and each metric's difference gets a 95%
interval: from the test examples, resampled in pairs, and from the seeds. Holm's correction over all tests of a data set.

A and B are results folders of a suite, folders below one, or single records; PATH@REVISION reads them from a commit of git.
Sides of one variant each are compared whatever the variants are called. What cannot be compared is listed with the reason:
other data, another version of a metric, times and memory of another machine.
"""
COMPARE_EXAMPLES = """\
examples:
  zoo-bench compare results/mnist@main results/mnist               what has changed since that commit
  zoo-bench compare results/mnist@v1 results/mnist@v2 --variants '*_vae' --metrics 'elbo,nll*'
  zoo-bench compare results/mnist --variants vae,vamp              two variants of one folder: A = vae, B = vamp
  zoo-bench compare results/mnist/mnist-dynamic/{vae,vamp}         the same
  zoo-bench compare mine/quick theirs/quick --json

exit status: 0 compared; 1 with --fail-if-worse, where B is worse in a metric; 2 nothing could be compared
"""
MERGE = """\
Copy the records of a suite, made on other machines or by others, into one results folder, with the pictures and the values of
single examples beside them. A trial that both have is left as it is where the records are equal, and refused where they
differ, unless --prefer says whose stays. Other data, another evaluation or another suite is refused. Then: zoo-bench report.
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
KERNELS = """\
Time each fused operation against the textbook's lines in eager torch and under torch.compile, and against a copy of as many
bytes; forward, backward and both, at several sizes. On a CPU only small sizes are timed, and the operations are plain torch
code. Needs torch and triton only. Writes RESULTS/kernels/<device>.json, and README.md beside it.

With --predict nothing is timed: the kernels are compiled for a chip that need not be there, and instructions and bytes are
counted and divided by its rates. Writes RESULTS/kernels/predicted-<chip>.json, and its own section of README.md.
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
                     help="only these, names or patterns such as '*vae'; or any other variant by its name; baselines too")
    run.add_argument("--datasets", type=_names, default=[], metavar="A,B", help="only these; names or patterns")
    run.add_argument("--seeds", type=_integers, default=[], metavar="0,1", help="in place of the suite's")
    run.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1")
    run.add_argument("--data-root", metavar="FOLDER", help="the data folder; else $ZOO_DATA, else ./data")
    run.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="the results folder (%(default)s)")
    run.add_argument("--jobs", type=_positive, metavar="N",
                     help="processes that share trials and threads out (1; with Ray one a processor); what they time is marked "
                          "as busy")
    run.add_argument("--auto-batch", action="store_true",
                     help="halve a trial's batch until it fits into memory; its record says so")
    run.add_argument("--engine", choices=("local", "ray"), default="local", help="where trials run (%(default)s)")
    run.add_argument("--address", metavar="HOST:PORT", help="of a Ray cluster, or auto; without it one is made on this machine")
    run.add_argument("--gpus-per-trial", type=float, metavar="F",
                     help="with Ray: 0.25 lets four trials share a GPU (1 on CUDA)")
    again = run.add_mutually_exclusive_group()
    again.add_argument("--rerun", action="store_true", help="train and measure finished trials again")
    again.add_argument("--remeasure", action="store_true", help="measure finished trials again, with the models that were kept")
    run.add_argument("--json", action="store_true", help="print the records, one JSON object a line, instead of tables")
    run.set_defaults(do=_run)

    report = commands.add_parser("report", help="build README.md and index.html from the records", formatter_class=raw,
                                 description="Build RESULTS/<suite>/README.md, its figures, and one self-contained index.html.")
    report.add_argument("suite", metavar="SUITE", help="a suite that has been run")
    report.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="the results folder (%(default)s)")
    report.add_argument("--screenshot", type=Path, metavar="FILE.png",
                        help="also a picture of the page's top, taken by an installed Chromium or Chrome")
    report.set_defaults(do=_report)

    compare = commands.add_parser("compare", help="paired differences of two sets of results, with intervals",
                                  description=COMPARE, formatter_class=raw, epilog=COMPARE_EXAMPLES)
    compare.add_argument("a", metavar="A", help="PATH or PATH@REVISION")
    compare.add_argument("b", metavar="B", nargs="?", help="the same; without it, --variants names two of A's")
    compare.add_argument("--variants", type=_names, default=[], metavar="A,B",
                         help="only these, names or patterns; with one folder: the two variants to compare")
    compare.add_argument("--metrics", type=_names, default=["*"], metavar="A,B",
                         help="only these, names or patterns: fewer tests, less to correct for")
    compare.add_argument("--fail-if-worse", action="store_true", help="exit with 1 where B is worse than A by more than noise")
    compare.add_argument("--json", action="store_true", help="one JSON object")
    compare.set_defaults(do=_compare)

    merge = commands.add_parser("merge", help="bring records of several machines into one folder", description=MERGE,
                                formatter_class=raw, epilog="example:\n  zoo-bench merge theirs/mnist gpu/mnist results/mnist")
    merge.add_argument("origins", metavar="FROM", nargs="+", type=Path, help="results folders of the suite")
    merge.add_argument("into", metavar="INTO", type=Path, help="the results folder to write into; made where there is none")
    merge.add_argument("--prefer", choices=("from", "into"), help="whose record stays where both have a trial and differ")
    merge.set_defaults(do=_merge)

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

    kernels = commands.add_parser("kernels", help="time the fused operations on this machine", description=KERNELS,
                                  formatter_class=raw)
    kernels.add_argument("--operations", type=_names, default=["*"], metavar="A,B", help="only these; names or patterns")
    kernels.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1")
    kernels.add_argument("--minutes", type=float, default=8.0,
                         help="what cannot be done in this time is recorded as not reached (%(default)g)")
    kernels.add_argument("--predict", nargs="?", const="h200", metavar="CHIP",
                         help="time nothing, and predict for this chip (h200)")
    kernels.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="the results folder (%(default)s)")
    kernels.add_argument("--json", action="store_true", help="print the record instead of a table")
    kernels.set_defaults(do=_kernels)

    throughput_cli.add(commands)

    listing = commands.add_parser("list", help="suites, baselines, metrics and feature spaces", formatter_class=raw,
                                  description="What can be run, and what is measured.")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    listing.set_defaults(do=_list)
    return top


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    spin_briefly()
    try:
        return args.do(args)
    except (LookupError, ValueError, OSError, ModuleNotFoundError) as error:
        print(f"zoo-bench: {error.args[0] if isinstance(error, LookupError) else error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nzoo-bench: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    from . import harness, report, suite, table
    chosen = suite.load(args.suite, datasets=args.datasets, variants=args.variants, seeds=args.seeds)
    records = harness.run(chosen, device=args.device, data_root=args.data_root, out=args.out, rerun=args.rerun,
                          remeasure=args.remeasure, jobs=args.jobs, auto_batch=args.auto_batch, engine=args.engine,
                          address=args.address, gpus_per_trial=args.gpus_per_trial)
    if args.json:
        for record in records:
            print(json.dumps(record))
    else:
        print("\n\n".join(table.terminal(t.headline) for t in table.build(records)))
    failed = [f"{r['dataset']} {r['variant']} seed {r['seed']}" for r in records if r["status"] == "failed"]
    for what in failed:
        print(f"failed: {what}; its record holds the traceback", file=sys.stderr)
    if records:
        print(f"\nreport: {report.build(chosen.name, args.out)}", file=sys.stderr)
    return 1 if failed else 0


def _report(args: argparse.Namespace) -> int:
    from . import report, screenshot
    page = report.build(Path(args.suite).stem if args.suite.endswith(".toml") else args.suite, args.out)
    print(page)
    if args.screenshot:
        screenshot.take(page, args.screenshot)
        print(args.screenshot)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from . import compare, compare_text, sources
    a = sources.load(args.a)
    if args.b is None:
        if len(args.variants) != 2:
            raise ValueError(f"one folder is given, and {len(args.variants) or 'no'} variants; name B, or two variants to "
                             "compare: --variants A,B")
        names = [f"{args.a}, {variant}" for variant in args.variants]
        one, other = (compare.chosen(a, [variant]) for variant in args.variants)
    else:
        names, patterns = [args.a, args.b], args.variants or ["*"]
        one, other = (compare.chosen(results, patterns) for results in (a, sources.load(args.b)))
    tables = compare.compare(one, other, args.metrics)
    if args.json:
        print(json.dumps(compare_text.as_json(tables, *names), indent=1, allow_nan=False))
    else:
        print(compare_text.text(tables, *names))
    if not any(t.rows for t in tables):
        print("zoo-bench: nothing could be compared; the reasons are above", file=sys.stderr)
        return 2
    return int(args.fail_if_worse and any(row.verdict == "worse" for t in tables for row in t.rows))


def _merge(args: argparse.Namespace) -> int:
    from .merge import merge
    for path in merge(args.origins, args.into, args.prefer):
        print(path)
    return 0


def _kernels(args: argparse.Namespace) -> int:
    from . import kernel_table
    if args.predict:
        if importlib.util.find_spec("triton") is None:
            raise ValueError("--predict compiles the kernels with triton, which is not installed here: pip install triton")
        from . import kernel_predict
        record = kernel_predict.run(args.predict, args.operations, args.out)
    else:
        from . import kernels
        record = kernels.run(args.device, args.operations, args.out, args.minutes)
    print(json.dumps(record) if args.json else kernel_table.section(record))
    return int(any("error" in row for row in record["rows"]))


def _list(args: argparse.Namespace) -> int:
    from . import extractors, suite
    from .baselines import BASELINES
    from .metrics import METRICS
    suites = {name: suite.load(name).title for name in suite.names()}
    metrics = {m.label: f"{m.documentation.splitlines()[0]} [{m.unit}, better: {m.better}]" for m in map(METRICS.get, METRICS)}
    spaces = {name: f"{c['architecture']}; {c['d']} features" for name in extractors.names() for c in [extractors.card(name)]}
    baselines = {name: BASELINES.get(name).summary for name in BASELINES}
    everything = {"suites": suites, "baselines": baselines, "metrics": metrics, "extractors": spaces}
    if args.json:
        print(json.dumps(everything, indent=1))
        return 0
    for title, entries in everything.items():
        print(title)
        for name, text in entries.items():
            print(f"  {name:<32}{text}")
    return 0


def _tune(args: argparse.Namespace) -> int:
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
