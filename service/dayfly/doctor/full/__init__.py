"""`dayfly doctor --full`: does on this host all that Dayfly promises, and says what held.

examination.py puts it together; trials/ has one file for each group of trials. Not here: how a report is shown
(cli/progress/doctor.py), and the checks that change nothing on the host (doctor/checks.py).
"""
