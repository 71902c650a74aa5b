"""What this host can do for labs: facts are gathered, judged as findings, and shown; nothing is changed but by `apt`."""
