"""The doctor: what server is in use, what it can do, and what of it, or of the settings, endangers events."""

from busredis.doctor.node import OPTIONAL, UNKNOWN, Node, measure, read_node, try_options
from busredis.doctor.problems import Problem, judge
from busredis.doctor.setup import Extra, find_extras, judge_setup, recorded_partitions

__all__ = [
    "OPTIONAL",
    "UNKNOWN",
    "Extra",
    "Node",
    "Problem",
    "find_extras",
    "judge",
    "judge_setup",
    "measure",
    "read_node",
    "recorded_partitions",
    "try_options",
]
