"""Tests of the one verdict about the service: the routes for health, and each row of the rule table."""
