"""The process that `mixture.py` times from its start to its end: import, and one fit."""

import json
import sys

import numpy as np

if sys.argv[1] == "latentmix":
    from latentmix import GaussianMixture
else:
    from sklearn.mixture import GaussianMixture

mixture = GaussianMixture(int(sys.argv[3]), random_state=0).fit(np.load(sys.argv[2]))
print(json.dumps({"n_iter": mixture.n_iter_, "log_likelihood": float(mixture.lower_bound_)}))
