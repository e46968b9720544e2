"""`python -m l3embed`: the same door as the command."""

from .cli import command

command()
