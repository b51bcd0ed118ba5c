"""Fitting: compiled (init, advance) rules, and the loops that call them and can be stopped."""
