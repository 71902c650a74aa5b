"""What runs inside a guest: the root it lives on, the agent that is its first process, and the jobs of the agent.

Every import here costs in a guest without hardware help, so there are few, and only such as `lab` itself needs later.
"""
