"""What a batch system is given so that it runs a sweep: a script for Slurm, a manifest for Kubernetes."""
