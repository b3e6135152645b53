"""`dayfly doctor --full`: runs trials of all functions of Dayfly on this host, and reports their results.

examination.py is the entry; trials/ has one file for each group of trials. Not here: the output of a report
(cli/progress/doctor.py), and the checks that change nothing on the host (doctor/checks.py).
"""
