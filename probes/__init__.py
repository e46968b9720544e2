"""Probing embeddings on labelled data: data sets with their own folds -> clip vectors -> probe -> scores."""
