"""What the IOC and the archiver show about themselves over HTTP, in one form for both."""
