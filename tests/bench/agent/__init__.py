"""What the agent and its commands cost, beside what people run without them: `make bench`."""
