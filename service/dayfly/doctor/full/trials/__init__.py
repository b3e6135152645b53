"""The trials: functions that take the session, return a sentence about the result, and raise on failure."""
