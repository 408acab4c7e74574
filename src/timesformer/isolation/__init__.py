"""Functions in child processes with limits: a crash, a hang or a memory bomb costs one call.

`limits` says what a child may use, `child` calls a function in one and replaces it when it dies, `pool` keeps several
busy. `processes` starts and ends them; `program` is what runs in them, `messages` what they send.

A child is a guard against faults, not a sandbox: it has the rights of its user, apart from what `Limits` takes away,
and its parent trusts what it sends.
"""
