"""What Channel Access clients rely on, against the C softIoc and against labioc."""
