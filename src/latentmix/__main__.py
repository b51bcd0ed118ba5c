"""`python -m latentmix` is the command line."""

from latentmix.apps.cli import main

main()
