"""What makes the service suffer: processes that die at named places, and a campaign of everything at once."""
