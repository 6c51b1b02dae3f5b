"""What the service answers on its socket. Each method takes what the loop knows, or asks a forked child, and waits
for nothing.
"""
