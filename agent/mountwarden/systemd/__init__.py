"""All that speaks to systemd: units over the bus, unit files, cgroups' names, sd_notify, the journal out and in."""

OWN_UNIT = "mountwarden.service"
"""The unit that the agent runs as."""
