"""Other packages, each in an environment of its own: busredis is not to depend on what it is compared with."""
