"""What acts on several devices at once. Each automatic write goes the way of a put."""
