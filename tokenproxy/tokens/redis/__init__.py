"""What the Redis store is made of: where a Redis is, asking it, a lease in it, hearing from it."""
