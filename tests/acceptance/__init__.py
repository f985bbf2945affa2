"""The whole stack as a person starts it."""
