"""Named data sets. `load_dataset(name)` gives a `Dataset`: a spec and the splits train, valid and test.

    digits, digit_rows, sprites, lgssm              embedded: made here or shipped by a library, nothing to download
    breast_cancer, wine                             the same; tables
    mnist, fashion_mnist, kmnist, cifar10           images, read from the data folder; downloaded if absent
    polyphonic/jsb, /nottingham, /piano_midi, /muse piano rolls, read from the data folder
    dsprites                                        the official file, if you put it into the data folder
    npz:PATH, folder:PATH, text:PATH                your own arrays, images, text
    npy:PATH                                        one array, of any size

Grey images also come binarised: `mnist` is grey, `mnist:dynamic` draws the training pixels anew at every visit,
`mnist:fixed` draws them once (see `binarise.py`). Any name takes `+flip`, `+without=CLASS`, `+missing=SHARE` or
`+missing=half` (see `modified.py`). Images and arrays that are larger than 2 GiB stay on disk, and batches are read
ahead of training (see `on_disk.py`). The data folder is the argument `root`, else $ZOO_DATA, else ./data.

To add a data set: one file here with a function `(root: Path) -> Dataset` under `@register_dataset(name)`; from
outside the project, the same decorator. Under a name that ends in ":PATH" it gets the user's path, not the data folder.
"""

import importlib
import pkgutil

from .core import Dataset, Split
from .names import list_datasets, load_dataset, register_dataset

__all__ = ["Dataset", "Split", "list_datasets", "load_dataset", "register_dataset"]

for _module in pkgutil.iter_modules(__path__):                  # every family registers its names when imported
    importlib.import_module(f"{__name__}.{_module.name}")
