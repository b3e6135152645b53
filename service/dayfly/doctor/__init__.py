"""Examines a host before Dayfly runs on it: the facts, a verdict and advice for each check."""

from dayfly.doctor.checks import GIB, Check, Host
from dayfly.doctor.examine import Subject, examine

__all__ = ["GIB", "Check", "Host", "Subject", "examine"]
