"""Arrays in and arrays out: the mathematics, and nothing else.

No file is read, nothing is logged, no configuration is looked up. Mixtures and k-means compute
in NumPy's float64, on a crew of threads; the ELBO's terms are JAX's, for networks.
"""
