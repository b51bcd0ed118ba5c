"""scikit-learn style objects: validate, seed, fit, and answer questions."""

from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.latent_mixture import LatentMixture
from latentmix.estimators.store import load
from latentmix.estimators.vae import VAE

__all__ = ["VAE", "GaussianMixture", "LatentMixture", "load"]
