"""Services of living nodes: started, watched, stopped. What they are is `lab.roles`' matter."""
