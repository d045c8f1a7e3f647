"""Writer to Kafka."""
