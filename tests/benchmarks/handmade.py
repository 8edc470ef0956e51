"""Records made by hand, for tests of tables and reports."""

from benchmarks import record

METRICS = {                                                 # name -> unit, direction, group, whether it has an error
    "elbo": ("nats", "higher", "likelihood", True), "nll_iwae_5": ("nats", "lower", "likelihood", True),
    "rate": ("nats", "none", "likelihood", True), "distortion": ("nats", "none", "likelihood", True),
    "fcd": ("distance", "lower", "distribution", False), "au": ("latents", "none", "latent space", False),
    "train_throughput": ("examples/s", "higher", "cost", False),
}


def made(variant, seed=0, device="cpu", status="ok", dataset="d/e", role=None, **values):
    """A record as the harness writes it; `values` are its metrics."""
    metrics = {}
    for name, value in values.items():
        unit, better, group, error = METRICS[name]
        metrics[name] = {"unit": unit, "better": better, "group": group, "version": 1, "value": value,
                         "stderr": 0.5 if error else None, "n": 9, "iqr": None, "mc": None}
    env = {"device": device, "processor": "abacus", "cores": 2, "threads": 1, "load_before": 0.5, "load_after": 1.5,
           "torch": "2", "triton": None, "python": "3", "commit": "abc", "dirty": False, "kernel_path": "reference"}
    return {"schema": record.SCHEMA, "suite": "s", "dataset": dataset, "variant": variant, "seed": seed, "status": status,
            "traceback": None if status == "ok" else "Traceback\nValueError: </script><b>broken</b>", "metrics": metrics,
            "env": env, "budget": {"steps": 10}, "settings": {}, "seconds": 3.0,
            "training": {"seconds": 1.0, "peak_bytes": 1, "env": env},
            "evaluation": {"metrics": [], "iwae_k": 5, "iwae_examples": 7, "samples": 9, "extractor": "x"},
            "data_sha256": "0123456789abcdef" * 4, "started": "2026-01-01T00:00:00+00:00",
            "curve": [{"step": 5.0, "elbo": -2.5, "valid_elbo": -3.0}, {"step": 7.0, "elbo": -2.2},
                      {"step": 10.0, "elbo": -1.5, "valid_elbo": -2.0}],
            **({"role": role} if role else {})}


def keep(folder, records):
    """Write records where the harness would."""
    for r in records:
        record.write(folder / "s" / record.safe(r["dataset"]) / r["variant"] / f"{r['seed']}-{r['env']['device']}.json", r)
