"""scikit-learn's own suite for estimators, on the mixtures beside the plain Gaussian one."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture


class AnyValues(BernoulliMixture):
    """The Bernoulli mixture for the suite's rows, which are positive and no shares of anything.

    What lies above 1 is refused otherwise (tests/contracts/test_mixture_inputs.py); all else
    that the suite asks for is asked of the rest.
    """

    domain = (0.0, np.inf)


ESTIMATORS = [
    AnyValues(),
    PoissonMixture(),
    PoissonMixture(acceleration="squarem"),
    GaussianMixture(covariance_type="factor", n_factors=1),
    GaussianMixture(covariance_type="tied", acceleration="squarem", relative_reg_covar=True),
    GaussianMixture(covariance_type="diag", init_params="k-means||", n_init=2),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", [GaussianMixture, BernoulliMixture, PoissonMixture])
def test_transform_gives_responsibilities_as_named_columns(kind):
    frame = pd.DataFrame(np.random.RandomState(0).randint(2, size=(60, 3)), columns=list("abc"))
    mixture = kind(2, random_state=0).set_output(transform="pandas")
    found = mixture.fit_transform(frame)
    name = kind.__name__.lower()
    assert list(found.columns) == list(mixture.get_feature_names_out()) == [f"{name}0", f"{name}1"]
    np.testing.assert_array_equal(found, mixture.predict_proba(frame))
