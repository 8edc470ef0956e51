"""Triton kernels and their launchers, one operation a file. Imported only where they can run."""
