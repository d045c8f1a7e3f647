"""Channel Access server: circuits, searches and monitors over caproto's protocol."""
