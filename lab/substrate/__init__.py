"""The only code that touches the world: namespaces, netlink, mounts and processes."""
