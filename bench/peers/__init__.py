"""Other gateways, each in its own environment, measured in the same run as this one."""
