"""The tables of `zoo-bench throughput`, from its records."""

from .device_record import Record, aligned
from .table import DASH, prefixed

HEAD = """\
# Throughput

Written by `zoo-bench throughput` from the records beside it. Rates are medians; compare them within one machine only. A star:
other work held the cores meanwhile, and the number is not to be trusted.
"""
VARIANTS = ("variant", "engine", "steps/s", "train", "best", "at", "encode", "at", "sample", "at", "IWAE")
SIDES = ("networks", "who trains", "images/s", "of products", "times theirs", "times the loop", "loss")
BOUNDS = ("networks", "images", "K", "theirs", "zoo", "times theirs", "their log p(x)", "zoo's")


def page(records: list[Record]) -> str:
    return "\n".join([HEAD, *(f"{section(record)}\n" for record in records)])


def section(record: Record) -> str:
    """All that is known of a device."""
    parts = [variants(name, part) for name, part in record.get("variants", {}).items()]
    parts += [against(name, part) for name, part in record.get("against", {}).items()]
    return "\n\n".join([f"## {record['processor']}", *parts])


def variants(dataset: str, part: Record) -> str:
    """Every variant on a data set: a line for each engine, in the first one what no engine changes."""
    by_variant: dict[str, list[Record]] = {}
    for row in part["rows"]:
        by_variant.setdefault(row["variant"], []).append(row)
    lines = [VARIANTS]
    for name, rows in by_variant.items():
        others = {row["what"]: row for row in rows if row["what"] != "train"}
        rest = (*_best(others.get("encode")), *_best(others.get("sample")), _rate(others.get("bound")))
        for i, row in enumerate(row for row in rows if row["what"] == "train"):
            lines.append((name, row["engine"], *_trained(row), *(rest if i == 0 else [""] * len(rest))))
    failed = [f"- {' '.join(filter(None, (row['variant'], row.get('engine'), row['what'])))}: {row['error']}"
              for row in part["rows"] if "error" in row]
    return f"""\
### Every variant on {dataset}
{_said(part['env'])}. The zoo's default settings. *train*: examples a second in batches of {part['batch']}; *best*: in the batch
*at* from which doubling gains no more; *encode*, *sample*: in their best batch; *IWAE*: images x importance samples a second,
K = {part['samples']}.

{aligned(lines)}""" + "\n".join(["\n\nFailed:\n", *failed] if failed else [])


def against(peer: str, part: Record) -> str:
    """The same networks trained and evaluated by another library, by a plain loop and by the zoo."""
    trained = [_side(name, side, of) for name, of in part["networks"].items() for side in of["sides"]]
    bounds = [_bound(name, of["bound"]) for name, of in part["networks"].items()]
    products = ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in part["products"].items())
    sizes = "; ".join(f"{name}: {of['parameters']:,} parameters, {of['flops'] / 1e9:.3g} GFLOP a step, blocks of "
                      f"{of['batches'] * part['batch']:,} images" for name, of in part["networks"].items())
    refined = "".join(_refined(name, of["refined"]) for name, of in part["networks"].items() if "refined" in of)
    learnt = "".join(_learnt(name, of["learnt"]) for name, of in part["networks"].items() if "learnt" in of)
    return f"""\
### The same networks in {peer} {part['version']}
{_said(part['env'])}. Data: {part['data']}. {peer}'s own networks from the same initial weights, batches of {part['batch']},
Adam at {part['lr']:g}, {peer}'s loss (half the squared error, and the KL). *theirs*: an epoch of its trainer, with its loader;
*loop*: its model and torch's Adam in a plain loop over tensors in memory; *zoo*: steps of `zoo.fit`, by engine, with the
encoder's two heads as one product, as in the zoo's own nets. No side evaluates. {sizes}.

*times*: how many times as fast, and the 95% interval, from blocks that took turns. *of products*: operations a second over what
the machine does in matrix products, {products}. *loss*: after all blocks, on the same images and noise.

{aligned([SIDES, *trained])}

Importance-weighted bounds on log p(x) of the same weights, K samples an image, in images x samples a second: its `get_nll`
(gradients turned off for it) and what `nll_iwae` computes.

{aligned([BOUNDS, *bounds])}{refined}{learnt}"""


def _refined(name: str, of: Record) -> str:
    """A bound after refinement against theirs of many samples."""
    sides = [(who, f"{of[who]['k']:,}", f"{of[who]['median']:.3g}{_star(of[who])}", f"{of[who]['log_p']:.3f}")
             for who in ("theirs", "zoo")]
    return f"\n\nThe same of {of['images']} images with the {name} networks: theirs, and `nll_refined`, which fits q to each " \
           f"image first, {_times(of['times'])} times as fast.\n\n{aligned([('who', 'K', 'seconds', 'log p(x)'), *sides])}"


def _learnt(name: str, of: Record) -> str:
    """What each precision comes to."""
    elbos = [(precision, *(f"{elbo:.2f}" for elbo in values), f"{sum(values) / len(values):.2f}")
             for precision, values in of.items() if precision != "epochs"]
    head = ("precision", *(f"seed {i}" for i in range(len(elbos[0]) - 2)), "mean")
    return f"\n\nELBO of the test images, nats, after {of['epochs']} epochs of `zoo.fit` with the {name} networks.\n\n" \
           f"{aligned([head, *elbos])}"


def _said(env: Record) -> str:
    changes = " with changes" if env["dirty"] else ""
    return f"torch {env['torch']}, {env['threads']} threads, load {env['load_before']:g} to {env['load_after']:g}, commit " \
           f"{env['commit']}{changes}"


def _trained(row: Record) -> tuple[str, ...]:
    if "error" in row:
        return "failed", "", "", ""
    return f"{row['value'] / row['batch']:.4g}{_star(row)}", _rate(row), *_best(row)


def _best(row: Record | None) -> tuple[str, str]:
    if row is None or "error" in row:
        return _rate(row), ""
    return _rate(row["best"]), str(row["best"]["batch"])


def _rate(row: Record | None) -> str:
    if row is None:
        return DASH
    return "failed" if "error" in row else prefixed(row["value"]) + _star(row)


def _side(name: str, side: Record, of: Record) -> tuple[str, ...]:
    return (name, side["side"], prefixed(side["value"]) + _star(side), f"{side['share']:.0%}",
            *(_times(side["times"].get(other)) for other in ("theirs", "loop")), f"{side['loss']:.2f}")


def _bound(name: str, row: Record) -> tuple[str, ...]:
    rates = (prefixed(row[side]["value"]) + _star(row[side]) for side in ("theirs", "zoo"))
    return (name, str(row["images"]), str(row["k"]), *rates, _times(row["times"]),
            *(f"{row[side]['log_p']:.3f}" for side in ("theirs", "zoo")))


def _times(ratio: Record | None) -> str:
    return "" if ratio is None else f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]{_star(ratio)}"


def _star(timed: Record) -> str:
    return "*" if timed["busy"] else ""
