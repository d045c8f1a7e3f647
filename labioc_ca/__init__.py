"""The Channel Access client: search, circuits, subscriptions."""
