"""scikit-learn's own suite for estimators, on all three of ours."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from latentmix import VAE, GaussianMixture, LatentMixture

# Small, and yet so long trained that the blobs of scikit-learn's check stay apart for any seed.
SMALL_VAE = VAE(
    hidden_dims=(16,),
    latent_dim=2,
    max_epochs=2,
    min_steps=600,
    learning_rate=1e-2,
    random_state=0,
)

# Every exception to the suite, with its reason.
EXPECTED_FAILURES = {
    "VAE": {},
    "GaussianMixture": {},
    "LatentMixture": {},
}

ESTIMATORS = [
    SMALL_VAE,
    GaussianMixture(),
    LatentMixture(2, vae=SMALL_VAE, random_state=0),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    ESTIMATORS,
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES[type(estimator).__name__],
)
def test_scikit_learn_compatible(estimator, check):
    check(estimator)
