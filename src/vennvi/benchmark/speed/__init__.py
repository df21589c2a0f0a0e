"""How fast: seconds an epoch and peak memory of our models beside their peers', and how both grow.

Contestants take turns (:func:`run_race`): each is a process of its own that stays alive and warm, so that a machine that is
busy for a while is busy for all of them, and ratios are taken round by round. Beside the seconds stands what the matrix
products of the objective need and what the machine does (:func:`needed_flops`, :func:`bound`).
"""

from vennvi.benchmark.speed._contestant import Architecture, Contestant, Job
from vennvi.benchmark.speed._contestants import CONTESTANTS, get_contestant
from vennvi.benchmark.speed._flops import Bound, Flops, Rates, bound, needed_flops
from vennvi.benchmark.speed._race import Course, Entry, run_race
from vennvi.benchmark.speed._run import run_speed
from vennvi.benchmark.speed._targets import TARGETS, SpeedTarget, judge_speed
from vennvi.benchmark.speed._workload import WORKLOADS, Modality, Workload, get_workload

__all__ = [
    "CONTESTANTS",
    "TARGETS",
    "WORKLOADS",
    "Architecture",
    "Bound",
    "Contestant",
    "Course",
    "Entry",
    "Flops",
    "Job",
    "Modality",
    "Rates",
    "SpeedTarget",
    "Workload",
    "bound",
    "get_contestant",
    "get_workload",
    "judge_speed",
    "needed_flops",
    "run_race",
    "run_speed",
]
