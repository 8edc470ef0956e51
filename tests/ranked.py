"""A run of `zoo.fit` by one of several ranks, for tests/test_ranks.py:

    python tests/ranked.py RANK SIZE PORT FOLDER CASES.json

Cases are [variant, kind or name of data, folder or null, settings of fit]; data in files stay on disk. Of each case the
history, or what was refused, goes to FOLDER/RANK.json.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from support import SPECS, dataset, perturbed, small, weights

import zoo
from zoo.data import on_disk


def data_of(kind: str) -> zoo.Dataset:
    return dataset(kind) if kind in SPECS else zoo.load_dataset(kind)


def main(rank: int, size: int, port: int, folder: Path, cases: list) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=size, timeout=timedelta(seconds=60))
    said, on_disk.HELD = [], 0
    for name, kind, out, settings in cases:
        data = data_of(kind)
        model = perturbed(small(name, data.spec), seed=rank)    # only the first rank's weights count
        try:
            result = zoo.fit(model, data, device="cpu", progress=False, tensorboard=False,
                             out=None if out is None else folder / out, **settings)
            said.append({"history": result.history, "weights": weights(model).double().sum().item(), "steps": result.steps})
        except ValueError as error:
            said.append({"refused": str(error)})
    (folder / f"{rank}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), Path(sys.argv[4]), json.loads(Path(sys.argv[5]).read_text()))
