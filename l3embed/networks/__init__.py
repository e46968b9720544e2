"""Networks as backend-neutral Keras 3 models, one file a family. The only definition of each network."""
