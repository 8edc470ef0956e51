"""A package, so that `tests.support` is found before the package `tests` that torch-fidelity installs."""
