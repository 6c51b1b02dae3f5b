"""One scan of the host: observe, judge, ask, judge again; and what is remembered from one to the next."""
