"""Who takes part in a mirror: replicas that join and leave, mirrors that are given up."""
