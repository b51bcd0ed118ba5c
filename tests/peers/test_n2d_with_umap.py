"""N2D with the real UMAP, where it is installed; its own contract is tried without."""

import numpy as np
import pytest

pytest.importorskip("umap")

from latentmix.comparison.plans import method_of, plan_of
from latentmix.comparison.protocol import Training
from latentmix.comparison.specs import read_specs
from latentmix.metrics import contingency_table, hungarian_accuracy

SMALL = "n2d:hidden_dims=[16]:latent_dim=2:epochs=60:min_steps=0:batch_size=32:n_neighbors=10"


def test_shapes_are_told_apart_and_a_seed_gives_the_same_clusters(shapes):
    plan = plan_of(read_specs([SMALL])[0], 3)
    training = Training(shapes.X[:84], plan.n_components, 0, shapes.image_shape)
    found = method_of(plan.record).fit(training).predict(shapes.X[84:])
    again = method_of(plan.record).fit(training).predict(shapes.X[84:])
    np.testing.assert_array_equal(found, again)
    assert hungarian_accuracy(contingency_table(found, shapes.labels[84:], 3, 3)) > 0.9
