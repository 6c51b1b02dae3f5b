"""What this host can and can't do for mountwarden, what that means, and what will leak next. Nothing is changed."""
