"""The site file: its schema, its check, and the records that it makes of the templates."""
