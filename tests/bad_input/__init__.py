"""What is tried on busredis that cannot work, and what it must answer: one table for the tests and for the docs."""
