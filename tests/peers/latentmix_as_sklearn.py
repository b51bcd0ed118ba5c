"""A pytest plugin: scikit-learn's tests of its mixture get latentmix's class instead."""

import pytest
import sklearn.mixture

import latentmix

sklearn.mixture.GaussianMixture = latentmix.GaussianMixture


def pytest_collection_finish(session):
    """Refuse to report on a module that still tests scikit-learn's class."""
    if any(item.module.GaussianMixture is not latentmix.GaussianMixture for item in session.items):
        raise pytest.UsageError("a test module imported scikit-learn's mixture before the plugin")
