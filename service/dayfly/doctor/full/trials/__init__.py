"""The trials: functions that are given the session, return a sentence about what held, and raise where it did not."""
