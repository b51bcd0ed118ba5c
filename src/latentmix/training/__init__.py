"""Fitting: networks by compiled rules, mixtures by EM, in loops that can be stopped and resumed."""
