"""What notebooks say they need: learnt from a run, compared, reviewed by a person, remembered. Pure but for `accepted`.

The policy applies a declaration (`host_bridge.policy.loading`); here is everything around it.
"""
