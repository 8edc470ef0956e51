"""Train the classifiers whose last hidden layer is a feature space. Run once, by hand; the result is kept in the repository.

    python -m benchmarks.extractors.train mnist28-v1 --data-root data --out benchmarks/extractors

Protocol, the same for both: zoo's training split, grey values in [0, 1] as they are; shifts of up to two pixels (8x8: one) in
each direction, zeros moving in, and no other augmentation, so that features stay sensitive to noise and blur; AdamW with
weight decay 0.01, one cycle up to the peak rate, batches of 128, cross-entropy with label smoothing 0.05; seed 0. The weights
after the last step are rounded to fp16, and those are tested on the test split: no epoch is chosen.

A new training is a new extractor: give it a new name (-v2), distances under the old one do not compare.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

import zoo

from . import FOLDER, build

RECIPES = {  # name: (data set, epochs, peak rate, shift, architecture)
    "digits8-v1": ("digits", 60, 5e-3, 1, "conv3x3(16)-relu-conv3x3s2(32)-relu-fc64-relu-fc10"),
    "mnist28-v1": ("mnist", 6, 5e-3, 2, "conv5x5s2(16)-relu-conv5x5s2(32)-relu-fc64-relu-fc10"),
}
BATCH = 128


def train(name: str, data: zoo.Dataset, epochs: int, rate: float, shift: int) -> nn.Sequential:
    torch.manual_seed(0)
    net, split = build(name), data.train
    steps = epochs * (len(split) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for step in range(steps):
        i = step % (len(split) // BATCH)
        if i == 0:
            order = torch.randperm(len(split))
        batch = split.batch(order[i * BATCH:(i + 1) * BATCH])
        assert batch.x is not None and batch.label is not None
        loss = F.cross_entropy(net(shifted(batch.x, shift)), batch.label, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def shifted(x: Tensor, most: int) -> Tensor:
    """Every image (N,C,H,W) moved by its own whole number of pixels, at most so many."""
    n, _, h, w = x.shape
    padded = F.pad(x, [most] * 4)
    dy, dx = torch.randint(2 * most + 1, (2, n, 1))
    rows, columns = dy + torch.arange(h), dx + torch.arange(w)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(net: nn.Sequential, split: zoo.Split) -> float:
    """Of the most likely class, on a whole split."""
    batch = split.batch(slice(None))
    return float((net(batch.x).argmax(1) == batch.label).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extractors.train", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--data-root", help="the data folder; else $ZOO_DATA, else ./data")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the weights and the card go (%(default)s)")
    args = parser.parse_args()
    dataset, epochs, rate, shift, architecture = RECIPES[args.name]
    data = zoo.load_dataset(dataset, args.data_root)
    net = train(args.name, data, epochs, rate, shift)
    weights = {k: v.half() for k, v in net.state_dict().items()}
    net.load_state_dict({k: v.float() for k, v in weights.items()})
    content = to_bytes(weights)
    card = {
        "name": args.name, "architecture": architecture, "shape": list(data.spec.shape), "d": 64,
        "layer": "fc64, after its relu",
        "preprocessing": "grey values in [0, 1], as they are", "dataset": dataset, "data_sha256": data.sha256,
        "accuracy": round(accuracy(net, data.test), 4), "parameters": sum(p.numel() for p in net.parameters()),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (args.out / f"{args.name}.safetensors").write_bytes(content)
    (args.out / f"{args.name}.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card, indent=1))


if __name__ == "__main__":
    main()
