"""What this machine can do: measurements that anyone can repeat from an installed package."""
