"""`zoo-bench throughput`: how fast every variant trains, encodes, samples and is evaluated on this machine, and at which batch.

Training is `zoo.fit`'s own step, with each engine; encoding and sampling are calls of the model, their noise included;
evaluation is what `nll_iwae` costs, in images x importance samples. Models are as they are created, with the zoo's defaults:
speed does not depend on what they have learnt. Batches begin at BATCH and are doubled until examples a second grow no more,
or, on a GPU, memory ends; on a CPU no batch is larger than what metrics decode in one pass.

One record for each device, RESULTS/throughput/<device>.json, rewritten after each variant; README.md has the tables of all
records. `against.py` adds the comparison with another library to the same record. What fails is recorded as such.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

import zoo
from zoo.registry import nearest
from zoo.training import choose_device

from . import device_record, throughput_table
from .context import Context
from .device_record import Record, said
from .environment import environment, load
from .metrics import METRICS, Measured
from .metrics.throughput import best_of, encoding, grown, rate, sampling, training
from .protocol import Budget, Evaluation
from .train_step import AT_ONCE, ENGINES

SCHEMA = "vae-zoo.throughput/1"
BATCH = 128
IMAGES, SAMPLES = 8, 100                                    # of the importance-weighted bound
LARGEST = 1 << 20                                           # of batches on a GPU, whose memory ends before
WAYS = {"encode": encoding, "sample": sampling}             # beside training; each where its metric applies


def run(patterns: Sequence[str] = ("*",), dataset: str = "digits", data_root: str | None = None,
        engines: Sequence[str] = ("eager",), device: str = "auto", out: Path = Path("results")) -> Record:
    """Time the variants that match a pattern and take the data; write the record and the tables. -> what was measured

    Raises: LookupError for an unknown data set; ValueError where no variant matches, or for an unknown engine; OSError.
    """
    place = usable(device, engines)
    data = zoo.load_dataset(dataset, data_root)
    matching = sorted({name for pattern in patterns for name in zoo.list_variants(pattern)})
    chosen = [name for name in matching if zoo.entry(name).why_not(data.spec) is None]
    if not chosen:
        why = zoo.entry(matching[0]).why_not(data.spec) if matching else "unknown" + nearest(patterns[0], zoo.list_variants())
        raise ValueError(f"no variant to time for {', '.join(patterns)} on {dataset}: {why}")
    part: Record = {"env": environment(place), "batch": BATCH, "images": IMAGES, "samples": SAMPLES, "rows": []}
    for i, name in enumerate(chosen):
        began = time.perf_counter()
        try:
            part["rows"] += rows_of(name, data, engines, place)
        except Exception as error:                          # of one variant; the others are timed all the same
            part["rows"].append({"variant": name, "what": "train", "engine": engines[0], "error": said(error)})
        keep(part, out, "variants", dataset)
        print(f"{i + 1}/{len(chosen)} {name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return part


def usable(device: str, engines: Sequence[str]) -> torch.device:
    """The device of this name.  Raises: ValueError where it is not there, or one of these engines."""
    for engine in engines:
        if engine not in ENGINES:
            raise ValueError(f"unknown engine {engine!r}{nearest(engine, ENGINES)}")
    place = choose_device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: torch sees no GPU here; --device cpu")
    return place


def keep(part: Record, out: Path, *place: str) -> None:
    """Put what was measured at this place of its device's record, and make the page anew."""
    part["env"]["load_after"] = load()
    processor = part["env"]["processor"]
    path = device_record.path_of(out / "throughput", processor)
    record = device_record.read(path) or {"schema": SCHEMA, "processor": processor}
    where = record
    for key in place[:-1]:
        where = where.setdefault(key, {})
    where[place[-1]] = part
    device_record.write(path, record, throughput_table.page)


def rows_of(name: str, data: zoo.Dataset, engines: Sequence[str], device: torch.device) -> list[Record]:
    """A row for each thing that is timed; `engine` is of training only."""
    model = zoo.create(name, data.spec, seed=0).to(device).eval()
    context = Context(model, data, Budget(batch_size=BATCH, ema=0.0),
                      Evaluation(iwae_k=SAMPLES, iwae_examples=IMAGES), seed=0)
    most = LARGEST if device.type == "cuda" else context.rows
    rows = [{"variant": name, "what": "train", "engine": engine,
             **_tried(partial(_trained, context, engine, device, min(most, len(data.train))))}
            for engine in engines]
    with torch.no_grad():
        rows += [{"variant": name, "what": what, **_tried(partial(_searched, partial(prepared, context), device, most))}
                 for what, prepared in WAYS.items() if METRICS.get(f"{what}_throughput").applies(context)]
        if METRICS.get("nll_iwae").applies(context):
            rows.append({"variant": name, "what": "bound", **_tried(partial(_bound, context))})
    return rows


def importance(context: Context) -> Callable[[], object]:
    """What `nll_iwae` has to compute, from nothing."""
    return lambda: Context(context.model, context.data, context.budget, context.evaluation, context.seed).importance


def _bound(context: Context) -> Record:
    images = min(context.evaluation.iwae_examples, len(context.test))
    return _numbers(rate(importance(context), images * context.evaluation.iwae_k, context.device))


def _trained(context: Context, engine: str, device: torch.device, most: int) -> Record:
    """Of training, in calls of as many steps as a replay may hold; a CPU replays none."""
    steps = AT_ONCE if device.type == "cuda" else 1
    return _searched(lambda n: partial(training(context, n, engine), steps), device, most, steps)


def _searched(prepared: Callable[[int], Callable[[], object]], device: torch.device, most: int, batches: int = 1) -> Record:
    """The rate at BATCH, or at `most` if that is less, and at the largest batch that still gains; a call handles `batches`."""
    def rated(n: int) -> Measured:
        return rate(prepared(n), batches * n, device)

    own = min(BATCH, most)
    by_size = grown({own: rated(own)}, rated, most)
    best = best_of(by_size)
    return {"batch": own, **_numbers(by_size[own]), "best": {"batch": best, **_numbers(by_size[best])}}


def _numbers(measured: Measured) -> Record:
    return {key: value for key, value in asdict(measured).items() if key in ("value", "iqr", "busy")}


def _tried(measured: Callable[[], Record]) -> Record:
    try:
        return measured()
    except Exception as error:                              # of one thing; the others are timed all the same
        return {"error": said(error)}
