"""`zoo list | show | train | sample | reconstruct | traverse | interpolate | map | explore`.

torch is imported inside the commands: help is quick.
"""

import argparse
import ast
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .openmp import spin_briefly

if TYPE_CHECKING:
    from torch import Tensor

    from .data import Dataset
    from .variant import Batch, Contract

STEPS = 9                                                   # of a walk through latent space: columns of its picture

EXAMPLES = """examples:
  zoo list                                              the variants, one line each
  zoo list --data                                       the data sets
  zoo show beta_vae                                     formula, source, settings
  zoo train vae --data digits --out runs/vae            train, and write pictures
  zoo train beta_vae --data mnist:dynamic --data-root DIR --set beta=2 --set latent_dim=10 --epochs 30
  torchrun --nproc-per-node 2 -m zoo train vae --data digits     each batch shared out to two processes, or GPUs
  zoo train miwae --data digits+missing=0.5             half of the pixels hidden; +without=3: no threes to train on
  zoo sample runs/vae -n 64                             new examples -> runs/vae/samples.png
  zoo reconstruct runs/vae                              originals with their reconstructions
  zoo traverse runs/vae                                 a row for each latent, moved from -3 to 3
  zoo interpolate runs/vae                              from one test example's code to the next one's
  zoo map runs/vae --dims 3                             the test set's codes in space; in the plane without --dims
  zoo explore runs/vae                                  a page with sliders that decodes as they move
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. A wrong name, setting, file or value ends in one line and exit status 2."""
    args = parser().parse_args(argv)
    spin_briefly()
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:                                 # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (LookupError, TypeError, ValueError, OSError, FloatingPointError, NotImplementedError, ModuleNotFoundError) as error:
        if args.debug:
            raise
        print(f"zoo {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; `zoo train` with --resume continues from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="zoo", description="Variational autoencoders by name: look, train, use.",
                                  epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        sub.set_defaults(run=run)
        return sub

    p = command("list", list_, "list variants, or data sets")
    p.add_argument("pattern", nargs="?", default="*", help="shell pattern, such as '*vae'")
    p.add_argument("--data", action="store_true", help="list data sets instead")
    p.add_argument("--json", action="store_true", help="for scripts")

    p = command("show", show, "formula, source and settings of a variant")
    p.add_argument("name")
    p.add_argument("--json", action="store_true", help="for scripts")

    p = command("train", train, "train a variant on a data set and write checkpoints, log and pictures")
    p.add_argument("name")
    p.add_argument("--data", required=True, help="a data set's name (zoo list --data), npz:PATH, text:PATH or, of any "
                   "size, folder:PATH or npy:PATH; with +flip, +without=CLASS, +missing=SHARE or +missing=half if wanted")
    p.add_argument("--data-root", help="the data folder; else $ZOO_DATA, else ./data")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                   help="a setting of the variant (zoo show NAME); repeatable")
    p.add_argument("--out", type=Path, help="folder of the run (default: runs/NAME-DATA)")
    p.add_argument("--steps", type=int, help="optimiser steps, instead of epochs")
    p.add_argument("--epochs", type=float, help="passes over the training set (20 where neither is given)")
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--lr", type=float, default=1e-3, help="AdamW's learning rate")
    p.add_argument("--final-lr", type=float, help="where a cosine takes it (default: constant)")
    p.add_argument("--warmup", type=int, default=0, help="steps in which the KL's weight rises to 1")
    p.add_argument("--clip", type=float, default=1000.0, help="largest norm of the gradient")
    p.add_argument("--ema", type=float, default=0.0, help="decay of averaged weights, 0 for none")
    p.add_argument("--early-stopping", type=int, help="evaluations without gain to bear")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    p.add_argument("--precision", choices=["float32", "tf32", "bf16"], default="float32", help="of the nets' products")
    p.add_argument("--engine", choices=["auto", "eager", "compile", "cudagraph", "compile+cudagraph"], default="auto",
                   help="who makes the steps; auto measures which is fastest for so many")
    p.add_argument("--noise", choices=["auto", "philox"], default="auto", help="philox: a GPU's numbers, on a CPU too")
    p.add_argument("--checkpoint-every", type=int, default=1000, help="steps")
    p.add_argument("--resume", action="store_true", help="continue from the folder's checkpoint")

    for name, run, help in (("sample", sample, "draw new examples"), ("reconstruct", reconstruct, "reconstruct test examples"),
                            ("traverse", traverse, "move one latent at a time from -3 to 3"),
                            ("interpolate", interpolate, "walk between the codes of test examples"),
                            ("map", map_, "the test set's codes in the plane or in space")):
        p = command(name, run, help + ", as PNG")
        p.add_argument("checkpoint", type=Path, help="a run's folder or its model.safetensors")
        p.add_argument("--png", type=Path, help="where to (default: beside the checkpoint)")
        if name in ("reconstruct", "interpolate", "map"):
            p.add_argument("--data", help="data set (default: the one trained on)")
            p.add_argument("--data-root", help="the data folder; else the one trained with, $ZOO_DATA, ./data")
        if name == "map":
            p.add_argument("--dims", type=int, choices=[2, 3], default=2)
        else:
            n = {"traverse": 10, "interpolate": 6}.get(name, 40)
            p.add_argument("-n", type=int, default=n, help="latents" if name == "traverse" else "examples")
            p.add_argument("--seed", type=int, default=0)
        if name in ("sample", "traverse", "interpolate"):
            p.add_argument("--label", type=int, help="the label to condition on, for conditional models")

    p = command("explore", explore, "a local page with a slider for each latent, which decodes as they move")
    p.add_argument("checkpoint", type=Path, help="a run's folder or its model.safetensors")
    p.add_argument("--data", help="data set whose test examples to start from (default: the one trained on, if known)")
    p.add_argument("--data-root", help="the data folder; else the one trained with, $ZOO_DATA, ./data")
    p.add_argument("-n", type=int, default=12, help="sliders, for the latents of widest spread")
    p.add_argument("--port", type=int, help="of the page (default: the first free one from 7860)")
    p.add_argument("--no-browser", action="store_true", help="only print the address")
    return top


