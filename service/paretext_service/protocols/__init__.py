"""One file per protocol: it translates between HTTP and the scheduler, and decides nothing."""
