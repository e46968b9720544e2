#!/usr/bin/env bash
# Trains the shipped model from scripts/l3-small-1.toml. Run it where data/pretraining and data/digits/recordings lie
# (what they are: l3embed models show). Puts the model into runs/l3-small-1/model; its card still lacks the texts and
# results that weights/l3-small-1.toml carries.
set -euo pipefail
exec l3embed train "$(dirname "$0")/l3-small-1.toml"
