"""The propagation picture of a host: as text, as DOT, as SVG, all from the one document of shape.py."""
