"""`zoo-bench throughput --against`: the same networks, batches, optimiser and data in another library's trainer, in one run.

Three sides train the same initial weights: the other library's trainer; a plain loop over tensors in memory with its model and
`torch.optim.Adam`; and the steps of `zoo.fit`, with each engine and precision. They take turns in short blocks, all of as many
steps, so that ratios are of blocks made under the same conditions. No side evaluates or writes. Before, loss and gradients of
its model and of the zoo's are compared for the same noise; after, the losses of all sides are kept.

Importance-weighted bounds are timed in the same way, by its estimator and by what `nll_iwae` computes, on the same weights; for
the same noise they must be equal.

A bound by `nll_refined`, which fits q to each image first, is timed against theirs of as many samples as are usual: it should
say more in less time. What a lower precision costs is seen by `zoo.fit` from several seeds: the ELBO of the test images after a
few epochs.
"""

import copy
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo.noise import Default

from . import throughput
from .context import Context
from .device_record import Record
from .environment import environment
from .metrics import Measured
from .metrics.nll_refined import nll_refined
from .products import operations, products_rate
from .protocol import Budget, Evaluation
from .timing import Turns, in_turns, synchronise
from .train_step import NEVER, train_step

BATCH = 128
LR = 1e-3
BLOCK = 0.5                                                 # seconds of a block of the plain loop
TRAINING, BOUNDS = 30.0, 12.0                               # seconds of all blocks
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
BOUND_SIZES = {"mlp": (50, 1000), "conv": (2, 100)}         # images and K; a convolutional decoder is 300 times dearer
REFINED = {"mlp": (20, 5000, 100)}                          # images, their K, and K after refinement
LEARNING = {"mlp": (3, (0, 1, 2))}                          # epochs, and seeds, of what each precision learns
ROUNDING = 1e-4                                             # relative
THEIRS, LOOP = "theirs", "loop"


