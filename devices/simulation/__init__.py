"""What all simulators share: injected time, pseudo terminals, the back door for faults."""
