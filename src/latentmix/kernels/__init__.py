"""Pure JAX functions, arrays in and arrays out: the mathematics, and nothing else.

No file is read, nothing is logged, no configuration is looked up. Functions compute in
the dtype they are given; the callers decide on float64 (`jax.enable_x64`) or float32.
"""