# -- commands -----------------------------------------------------------------------------------------------------------
def list_(args: argparse.Namespace) -> None:
    import zoo
    if args.data:
        names = zoo.list_datasets(args.pattern)
        print(json.dumps(names) if args.json else "\n".join(names))
        if not args.json:
            print("and each with +flip (images mirrored in training), +without=CLASS (not trained on), +missing=SHARE or "
                  "+missing=half (hidden)", file=sys.stderr)
        return
    entries = [zoo.entry(n) for n in zoo.list_variants(args.pattern)]
    if args.json:
        print(json.dumps([_facts(e) for e in entries], indent=1))
        return
    width = max((len(e.name) for e in entries), default=0)
    for e in entries:
        print(f"{e.name:<{width}}  {e.summary}" + (f"  [{', '.join(sorted(e.tags))}]" if e.tags else ""))


def show(args: argparse.Namespace) -> None:
    import zoo
    e = zoo.entry(args.name)
    if args.json:
        print(json.dumps(_facts(e), indent=1))
        return
    print(e.documentation)
    print(f"\nPaper: {e.paper}, {e.equation}\n       {e.url}")
    plain = "" if e.plain_at is None else f"; the objective is its negative at {dict(e.plain_at) or 'any settings'}"
    print(f"Bound: {e.bound}{plain}")
    print(f"Tags:  {', '.join(sorted(e.tags)) or 'none'}\nSettings:")
    for key, value in e.settings().items():
        print(f"  {key} = {value!r}")


def train(args: argparse.Namespace) -> None:
    from zoo.ranks import joined
    from zoo.training import choose_device
    with joined(choose_device(args.device)) as ranks:
        _train(args, ranks.first)


def _train(args: argparse.Namespace, first: bool) -> None:
    """`first`: the rank that says and writes what is to be said and written."""
    import zoo
    from zoo.store import write_atomically
    settings = dict(_setting(s) for s in args.set)
    data = zoo.load_dataset(args.data, args.data_root)
    model = zoo.create(args.name, data.spec, seed=args.seed, **settings)
    out = args.out or Path("runs") / f"{args.name}-{args.data.replace('/', '-').replace(':', '-')}"
    size = sum(p.numel() for p in model.parameters())
    if first:
        print(f"{args.name} on {args.data}: {size:,} parameters, {len(data.train):,} training examples -> {out}",
              file=sys.stderr)
        run = {"data": args.data, "data_root": args.data_root, "seed": args.seed}
        write_atomically(out / "run.json", json.dumps(run, indent=1).encode())
    result = zoo.fit(model, data, steps=args.steps, epochs=args.epochs, batch_size=args.batch_size, lr=args.lr,
                     final_lr=args.final_lr, warmup=args.warmup, clip=args.clip, ema=args.ema,
                     early_stopping=args.early_stopping, seed=args.seed, device=args.device, precision=args.precision,
                     engine=args.engine, noise=args.noise, out=out, checkpoint_every=args.checkpoint_every, resume=args.resume)
    if not first:
        return
    bound = (f"{args.name} has no bound to report" if model.entry.bound == "none" else
             f"best validation ELBO {result.best_elbo:.2f} nats at step {result.best_step}")
    print(f"{result.steps} steps in {result.seconds:.0f} s; {bound}")
    for each in (sample, reconstruct):
        each(parser().parse_args([each.__name__, str(out)]))


def sample(args: argparse.Namespace) -> None:
    from . import pictures
    model, noise = _open(args.checkpoint), _noise(args.seed)
    x = model.sample(args.n, label=_label(model, args.label, args.n), noise=noise)
    if model.spec.symbols:
        print("\n---\n".join(model.spec.text(x)))
    pictures.grid(x, model.spec, _columns(model)).save(_target(args, "samples.png"))