def run(peer: str, dataset: str | None = None, data_root: str | None = None, engines: Sequence[str] = ("eager",),
        device: str = "auto", out: Path = Path("results")) -> Record:
    """Time all sides; write the record and the tables. -> what was measured

    dataset   grey images of 28 x 28; None: the embedded digits, enlarged

    Raises: ValueError where the library is not installed, for data of another form, or an unknown engine; LookupError;
    RuntimeError where the sides do not train the same thing, or their bounds differ; OSError.
    """
    place, library = throughput.usable(device, engines), load(peer)
    said, train, test = images(dataset, data_root)
    part: Record = {"env": environment(place), "version": library.VERSION, "data": said, "batch": BATCH, "lr": LR,
                    "products": {name: products_rate(place, dtype) for name, dtype in DTYPES.items()}, "networks": {}}
    for name in library.NETWORKS:
        began = time.perf_counter()
        model = library.build(name).to(place)
        same = check(library, model, test[:BATCH].to(place))
        trained = training(library, model, train, test, engines, part["products"])
        part["networks"][name] = {"parameters": sum(p.numel() for p in model.parameters()), "same": same, **trained,
                                  "bound": bounds(library, model, test, *BOUND_SIZES[name])}
        if name in REFINED:
            part["networks"][name]["refined"] = refined(library, model, test, *REFINED[name])
        if name in LEARNING:
            epochs, seeds = LEARNING[name]
            part["networks"][name]["learnt"] = {"epochs": epochs, **learnt(library, name, train, test, epochs, seeds, place)}
        throughput.keep(part, out, "against", peer)
        print(f"{peer} {name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return part


def load(peer: str) -> ModuleType:
    """Raises: ValueError that says what to install."""
    try:
        from .peers import pythae
    except ImportError as error:
        raise ValueError(f"{peer} cannot be imported ({error}); pip install -e '.[bench]', or, without its old backport of "
                         "`dataclasses`, which shadows Python's own where site-packages is on PYTHONPATH: "
                         "pip install --no-deps pythae==0.1.2 && pip install cloudpickle imageio pydantic") from error
    return pythae


def images(dataset: str | None, data_root: str | None) -> tuple[str, Tensor, Tensor]:
    """What they are; training and test images (N,1,28,28) in [0, 1].  Raises: ValueError for data of another form."""
    data = zoo.load_dataset(dataset or "digits", data_root)
    train, test = (split.batch(slice(None), Default()).x for split in (data.train, data.test))
    assert train is not None and test is not None
    if dataset is None:
        train, test = (F.interpolate(x, size=(28, 28), mode="bilinear") for x in (train.repeat(10, 1, 1, 1), test))
        return "digits, enlarged to 28 x 28, ten times over", train, test
    if data.spec.shape != (1, 28, 28) or data.spec.kind not in ("byte", "unit", "binary"):
        raise ValueError(f"{dataset} is {data.spec}; these networks take one-channel images of 28 x 28 in [0, 1], such as "
                         "--data mnist --data-root DIR")
    return data.name, train, test


def check(library: ModuleType, model: nn.Module, x: Tensor) -> Record:
    """Losses, and the relative difference of the gradients, of its model and the zoo's, for the same weights and noise.

    Raises: RuntimeError where they differ by more than rounding.
    """
    eps = _noise(library, len(x), x.device)
    theirs, ours = copy.deepcopy(model).train(), library.SameNetworks.of(model).train()
    loss, ours_loss = library.loss(theirs, x, eps), ours.loss(x, eps)
    gradients, ours_gradients = _gradients(theirs, loss), library.SameNetworks.as_theirs(_gradients(ours, ours_loss))
    a, b = (torch.cat([found[name].flatten() for name in gradients]) for found in (gradients, ours_gradients))
    difference = float((a - b).norm() / a.norm())
    found = {THEIRS: float(loss.detach()), "zoo": float(ours_loss.detach()), "gradients": difference}
    _equal("losses", found)
    if not difference <= ROUNDING:
        raise RuntimeError(f"the gradients of the two models differ: {found}; a comparison would mean nothing")
    return found


def _gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@dataclass(frozen=True)
class Side:
    """Who trains: `block` makes some steps, `loss` is what they have come to."""

    name: str
    precision: str
    block: Callable[[], object]
    loss: Callable[[], Tensor]


def training(library: ModuleType, model: nn.Module, train: Tensor, test: Tensor, engines: Sequence[str],
             products: dict[str, float]) -> Record:
    """Rates, ratios and last losses of all sides. `model` is the plain loop's, and is trained."""
    device = next(model.parameters()).device
    probe = plain_steps(copy.deepcopy(model), train[:BATCH].to(device))
    flops, seconds = operations(lambda: probe(1)), _seconds(lambda: probe(1), device)
    batches = max(1, min(round(BLOCK / seconds), len(train) // BATCH))
    train, x = train[:batches * BATCH], test[:BATCH].to(device)
    with tempfile.TemporaryDirectory() as folder:
        sides = _sides(library, model, train, x, engines, Path(folder))
        turns = in_turns({side.name: side.block for side in sides}, device, TRAINING)
    found = []
    for side in sides:
        value, iqr = turns.timing(side.name).rate(len(train))
        with torch.no_grad():
            loss = float(side.loss())
        found.append({"side": side.name, "precision": side.precision, "value": value, "iqr": iqr, "busy": turns.busy,
                      "loss": loss, "share": flops * value / BATCH / products[side.precision],
                      "times": _times(turns, side.name, (THEIRS, LOOP))})
    return {"flops": flops, "batches": batches, "rounds": len(turns.rounds), "sides": found}


def _sides(library: ModuleType, model: nn.Module, train: Tensor, x: Tensor, engines: Sequence[str],
           folder: Path) -> list[Side]:
    """Each begins with the weights of `model`, and trains on `train` in blocks of an epoch. `x`: what losses are of."""
    train = train.to(x.device)
    eps, batches, data = _noise(library, len(x), x.device), len(train) // BATCH, _data(library, train, train[:1])

    def ours(engine: str, precision: str) -> Side | None:
        one = library.SameNetworks.of(model)
        steps = train_step(one, data, batch_size=BATCH, lr=LR, precision=precision, engine=engine)
        try:
            steps()                                         # an engine fails at its first step, or not at all
        except RuntimeError as error:
            print(f"zoo, {engine}, {precision}, is left out: {error}", file=sys.stderr)
            return None
        return Side(f"zoo, {engine}, {precision}", precision, lambda: steps(batches),
                    lambda: one.eval().loss(x, eps))

    theirs, loop = copy.deepcopy(model), plain_steps(model, train)
    sides = [Side(THEIRS, "float32", library.epochs(theirs, train, BATCH, LR, folder),
                  lambda: library.loss(theirs.eval(), x, eps)),
             Side(LOOP, "float32", lambda: loop(batches), lambda: library.loss(model.eval(), x, eps)),
             *(ours(engine, precision) for engine in engines for precision in DTYPES)]
    return [side for side in sides if side is not None]


def plain_steps(model: nn.Module, x: Tensor) -> Callable[[int], None]:
    """A function that trains `model`, in place, by so many steps as one writes them by hand; x is where the model is."""
    optimiser = torch.optim.Adam(model.train().parameters(), lr=LR)

    def steps(n: int) -> None:
        order = torch.randperm(len(x), device=x.device)
        for i in range(n):
            loss = model({"data": x[order[i * BATCH:(i + 1) * BATCH]]}).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return steps


def bounds(library: ModuleType, model: nn.Module, test: Tensor, n: int, k: int) -> Record:
    """Importance-weighted bounds of the first n images from K samples each, by both, and how long they take.

    Raises: RuntimeError where they differ, by more than rounding, for the same noise.
    """
    device = next(model.parameters()).device
    x, ours = test[:n].to(device), library.SameNetworks.of(model).eval()
    eps = _noise(library, library.COPIES, device)
    same = {THEIRS: library.log_p(model, x, library.COPIES, eps), "zoo": ours.log_p(x, eps)}
    _equal("bounds", same)
    context = Context(ours, _data(library, x, x), Budget(), Evaluation(iwae_k=k, iwae_examples=n), seed=0)
    turns = in_turns({THEIRS: lambda: library.log_p(model, x, k), "zoo": throughput.importance(context)}, device, BOUNDS)
    log_p = {THEIRS: library.log_p(model, x, k), "zoo": float(context.log_p.mean())}
    rates = {side: dict(zip(("value", "iqr"), turns.timing(side).rate(n * k), strict=True)) for side in log_p}
    return {"images": n, "k": k, "same": same, "mc": context.importance.mc(-1), "times": asdict(turns.ratio(THEIRS, "zoo")),
            **{side: {**rates[side], "busy": turns.busy, "log_p": log_p[side]} for side in log_p}}


def refined(library: ModuleType, model: nn.Module, test: Tensor, n: int, k: int, refined_k: int) -> Record:
    """Their bound of the first n images from k samples each, and `nll_refined` from refined_k: seconds, log p(x) in nats."""
    device = next(model.parameters()).device
    x, ours = test[:n].to(device), library.SameNetworks.of(model).eval()
    data, evaluation = _data(library, x, x), Evaluation(refined_k=refined_k, refined_examples=n)

    def bound() -> float:
        found = nll_refined(Context(ours, data, Budget(), evaluation, seed=0))
        assert isinstance(found, Measured)
        return -found.value
    turns = in_turns({THEIRS: lambda: library.log_p(model, x, k), "zoo": bound}, device, BOUNDS)
    log_p, ks = {THEIRS: library.log_p(model, x, k), "zoo": bound()}, {THEIRS: k, "zoo": refined_k}
    return {"images": n, "times": asdict(turns.ratio(THEIRS, "zoo")),
            **{side: {"k": ks[side], **asdict(turns.timing(side)), "log_p": log_p[side]} for side in log_p}}


def learnt(library: ModuleType, name: str, train: Tensor, test: Tensor, epochs: int, seeds: Sequence[int],
           device: torch.device) -> Record:
    """By precision, the ELBO of the test images, evaluated in float32, after so many epochs from each seed; nats."""
    data = _data(library, train, test)

    def elbo(precision: str, seed: int) -> float:
        model = library.SameNetworks.of(library.build(name, seed))
        result = zoo.fit(model, data, epochs=epochs, batch_size=BATCH, lr=LR, seed=seed, device=device, precision=precision,
                         engine="eager", evaluate_every=NEVER, progress=False, tensorboard=False)
        return result.history[-1]["valid_elbo"]
    return {precision: [elbo(precision, seed) for seed in seeds] for precision in DTYPES}


def _data(library: ModuleType, train: Tensor, test: Tensor) -> zoo.Dataset:
    """These images as a data set, which is validated on what it is tested on."""
    held_out = zoo.Split(test)
    return zoo.Dataset("images", zoo.DataSpec(library.SHAPE, "unit"), zoo.Split(train), held_out, held_out, note="")


def _times(turns: Turns, side: str, others: Sequence[str]) -> dict[str, Record]:
    """How many times as fast a side is as each other one."""
    return {other: asdict(turns.ratio(other, side)) for other in others if other != side}


def _noise(library: ModuleType, n: int, device: torch.device) -> Tensor:
    return torch.randn(n, library.LATENT, generator=torch.Generator().manual_seed(0)).to(device)


def _equal(what: str, found: dict[str, float]) -> None:
    """Raises: RuntimeError where they are not, by more than rounding."""
    if not abs(found[THEIRS] - found["zoo"]) <= ROUNDING * abs(found[THEIRS]):
        raise RuntimeError(f"the {what} of the two models differ: {found}; a comparison would mean nothing")


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Of the second of two calls."""
    call()
    synchronise(device)
    began = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - began
