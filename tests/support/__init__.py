"""What the tests of the engine share: what a host holds, the `lab` command, small topologies, processes that get killed."""
