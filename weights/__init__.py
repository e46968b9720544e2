"""The weights that ship with l3embed, each with its card. Data only."""
