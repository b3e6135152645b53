"""Looks at a host before Dayfly runs on it: what was found, whether it will do, and what to do about it."""

from dayfly.doctor.checks import BAKE_TOOLS, GIB, Check, Host
from dayfly.doctor.examine import Acceleration, Subject, examine

__all__ = ["BAKE_TOOLS", "GIB", "Acceleration", "Check", "Host", "Subject", "examine"]
