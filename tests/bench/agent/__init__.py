"""What the agent and its commands cost, beside the tools that are used without them: `make bench`."""
