"""A federation as its coordinator keeps it: who belongs to it, certificates, who is there."""
