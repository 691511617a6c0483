"""The tape of a run: each call with its arguments, decision and result, so that the run can be replayed, resumed and undone.

format      the tables of the file, and its root hash
recorder    writes it, call by call: the intent before the act, the outcome before the reply
reader      reads it
matching    finds the recorded call that a call of a replay is
deck        what the dispatcher talks to: records, and answers from an earlier tape
"""
