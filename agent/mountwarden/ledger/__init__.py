"""What is remembered from scan to scan: what is confirmed, was reported, was tried. Pure but for its file."""
