"""Trained on nine digits of scikit-learn's, the tenth is told from the nine."""

import pytest
from sklearn.metrics import roc_auc_score

from latentmix import LatentMixture
from latentmix.data import load, split


# Ones are plainer than what was learned: the bound finds them usual (0.73 of such a fit).
@pytest.mark.parametrize(("digit", "floor"), [(1, 0.85), (6, 0.93)])
def test_the_tenth_digit_is_strange(digit, floor):
    digits = load("digits")
    parts, left_out = split(digits, seed=0), digits.labels == digit
    model = LatentMixture(9, random_state=0).fit(digits.X[parts.train[~left_out[parts.train]]])
    rows = parts.test[~left_out[parts.test]]
    usual, strange = digits.X[rows], digits.X[left_out]
    scores = [*model.anomaly_scores(usual), *model.anomaly_scores(strange)]
    assert roc_auc_score([0] * len(usual) + [1] * len(strange), scores) > floor
