"""The study of "Look, Listen and Learn More" for a configuration: which representation, which domain, how much data.

    python scripts/study.py CONFIG.toml -o OUT

Trains a run for each representation and domain, asks each about held-out videos of every domain (the paper's Table 1),
probes the embeddings of every checkpoint on labelled sets (Figures 2 to 4), tests, and writes OUT/report.md with plots
beside the paper's figures. What is done is not done again: give the same command after a kill.
docs/study.md describes the configuration; scripts/study-small.toml is one that runs in minutes.
"""

import argparse
import os
import sys
import warnings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads wait actively and take the cores from the networks

from l3embed.errors import L3EmbedError, L3EmbedWarning
from probes import study, study_report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG.toml")
    parser.add_argument(
        "-o", "--output", metavar="OUT", default="study", help="folder of everything (default: ./study)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore", L3EmbedWarning)
    try:
        plan = study.read(arguments.config, arguments.output)
        sets = study.check(plan)
        study.train_all(plan, progress=not arguments.quiet)
        rows = study.correspondence(plan)
        print(study_report.write(plan, rows, sets, study.probe_all(plan, sets)))
    except L3EmbedError as error:
        print(f"study: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
