"""Fused operations of the VAE zoo. Knows torch and triton, and nothing else of the project.

Importing this package does not import triton: kernels are loaded by the first call that runs on a GPU.
"""

from .logistic_mixture_nll import logistic_mixture_nll as logistic_mixture_nll
from .nearest_code import nearest_code as nearest_code
from .reparam_kl import reparam_kl as reparam_kl
from .reparam_kl import reparam_log_weight as reparam_log_weight
from .total_correlation import total_correlation as total_correlation

PROJECT = "vae-zoo"  # `kernels` is a generic name: a caller tells this package from a foreign one by this mark
