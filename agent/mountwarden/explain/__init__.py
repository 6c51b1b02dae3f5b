"""Who holds a finding, why it came to be, and what ends the cause for good."""
