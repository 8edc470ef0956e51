"""How long OpenMP's threads spin when they wait for one another, before they sleep. To be said before torch is imported."""

import os

SPINS = "2000"                                              # libgomp's unit; its own default is 300,000


def spin_briefly() -> None:
    """Unless the user has said how to wait.

    Small models have many short parallel loops: threads that sleep between them cost a step more than half of its time again.
    Threads that spin on hold cores that other programs' threads wait for, and two trainings crawl. This little is nearly the
    best of both.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
