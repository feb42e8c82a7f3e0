"""The keys of the messages between a trial and its driver."""

TRIAL = "trial"  # its number
JOB = "job"  # what it trains, as JSON
EPOCH = "epoch"  # the epoch that just ended, from 1
SCORE = "score"  # the best validation metric so far
STOP_REASON = "stop_reason"  # why it ended, in its last message
FAILURE = "failure"  # of a failed trial: kind, what, hint
FATAL = "fatal"  # an error that every trial would meet: what, hint
