"""Networks and likelihoods as Equinox modules: the x|z and q(z|x) of the model's story."""
