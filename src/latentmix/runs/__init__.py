"""Runs: a recipe carried out on data, and the folder that keeps what came of it."""
