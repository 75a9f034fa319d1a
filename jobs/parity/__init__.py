"""What the service read, held against what training would read: feature by feature, bit by bit."""