def reconstruct(args: argparse.Namespace) -> None:
    from . import pictures
    model, data = _open(args.checkpoint), _data(args)
    batch = data.test.batch(slice(0, args.n), _noise(args.seed))
    assert batch.x is not None
    picture = pictures.pairs(batch.x, model.reconstruct(batch), model.spec, _columns(model), batch.lengths)
    picture.save(_target(args, "reconstructions.png"))


def traverse(args: argparse.Namespace) -> None:
    import torch

    from . import latent, pictures
    model = _open(args.checkpoint)
    n, label = min(args.n, model.latent_dim), args.label
    start = torch.zeros(1, model.latent_dim)                # the prior's centre, where no data are known
    if _run(args.checkpoint):
        batch = _data(args).test.batch(slice(args.seed, args.seed + 1))
        start = _codes(model, batch)
        if label is None and batch.label is not None:
            label = int(batch.label)
    z = latent.traversal(start[0], torch.arange(n), torch.linspace(-3, 3, STEPS).expand(n, -1))
    x = model.decode(z, _label(model, label, len(z)))
    pictures.grid(x, model.spec, STEPS).save(_target(args, "traversal.png"))


def interpolate(args: argparse.Namespace) -> None:
    from . import latent, pictures
    model, data = _open(args.checkpoint), _data(args)
    batch = data.test.batch(slice(args.seed, args.seed + args.n), _noise(args.seed))
    z = latent.interpolation(_codes(model, batch), STEPS)
    label = _label(model, args.label, len(z))
    if args.label is None and batch.label is not None:      # a row keeps the label of the example that it begins with
        label = batch.label.repeat_interleave(STEPS)
    pictures.grid(model.decode(z, label), model.spec, STEPS).save(_target(args, "interpolations.png"))


def map_(args: argparse.Namespace) -> None:
    import torch

    from . import pictures
    from .variant import within
    model, data = _open(args.checkpoint), _data(args)
    codes = []
    for i in range(0, len(data.test), 500):
        batch = data.test.batch(slice(i, i + 500), _noise(i))
        z = model.encode(batch)
        if z.dim() == 3:                                    # a latent a step: the average over the sequence's own steps
            inside = batch.inside(z.shape[1])
            z = within(z, batch.lengths).sum(1) / inside.sum(1, keepdim=True)
        codes.append(z)
    pictures.latent_map(torch.cat(codes), data.test.label, args.dims).savefig(_target(args, "map.png"))


def explore(args: argparse.Namespace) -> None:
    from .explore import Explorer, serve
    model, known = _open(args.checkpoint), args.data or _run(args.checkpoint).get("data")
    serve(Explorer(model, _data(args) if known else None, args.n), args.port, not args.no_browser)


# -- parts --------------------------------------------------------------------------------------------------------------
def _facts(e: Any) -> dict[str, Any]:
    return {"name": e.name, "summary": e.summary, "paper": e.paper, "url": e.url, "equation": e.equation, "bound": e.bound,
            "plain_at": None if e.plain_at is None else dict(e.plain_at), "tags": sorted(e.tags), "settings": e.settings()}


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set takes KEY=VALUE, such as beta=2; got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value                                   # a word: net=conv


def _open(checkpoint: Path) -> "Contract":
    import zoo
    return zoo.load(checkpoint / "model.safetensors" if checkpoint.is_dir() else checkpoint).eval()


def _run(checkpoint: Path) -> dict[str, Any]:
    """What `zoo train` wrote beside a checkpoint; empty for one from elsewhere."""
    path = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "run.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _data(args: argparse.Namespace) -> "Dataset":
    import zoo
    run = _run(args.checkpoint)
    name, root = getattr(args, "data", None) or run.get("data"), getattr(args, "data_root", None) or run.get("data_root")
    if name is None:
        raise ValueError(f"no run.json beside {args.checkpoint} says which data it was trained on: name them with --data")
    return zoo.load_dataset(name, root)


def _codes(model: "Contract", batch: "Batch") -> "Tensor":
    """Posterior means (B,D).  Raises: ValueError where there is a latent a step."""
    z = model.encode(batch)
    if z.dim() == 3:
        raise ValueError(f"{model.name} has a latent at every step: there is no one code to move; see `zoo sample`")
    return z


def _label(model: "Contract", label: int | None, n: int) -> Any:
    import torch
    if label is not None:
        return torch.full((n,), label)
    if "conditional" in model.entry.tags:                   # in turn, so that every class is seen
        return torch.arange(n) % (model.spec.classes or 1)
    return None


def _noise(seed: int) -> Any:
    from .noise import Generated
    return Generated(seed)


def _columns(model: "Contract") -> int:
    return 2 if model.spec.sequence else 12


def _target(args: argparse.Namespace, name: str) -> Path:
    folder = args.checkpoint if args.checkpoint.is_dir() else args.checkpoint.parent
    path = args.png or folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    print(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
