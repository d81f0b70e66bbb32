"""Faults for the service: processes that die at named places, and a campaign with all faults at once."""
