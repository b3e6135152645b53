"""Looks at a host before Dayfly runs on it: what was found, whether it will do, and what to do about it."""

from dayfly.doctor.checks import GIB, Check, Host
from dayfly.doctor.examine import Acceleration, Subject, examine

__all__ = ["GIB", "Acceleration", "Check", "Host", "Subject", "examine"]
