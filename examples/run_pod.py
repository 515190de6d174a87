"""Train one run on all hosts of a job, each host its share of the seeds: start the same command on every one.

    python examples/run_pod.py sac --env brax/hopper-positional --seeds 64     # TPU pod slice, SLURM, Open MPI
    python examples/run_pod.py --coordinator 10.0.0.1:8476 --processes 2 --process 0 \
        sac --env Hopper-v5 --seeds 8 --out /shared/hopper                     # elsewhere: the last 0 is 1 on host 1

After the words about hosts come those of `pbrl train`. All hosts see one folder; the same command again on all of them,
or on another number of hosts that divides the seeds, resumes. `docs/parallel.md` has recipes for clusters.
"""

import argparse
import sys

from pbrl.cli import options, train
from pbrl.cli.main import guarded
from pbrl.parallel import hosts


def main() -> None:
    """Join the job, then do what `pbrl train` does."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, usage="run_pod.py [HOSTS] AGENT --env ID ...")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0; not where jax knows the cluster")
    parser.add_argument("--processes", type=int, help="how many there are")
    parser.add_argument("--process", type=int, help="which one this is, from 0")
    job, words = parser.parse_known_args()
    if {"-h", "--help"} & set(words):
        parser.print_help()
    else:
        hosts.start(job.coordinator, job.processes, job.process)  # before jax looks for devices
    with hosts.together():
        train.train(options.parse(words, prog="python examples/run_pod.py"), train.summarise)


if __name__ == "__main__":
    sys.exit(guarded(main))
